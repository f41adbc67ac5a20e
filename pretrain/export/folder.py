"""Writes an export: weights, configuration, tokenizer, processor, the code that transformers loads them with, and a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from pretrain.config import Config
from pretrain.export.card import CARD, MARK, card
from pretrain.export.data import trained_languages
from pretrain.export.results import find_results
from pretrain.export.sources import sources
from pretrain.model.folder import CONFIG
from pretrain.model.load import FORMAT, WEIGHTS, Found, find_model, load_found
from shards.errors import UserError
from shards.hashes import file_sha256
from shards.tokenizer import DESCRIPTION, MODEL


def export(run: str | Path, out: str | Path, results: Sequence[Path] = ()) -> Path:
    """Write the model of a run, with what `downstream` measured of it: below `run`, `out` and the folders `results`.

    Raises UserError when there is no model, one of `results` has no result of it, or `out` has another README.md than an export's.
    """
    return write_export(find_model(run), Path(out), Path(run), (Path(run), Path(out)), results)


def write_export(found: Found, out: Path, run: Path, below: Sequence[Path] = (), named: Sequence[Path] = ()) -> Path:
    """Write a model, with the records of `run` and the results in `below` and `named` in its card. `config.json` comes last: a folder that
    has it is whole.
    """
    if (out / CARD).exists() and MARK not in (out / CARD).read_text(encoding='utf8', errors='replace'):
        raise UserError(f'{out / CARD} is no model card of an export and would be overwritten; choose another --out')
    loaded = load_found(found)
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().contiguous() for name, tensor in loaded.model.named_parameters()}
    save_file(weights, out / WEIGHTS, {'format': 'pt'})
    for file in (MODEL, DESCRIPTION):
        (out / file).write_bytes((found.tokenizer / file).read_bytes())
    for name, text in sources().items():
        (out / name).write_text(text, encoding='utf8')
    parameters = sum(tensor.numel() for tensor in weights.values())
    sha256 = file_sha256(out / WEIGHTS)
    results = find_results((loaded.sha256, sha256), below, named)
    (out / CARD).write_text(card(out.resolve().name, found, parameters, run, results), encoding='utf8')
    description = {
        'model_type': 'unix2',
        'architectures': ['UniX2Model'],
        'auto_map': {'AutoConfig': 'configuration_unix2.UniX2Config', 'AutoModel': 'modeling_unix2.UniX2Model'},
        'format': FORMAT,
        'vocabulary': loaded.tokenizer.vocabulary,
        'checkpoint_sha256': loaded.sha256,
        'weights_sha256': sha256,
        'step': found.step,
        'data': found.data,
        'languages': trained_languages(found),
        'run': loaded.config.model_dump(by_alias=True, mode='json'),
    }
    for name, content in {**_processing(found.config), CONFIG: description}.items():
        (out / name).write_text(json.dumps(content, indent=1) + '\n', encoding='utf8')
    return out


def _processing(config: Config) -> dict[str, dict[str, Any]]:
    """transformers' files beside config.json: file name -> content."""
    classes = {'AutoTokenizer': 'UniX2Tokenizer', 'AutoImageProcessor': 'UniX2ImageProcessor', 'AutoProcessor': 'UniX2Processor'}
    places: dict[str, Any] = {auto: f'processing_unix2.{name}' for auto, name in classes.items()}
    tokenizer = {
        'tokenizer_class': 'UniX2Tokenizer',
        'auto_map': {'AutoTokenizer': [places.pop('AutoTokenizer'), None]},  # the other would be a fast one
        'family': config.model.family,
        'model_max_length': config.data.caption_tokens,
        'added_tokens_decoder': {},  # without it transformers would look for added tokens in tokenizer.json, which is ours
    }
    named = {'processor_class': 'UniX2Processor', 'auto_map': places}
    # Without `image_processor_type`, with which transformers would warn that it is no fast one.
    picture = {**named, 'size': config.model.visual.image_size}
    return {'tokenizer_config.json': tokenizer, 'preprocessor_config.json': picture, 'processor_config.json': named}
