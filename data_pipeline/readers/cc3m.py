"""CC3M: `Train_GCC-training.tsv`, `caption<TAB>url`, without header; pictures as img2dataset leaves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_pipeline.drops import Drops
from data_pipeline.readers.captions import check_tsv, tsv_captions
from data_pipeline.records import Caption

LICENCE = "CC3M terms (Google; free for any purpose, pictures remain their owners')"
NAMES = 'Train_GCC-training.tsv'
_URL_COLUMN = 1


def caption_files(raw: Path) -> list[Path]:
    """The corpus's own TSV files, by name; none when only img2dataset's output is there, whose captions are then used.

    `Validation_GCC-….tsv` beside the training file is left out.
    """
    files = sorted(raw.glob('*GCC*.tsv'))
    files = [path for path in files if not path.name.startswith('Validation_GCC')] or files
    return files or sorted(path for path in raw.glob('*.tsv') if not path.name.startswith('translations'))


def captions(path: Path, drops: Drops) -> Iterator[Caption]:
    """English captions of one TSV. Raises UserError when its columns are not CC3M's (CC12M's are the other way round)."""
    check_tsv(path, _URL_COLUMN, 'is it Train_GCC-training.tsv of CC3M? (the file of CC12M is the other way round: `build cc12m`)')
    yield from tsv_captions(path, _URL_COLUMN, drops)
