"""Writes an export: weights, configuration, tokenizer, processor, the code that transformers loads them with, and a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pretrain.config import Config
from pretrain.engine.checkpoint import checkpoints
from pretrain.export.card import CARD, MARK, card
from pretrain.export.data import trained_languages
from pretrain.export.results import find_results
from pretrain.export.sources import sources
from pretrain.model.folder import BEST, CHECKPOINTS, CONFIG
from pretrain.model.load import FORMAT, WEIGHTS, Found, find_model, load_found
from pretrain.records import EVENTS
from pretrain.weights_file import save_weights
from shards.durable import make_folder, sync, sync_all
from shards.errors import UserError
from shards.hashes import file_sha256
from shards.tokenizer import DESCRIPTION, MODEL

PART = '.export.part'  # folder in `out` that everything is written to first


def export(run: str | Path, out: str | Path, results: Sequence[Path] = ()) -> Path:
    """Write the model of a run, with what `downstream` measured of it: below `run`, `out` and the folders `results`.

    Raises UserError when there is no model, one of `results` has no result of it, `out` is a place of a run's own or cannot be written, or
    has another README.md than an export's.
    """
    run, out = Path(run), Path(out)
    if (run / CONFIG).is_file():  # its card would have none of the figures that the run's records hold
        raise UserError(f'{run} is an export and no run; copy that folder, or export the run again')
    _check_place(out)
    return write_export(find_model(run), out, run, (run, out), results)


def write_export(found: Found, out: Path, run: Path, below: Sequence[Path] = (), named: Sequence[Path] = ()) -> Path:
    """Write a model, with the records of `run` and the results in `below` and `named` in its card.

    A folder that has `config.json` is whole, whatever ends the process: an export that is there already is one until all of the new one is
    on the disk. Raises UserError for what the file system refuses.
    """
    with _refusals(out):
        if (out / CARD).exists() and MARK not in (out / CARD).read_text(encoding='utf8', errors='replace'):
            raise UserError(f'{out / CARD} is no model card of an export and would be overwritten; choose another --out')
    loaded = load_found(found)
    weights = {name: tensor.detach().contiguous() for name, tensor in loaded.model.named_parameters()}
    files = {file: (found.tokenizer / file).read_bytes() for file in (MODEL, DESCRIPTION)}
    files |= {name: text.encode() for name, text in sources().items()}
    with _refusals(out), _part_of(out) as part:
        save_weights(weights, part / WEIGHTS, {'format': 'pt'})
        sha256 = file_sha256(part / WEIGHTS)
        parameters = sum(tensor.numel() for tensor in weights.values())
        results = find_results((loaded.sha256, sha256), below, named)
        files[CARD] = card(out.resolve().name, found, parameters, run, results).encode()
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
            files[name] = (json.dumps(content, indent=1) + '\n').encode()
        for name, raw in files.items():
            (part / name).write_bytes(raw)
        _publish(part, out)
    return out


def _check_place(out: Path) -> None:
    """Raises UserError when `out` is a run's folder, its checkpoints or its best model: what is there says what the run's model is."""
    place = out.resolve()
    for folder in (place, *place.parents):
        inside = place.relative_to(folder).parts
        if ((folder / EVENTS).is_file() or checkpoints(folder / CHECKPOINTS)) and (not inside or inside[0] in (CHECKPOINTS, BEST)):
            what = f'in {inside[0]}/ of a run' if inside else 'the folder of a run'
            raise UserError(f'--out {out} is {what}, whose model it would stand in for; choose another, such as {folder / "export"}')


@contextmanager
def _refusals(out: Path) -> Iterator[None]:
    """What the file system refuses becomes a UserError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else ' '.join(str(error).split())
        raise UserError(f'no export can be written to {out} ({why}); correct that, or choose another --out') from None


@contextmanager
def _part_of(out: Path) -> Iterator[Path]:
    """An empty folder in `out` for what is not whole yet."""
    part = out / PART
    shutil.rmtree(part, ignore_errors=True)
    make_folder(part)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _publish(part: Path, out: Path) -> None:
    """Move the files of `part` into `out`. `config.json` goes first and comes last."""
    names = sorted(path.name for path in part.iterdir())
    sync_all([*(part / name for name in names), part])
    (out / CONFIG).unlink(missing_ok=True)
    sync(out)
    for name in names:
        if name != CONFIG:
            (part / name).replace(out / name)
    sync(out)
    (part / CONFIG).replace(out / CONFIG)
    sync(out)


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
