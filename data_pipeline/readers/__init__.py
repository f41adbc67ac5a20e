"""One reader a corpus or file format, and which reads the captions of which picture corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from data_pipeline.drops import Drops
from data_pipeline.readers import cc3m, cc12m, wit
from data_pipeline.records import Caption


class CaptionReader(Protocol):
    """What a module that reads a picture corpus's own captions has. Its pictures are read by img2dataset.py (WIT's pixels by wit.py)."""

    LICENCE: str  # of a picture, as its record keeps it
    NAMES: str  # what its files are recognised by, for people

    def caption_files(self, raw: Path) -> list[Path]:
        """The corpus's own files, by name."""

    def captions(self, path: Path, drops: Drops) -> Iterator[Caption]:
        """Captions of one of them. Raises UserError for a file of another layout."""


PICTURES: dict[str, CaptionReader] = {'cc3m': cc3m, 'cc12m': cc12m, 'wit': wit}
