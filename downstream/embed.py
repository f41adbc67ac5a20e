"""Embeddings of pictures and captions by a pre-trained dual encoder, each distinct input once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from downstream import ranks
from downstream.pictures import picture_batch
from pretrain.data.images import Picture
from pretrain.evaluation.multi30k import Split
from pretrain.model.load import Loaded, embed_texts
from shards.errors import UserError

PICTURES_A_CALL = 64
TEXTS_A_CALL = 256


@dataclass(frozen=True)
class Embeddings:
    """L2-normalised float32: `images` (I, D) in the order of the split's list, `texts[language]` (T, D) in the order of its captions."""

    images: NDArray[np.float32]
    texts: dict[str, NDArray[np.float32]]


def embed_split(loaded: Loaded, split: Split) -> Embeddings:
    """Embed a split's pictures and captions. Raises UserError for a picture that does not decode and a model whose output is not finite."""
    total = len(split.names) + sum(len(captions.texts) for captions in split.captions.values())
    with torch.inference_mode(), ranks.progress_bar(total, f'embedding {split.root.name}', 'input') as progress:
        # Equal inputs are embedded once: in another batch they could differ in the last bit, and ties would not be ties.
        keys = [hashlib.sha256(split.picture(row)).digest() for row in range(len(split.names))]
        images = _distinct(keys, lambda rows: _embed_pictures(loaded, split.paths, rows), PICTURES_A_CALL, progress.update)
        texts = {}
        for language, captions in split.captions.items():
            texts[language] = embed_distinct_texts(loaded, captions.texts, language, progress.update)
    for what, array in [('pictures', images), *texts.items()]:
        check_finite(array, f'{split.root} ({what})')
    return Embeddings(images, texts)


def embed_distinct_texts(
    loaded: Loaded, texts: Sequence[str], language: str, advance: Callable[[int], object], limit: int | None = None
) -> NDArray[np.float32]:
    """(T, D) of texts in one language, each cut to `limit` tokens (none: a caption's). `advance` is told how many are done."""

    def embed(rows: list[int]) -> torch.Tensor:
        return embed_texts(loaded, [texts[row] for row in rows], language, limit)

    return _distinct(texts, embed, TEXTS_A_CALL, advance)


def embed_distinct_pictures(loaded: Loaded, pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """(N, D) of pictures in any form."""
    keys = [picture if isinstance(picture, bytes | str | Path) else number for number, picture in enumerate(pictures)]
    return _distinct(keys, lambda rows: _embed_pictures(loaded, pictures, rows), PICTURES_A_CALL, lambda done: None)


def check_finite(array: NDArray[np.float32], what: str) -> None:
    """Raises UserError when the model gave anything but numbers."""
    if not np.isfinite(array).all():
        raise UserError(f'embeddings of {what} are not finite: the model has diverged; take an earlier checkpoint')


def _embed_pictures(loaded: Loaded, pictures: Sequence[Picture], rows: list[int]) -> torch.Tensor:
    return loaded.model.image_features(picture_batch(loaded, [pictures[row] for row in rows], rows))


def _distinct(
    keys: Sequence[Hashable], embed: Callable[[list[int]], torch.Tensor], size: int, advance: Callable[[int], object]
) -> NDArray[np.float32]:
    """Embed the first row of each distinct key, `size` rows a call, shared among ranks; every rank has the result, a row for every key."""
    place: dict[Hashable, int] = {}
    distinct: list[int] = []
    for row, key in enumerate(keys):
        if key not in place:
            place[key] = len(distinct)
            distinct.append(row)
    calls = [distinct[start : start + size] for start in range(0, len(distinct), size)]

    def work() -> dict[int, NDArray[np.float32]]:
        parts: dict[int, NDArray[np.float32]] = {}
        for call in ranks.share(range(len(calls))):
            parts[call] = embed(calls[call]).float().cpu().numpy()
            advance(len(calls[call]))
        return parts

    whole = np.concatenate(ranks.gather(work, len(calls)))
    advance((len(keys) - len(distinct)) // ranks.world())
    return whole[[place[key] for key in keys]]
