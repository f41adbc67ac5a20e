"""Every setting of a build, with the help text of its flag, and every rule that `--without` can switch off.

The manifest keeps those of its kind of shards; a build resumed with others is refused.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import Field, asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from shards.errors import UserError
from shards.languages import canonical
from shards.schema import Kind

_ALL: tuple[Kind, ...] = ('pictures', 'text', 'bitext')

# Rules by name, which is also the reason that they are counted under where they drop something: the kinds of corpora that they concern.
RULES: dict[str, tuple[Kind, ...]] = {
    'nfc': _ALL,
    'person': ('pictures',),
    'empty': _ALL,
    'identical_sides': ('bitext',),
    'non_letters': ('bitext',),
    'length': ('bitext',),
    'length_ratio': ('bitext',),
    'language': ('bitext',),
    'evaluation_text': _ALL,
    'evaluation_picture': ('pictures',),
}
RESIZERS = ('opencv', 'pillow')
_LIMIT = re.compile(r'(?:([^=]+)=)?(\d+(?:\.\d+)?)([KMGT]?)')


def _setting(default: Any, kinds: tuple[Kind, ...], text: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={'kinds': kinds, 'help': text, 'low': low, 'high': high})


def switched_off(without: str) -> frozenset[str]:
    """Names of the rules in `without`."""
    return frozenset(filter(None, map(str.strip, without.split(','))))


@dataclass(frozen=True)
class Settings:
    """Settings of `data_pipeline build`. Raises UserError for a value out of range."""

    holdout: float = _setting(0.001, _ALL, 'share of the records that goes to the val split, chosen by hash', 0, 0.5)
    shard_bytes: int = _setting(1 << 26, _ALL, 'size of a shard before compression', 1 << 12, (1 << 32) - 1)
    compression: str = _setting('none', _ALL, 'none, zstd or zstd:LEVEL; pictures gain nothing')
    max_tokens: int = _setting(125, ('text',), 'tokens of a sequence, without the three special ones of batch time', 8)
    chunk_bytes: int = _setting(1 << 26, ('text', 'bitext'), 'text of a unit of work, cut between documents or pairs', 1 << 12)
    cross_documents: bool = _setting(False, ('text',), 'fill sequences across the ends of documents')
    limit: str = _setting(
        '', ('text',), 'bytes that are read of a language, at most: SIZE for all, or CODE=SIZE, separated by commas; with K, M, G or T'
    )
    alpha: float = _setting(0.7, ('text',), "the manifests' sampling weights are proportional to tokens^alpha (mBART 0.7, XLM-R 0.3)", 0)
    near_duplicates: float = _setting(
        0.0, ('text', 'bitext'), 'drop what is about so similar to an earlier one (Jaccard, by MinHash); 0: only what is equal', 0, 0.99
    )
    score: float = _setting(1.04, ('bitext',), "lowest margin score of WikiMatrix's pairs", 0)
    min_length: int = _setting(1, ('bitext',), 'tokens of a side, at least', 1)
    max_length: int = _setting(250, ('bitext',), 'tokens of a side, at most', 1)
    max_ratio: float = _setting(3.0, ('bitext',), 'the longer side is at most this many times the other', 1)
    max_non_letters: float = _setting(0.5, ('bitext',), 'share of characters of a side that are no letters, at most', 0, 1)
    language_probability: float = _setting(0.5, ('bitext',), 'of the language that a side is said to be in, at least', 0, 1)
    language_length: int = _setting(
        60, ('bitext',), 'characters (one of Chinese, Japanese or Korean counts for 3); shorter sides are not judged for their language', 0
    )
    image_side: int = _setting(512, ('pictures',), 'pictures with a longer side are shrunk to it, others pass through untouched', 16)
    min_side: int = _setting(16, ('pictures',), 'pictures with a shorter side are dropped', 1)
    max_pixels: int = _setting(100_000_000, ('pictures',), 'pictures of a larger area (WebP: of half of it) are dropped before decoding', 1)
    picture_distance: int = _setting(
        6, ('pictures',), 'bits of 64 in which the perceptual hashes of a picture and of one of --decontaminate may differ', 0, 32
    )
    quality: int = _setting(90, ('pictures',), 'JPEG quality of shrunk and converted pictures', 1, 100)
    resizer: str = _setting('opencv', ('pictures',), 'what shrinks ordinary JPEGs: opencv, or pillow')
    licence: str = _setting('', _ALL, 'of the raw files, where it is another than that of the corpus as published, which the reader knows')
    without: str = _setting('', _ALL, f'rules that are not applied, separated by commas: {" ".join(RULES)}')

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high, value = item.metadata['low'], item.metadata['high'], getattr(self, item.name)
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                wanted = f'at least {low}' if high is None else f'between {low} and {high}'
                raise UserError(f'{flag(item)} {value} is out of range: it must be {wanted}')
        name, _, level = self.compression.partition(':')
        if name not in ('none', 'zstd') or (level and not (name == 'zstd' and level.isdecimal() and 1 <= int(level) <= 22)):
            raise UserError(f'--compression {self.compression} is not none, zstd or zstd:LEVEL (1 to 22)')
        if self.resizer not in RESIZERS:
            raise UserError(f'--resizer {self.resizer} is not one of {" ".join(RESIZERS)}')
        if self.min_length > self.max_length:
            raise UserError(f'--min-length {self.min_length} is above --max-length {self.max_length}')
        for name in sorted(self.switched_off - RULES.keys()):
            near = difflib.get_close_matches(name, RULES, 1, 0)
            raise UserError(f'--without {name}: there is no such rule, the nearest is {near[0]}; rules are {" ".join(RULES)}')
        if not self.licence.isprintable():
            raise UserError(f'--licence {self.licence!r} is not one line of text; give the name of the licence')
        self.limits  # noqa: B018  (raises)

    @cached_property
    def switched_off(self) -> frozenset[str]:
        return switched_off(self.without)

    def applies(self, rule: str) -> bool:
        """Whether a rule of `RULES` is on."""
        return rule not in self.switched_off

    @cached_property
    def limits(self) -> dict[str, int]:
        """Bytes by canonical language; '' is every language that is not named."""
        found = {}
        for part in filter(None, map(str.strip, self.limit.split(','))):
            match = _LIMIT.fullmatch(part)
            if match is None:
                raise UserError(f'--limit {part} is not SIZE or CODE=SIZE, such as en=20G')
            code, number, unit = match.groups()
            found[canonical(code) if code else ''] = int(float(number) * 1024 ** ' KMGT'.index(unit or ' '))
        return found

    def of(self, kind: Kind) -> dict[str, Any]:
        """The settings that shape this kind of shards."""
        values = asdict(self)
        return {item.name: values[item.name] for item in fields(self) if kind in item.metadata['kinds']}


def flag(item: Field[Any]) -> str:
    """Command line flag of a setting."""
    return '--' + item.name.replace('_', '-')
