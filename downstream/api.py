"""A trained model in Python: `load(DIR).caption(['picture.jpg'], 'de')`.

The same loading, batching and beam search as `downstream TASK evaluate`; docs/export.md has examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from downstream import captioning, multi30k_translation, ranks
from downstream.embed import embed_distinct_pictures, embed_distinct_texts
from downstream.generate import Example, generate
from pretrain.data.images import Picture, is_picture
from pretrain.generation import Decoding
from pretrain.model.load import Found, Loaded, find_model, load_found
from shards.errors import UserError
from shards.languages import canonical

Floats = NDArray[np.float32]
_SHOWN = 8  # languages in one line


def load(folder: str | Path) -> Model:
    """The model of a run (its newest checkpoint; of a fine-tuning, its best) or of an export, fp32, on the GPU where there is one.

    Raises UserError for a folder that is neither, or damaged.
    """
    return opened(find_model(folder))


def opened(found: Found) -> Model:
    """As `load`, of a model that was found already. Raises UserError for damaged weights."""
    loaded = load_found(found)
    loaded.model.to(ranks.join())
    return Model(loaded, found)


@dataclass(frozen=True)
class Model:
    """What a model can do without training. Languages are in any spelling; a picture is a file's name, its bytes, a PIL image, or a numpy
    array of uint8 (H, W, 3).

    Every method takes lists, and raises UserError for a single text or picture, for a language that the model has no code for, and for a
    picture that is none.
    """

    loaded: Loaded
    found: Found  # where it is from

    def __repr__(self) -> str:
        """In one line: where it is from, its steps, its size, and the languages that it was trained on, as far as the folder says them."""
        config, step = self.found.config, self.found.step
        parameters = sum(parameter.numel() for parameter in self.loaded.model.parameters())
        trained = sorted(self.found.languages if config.finetune is None else config.finetune.languages)
        languages = f'{len(self.loaded.tokenizer.languages)} language codes'
        if trained:
            languages = f'{len(trained)} languages ({" ".join(trained[:_SHOWN])}{" …" if len(trained) > _SHOWN else ""})'
        parts = [str(self.found.where), *([] if step is None else [f'step {step:,}']), f'{parameters:,} parameters', languages]
        return f'Model({", ".join(parts)})'

    def embed_images(self, pictures: Sequence[Picture]) -> Floats:
        """(N, D) unit vectors."""
        _check_pictures(pictures)
        with torch.inference_mode():
            return embed_distinct_pictures(self.loaded, pictures) if len(pictures) else self._nothing()

    def embed_texts(self, texts: Sequence[str], language: str) -> Floats:
        """(N, D) unit vectors of texts in one language, each cut to the length of captions in training; `embed_images(…) @ these.T` are
        cosines."""
        _check_texts(texts)
        with torch.inference_mode():
            return embed_distinct_texts(self.loaded, texts, canonical(language), lambda done: None) if texts else self._nothing()

    def caption(self, pictures: Sequence[Picture], language: str, decoding: Decoding = captioning.DECODING) -> list[str]:
        """A caption in `language` for every picture, by beam search."""
        _check_pictures(pictures)
        language = canonical(language)
        return self._write([Example(None, language, language, picture) for picture in pictures], decoding)

    def translate(
        self, texts: Sequence[str], source: str, target: str, pictures: Sequence[Picture] | None = None,
        decoding: Decoding = multi30k_translation.DECODING,
    ) -> list[str]:  # fmt: skip
        """Translations by beam search, with a picture for every text or without. Raises UserError for another number of pictures."""
        _check_texts(texts)
        if pictures is not None:
            _check_pictures(pictures)
        if pictures is not None and len(pictures) != len(texts):
            raise UserError(f'{len(pictures)} pictures for {len(texts)} texts; give as many, or none')
        beside: Sequence[Picture | None] = [None] * len(texts) if pictures is None else pictures
        rows = zip(texts, beside, strict=True)
        return self._write([Example(text, canonical(source), canonical(target), picture) for text, picture in rows], decoding)

    def _write(self, examples: list[Example], decoding: Decoding) -> list[str]:
        return generate(self.loaded, examples, decoding, '', progress=False)

    def _nothing(self) -> Floats:
        return np.zeros((0, self.loaded.config.model.projection), np.float32)


def _check_texts(texts: Sequence[str]) -> None:
    """Raises UserError for a single text, whose letters would be taken for texts, and for what is no text."""
    if isinstance(texts, str):
        raise UserError(f'{texts!r} is one text; give a list of texts: [{texts!r}]')
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f'text {place} is {text!r}, which is no string')


def _check_pictures(pictures: Sequence[Picture]) -> None:
    if is_picture(pictures):
        raise UserError(f'{type(pictures).__name__} given as pictures; give a list of them, of one picture too: [picture]')
    for place, picture in enumerate(pictures):
        if picture is None:  # `generate` would write without one
            raise UserError(f'picture {place} is None, which is no picture')
