"""CC12M: `cc12m.tsv`, `url<TAB>caption`, without header; pictures as img2dataset leaves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_pipeline.drops import Drops
from data_pipeline.readers.captions import check_tsv, tsv_captions
from data_pipeline.records import Caption

LICENCE = "CC12M terms (Google; free for any purpose, pictures remain their owners')"
NAMES = 'cc12m.tsv'
_URL_COLUMN = 0


def caption_files(raw: Path) -> list[Path]:
    """The corpus's own TSV, none when only img2dataset's output is there, whose captions are then used."""
    return sorted(path for path in raw.glob('*.tsv') if not path.name.startswith('translations'))


def captions(path: Path, drops: Drops) -> Iterator[Caption]:
    """English captions of one TSV. Raises UserError when its columns are not CC12M's (CC3M's are the other way round)."""
    check_tsv(path, _URL_COLUMN, 'is it cc12m.tsv? (the files of CC3M are the other way round: `build cc3m`)')
    yield from tsv_captions(path, _URL_COLUMN, drops)
