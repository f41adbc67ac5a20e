"""Every setting of a build, with the help text of its flag.

The manifest keeps those of its kind of shards; a build resumed with others is refused.
"""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from shards.errors import UserError
from shards.schema import Kind

_ALL: tuple[Kind, ...] = ('pictures', 'text', 'bitext')


def _setting(default: Any, kinds: tuple[Kind, ...], text: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={'kinds': kinds, 'help': text, 'low': low, 'high': high})


@dataclass(frozen=True)
class Settings:
    """Settings of `data_pipeline build`. Raises UserError for a value out of range."""

    holdout: float = _setting(0.001, _ALL, 'share of the records that goes to the val split, chosen by hash', 0, 0.5)
    shard_bytes: int = _setting(1 << 26, _ALL, 'size of a shard before compression', 1 << 12, (1 << 32) - 1)
    compression: str = _setting('none', _ALL, 'none, zstd or zstd:LEVEL; pictures gain nothing')
    max_tokens: int = _setting(125, ('text',), 'tokens of a sequence, without the three special ones of batch time', 8)
    chunk_bytes: int = _setting(1 << 26, ('text', 'bitext'), 'text of a unit of work, cut between documents or pairs', 1 << 12)
    score: float = _setting(1.04, ('bitext',), "lowest margin score of WikiMatrix's pairs", 0)
    min_length: int = _setting(1, ('bitext',), 'tokens of a side, at least', 1)
    max_length: int = _setting(250, ('bitext',), 'tokens of a side, at most', 1)
    max_ratio: float = _setting(3.0, ('bitext',), 'the longer side is at most this many times the other', 1)
    max_non_letters: float = _setting(0.5, ('bitext',), 'share of characters of a side that are no letters, at most', 0, 1)
    image_side: int = _setting(512, ('pictures',), 'pictures with a longer side are shrunk to it, others pass through untouched', 16)
    min_side: int = _setting(16, ('pictures',), 'pictures with a shorter side are dropped', 1)
    max_pixels: int = _setting(100_000_000, ('pictures',), 'pictures of a larger area are dropped before decoding', 1)
    quality: int = _setting(90, ('pictures',), 'JPEG quality of shrunk and converted pictures', 1, 100)

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high, value = item.metadata['low'], item.metadata['high'], getattr(self, item.name)
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                wanted = f'at least {low}' if high is None else f'between {low} and {high}'
                raise UserError(f'{flag(item)} {value} is out of range: it must be {wanted}')
        name, _, level = self.compression.partition(':')
        if name not in ('none', 'zstd') or (level and not (name == 'zstd' and level.isdecimal() and 1 <= int(level) <= 22)):
            raise UserError(f'--compression {self.compression} is not none, zstd or zstd:LEVEL (1 to 22)')
        if self.min_length > self.max_length:
            raise UserError(f'--min-length {self.min_length} is above --max-length {self.max_length}')

    def of(self, kind: Kind) -> dict[str, Any]:
        """The settings that shape this kind of shards."""
        values = asdict(self)
        return {item.name: values[item.name] for item in fields(self) if kind in item.metadata['kinds']}


def flag(item: Field[Any]) -> str:
    """Command line flag of a setting."""
    return '--' + item.name.replace('_', '-')
