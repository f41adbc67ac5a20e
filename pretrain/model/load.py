"""A trained model from the folder of a run (its newest valid checkpoint) or of an export, and the embeddings of its dual encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pretrain.config import Config, read_saved, within
from pretrain.config.mistakes import explain
from pretrain.data.batch import Texts
from pretrain.data.sequences import encoder_input
from pretrain.engine.checkpoint import STATE, newest_valid, read_state, read_weights
from pretrain.engine.resume import FREE
from pretrain.model.folder import CONFIG, model_folder
from pretrain.model.unix2 import UniX2
from shards.errors import UserError
from shards.hashes import file_sha256
from shards.tokenizer import DESCRIPTION, Tokenizer

WEIGHTS = 'model.safetensors'
FORMAT = 1  # of an export, in CONFIG


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode with what belongs to it."""

    model: UniX2
    tokenizer: Tokenizer
    config: Config
    sha256: str  # of the weights' file, or of the checkpoint's state.json, which holds the hashes of its files

    @property
    def device(self) -> torch.device:
        """Where the model is, and so where its inputs must be."""
        return self.model.embed_tokens.device


@dataclass(frozen=True)
class Found:
    """A model whose weights are not read yet."""

    where: Path  # the export, or the checkpoint
    tokenizer: Path
    config: Config
    sha256: str  # as in `Loaded`
    step: int | None = None  # optimizer steps that it was trained for; None in an export of an earlier version
    data: dict[str, str] = field(default_factory=dict)  # what it was trained on (of shards: stream -> sha256 of its manifest)
    languages: tuple[str, ...] = ()  # canonical, of what it was trained on, as an export notes them

    def weights(self) -> dict[str, Tensor]:
        """Every parameter by name. Raises UserError for a damaged file."""
        if (self.where / STATE).is_file():
            return read_weights(self.where)
        try:
            return load_file(self.where / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise _not_whole(self.where, error) from None


def find_model(folder: str | Path) -> Found:
    """The model of a folder: an export; of a run, its newest checkpoint; of a fine-tuning, its best by the development set.

    Raises UserError when the folder is none of them, or a file of it is damaged.
    """
    where = model_folder(Path(folder))
    if (where / CONFIG).is_file():
        return _find_export(where)
    path, _ = newest_valid(where)
    if path is None:
        raise UserError(f'{where} holds no checkpoint; train with pretrain/run.py first')
    return find_checkpoint(path)


def find_checkpoint(path: Path) -> Found:
    """The model of a checkpoint. Raises UserError when it is damaged, of another version, or without the tokenizer of its run."""
    state = read_state(path)
    config = _config(state['config'], path / STATE)
    _check_tokenizer(path, Path(config.data.tokenizer), state.get('tokenizer'))
    return Found(path, Path(config.data.tokenizer), config, file_sha256(path / STATE), state['step'], state['manifests'])


def _config(saved: dict[str, Any], file: Path) -> Config:
    """The configuration that a file has of any version. Raises UserError for settings of which this one cannot tell what they did."""
    settings, gone = read_saved(saved)
    unknown = [key for key in gone if not within(key, FREE)]
    try:
        if not unknown:
            return Config.model_validate(settings)
        why = ', '.join(unknown)
    except ValidationError as error:
        why = explain(error, ())
    raise UserError(f'{file} has settings that this version does not know ({why}); use the version that wrote it')


def _check_tokenizer(path: Path, folder: Path, had: str | None) -> None:
    """Raises UserError when the run's own tokenizer is not in its folder. had: its fingerprint; None: not known."""
    try:
        there = json.loads((folder / DESCRIPTION).read_text(encoding='utf8'))['fingerprint']
    except (OSError, ValueError, KeyError, TypeError):
        where = '' if folder.is_absolute() else ', or start in the folder in which the run was started'
        raise UserError(f'{path} was trained with the tokenizer in {folder}, which is not there; put it back{where}') from None
    if had not in (None, there):
        raise UserError(f'{path} was trained with tokenizer {had}, and {folder} has {there} by now; put the one back that it had')


def load_model(folder: str | Path) -> Loaded:
    """Load what `find_model` finds, fp32, on the CPU (`.model.to` moves it). Raises UserError as it does."""
    return load_found(find_model(folder))


def load_found(found: Found) -> Loaded:
    """Load a model, fp32, on the CPU. Raises UserError for a damaged file, and weights that are not of this configuration and tokenizer."""
    weights = found.weights()
    tokenizer = Tokenizer.load(found.tokenizer, found.config.model.family)
    model = UniX2(found.config.model, tokenizer.vocabulary)
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UserError(f'{found.where} does not fit its own configuration and tokenizer: {" ".join(str(error).split())}') from None
    return Loaded(model.eval(), tokenizer, found.config, found.sha256)


@torch.no_grad()
def embed_texts(loaded: Loaded, texts: Sequence[str], language: str, limit: int | None = None) -> Tensor:
    """Unit vectors (N, projection) of texts in one language, fp32, each cut to `limit` tokens (none: data.caption_tokens).

    Raises UserError for a language without a code.
    """
    limit = limit or loaded.config.data.caption_tokens
    rows = [encoder_input(ids, loaded.tokenizer, language, limit) for ids in loaded.tokenizer.encode_batch(list(texts))]
    lengths = torch.tensor([len(row) for row in rows])
    return loaded.model.text_features(Texts(torch.tensor([token for row in rows for token in row], device=loaded.device), lengths))


def _find_export(folder: Path) -> Found:
    try:
        description = json.loads((folder / CONFIG).read_text(encoding='utf8'))
        if (version := description.get('format', 1)) != FORMAT:
            raise UserError(f'{folder / CONFIG} has format {version}, this program reads {FORMAT}; export it again from the run')
        config = _config(description['run'], folder / CONFIG)
        sha256 = file_sha256(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_whole(folder, error) from None
    if description.get('weights_sha256', sha256) != sha256:  # safetensors itself notices only a wrong length
        raise UserError(f'{folder / WEIGHTS} does not have the hash that {CONFIG} names; make it again with `pretrain export`')
    languages = tuple(description.get('languages', ()))
    return Found(folder, folder, config, sha256, description.get('step'), description.get('data', {}), languages)


def _not_whole(folder: Path, error: Exception) -> UserError:
    return UserError(f'{folder} is not a whole export ({" ".join(str(error).split())}); make it again with `pretrain export`')
