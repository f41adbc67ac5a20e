"""The captions of a split as training examples: those of one language after those of the other."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from pretrain.config import Config
from pretrain.data.images import named_image
from pretrain.evaluation.multi30k import Split
from shards.tokenizer import Tokenizer


class Captioned(NamedTuple):
    """A caption and the row of its picture."""

    language: str
    text: str
    picture: int


class CaptionRows:
    """Every caption of a split in some of its languages (none: in all), by number."""

    def __init__(self, split: Split, languages: list[str] | None = None) -> None:
        self._captions = [split.captions[language] for language in languages or split.captions]
        self._ends = list(accumulate(len(captions.texts) for captions in self._captions))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> Captioned:
        at = bisect_right(self._ends, number)
        captions, place = self._captions[at], number - (self._ends[at - 1] if at else 0)
        return Captioned(captions.language, captions.texts[place], captions.rows[place])


def hashes(train: Split, dev: Split) -> dict[str, str]:
    """Name -> sha256 of the captions of both, and of names and sizes of their pictures: a hundred thousand are not read for it."""
    found: dict[str, str] = {}
    for name, split in (('train', train), ('dev', dev)):
        digest = hashlib.sha256()
        for language, captions in split.captions.items():
            for text, row in zip(captions.texts, captions.rows, strict=True):
                digest.update(f'{language}\0{split.names[row]}\0{text}\n'.encode())
        found[name] = digest.hexdigest()
        if split.paths:  # it was read with pictures
            sizes = ''.join(f'{file}\0{path.stat().st_size}\n' for file, path in zip(split.names, split.paths, strict=True))
            found[f'{name} pictures'] = hashlib.sha256(sizes.encode()).hexdigest()
    return found


def open_split(split: Split, config: Config, tokenizer: Tokenizer, rank: int, world: int) -> str:
    """Decode this rank's share of the pictures. Returns how much all ranks have, in words.

    Raises UserError for a language that the tokenizer has no code for, and a picture that cannot be read or decoded.
    """
    for language in split.captions:
        tokenizer.language(language)
    for row in range(len(split.paths))[rank::world]:
        named_image(split.picture(row), config.model.visual.image_size, split.paths[row])
    texts = sum(len(captions.texts) for captions in split.captions.values())
    return f'{texts:,} captions ({" ".join(split.captions)}), {len(split.paths):,} pictures'
