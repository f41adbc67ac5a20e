"""Which pictures the page searches."""

from __future__ import annotations

from pathlib import Path

from shards.errors import UserError
from shards.pictures import SUFFIXES

SAMPLE = Path(__file__).parents[2] / 'sample' / 'evaluation'


def find_pictures(folder: Path | None) -> list[Path]:
    """Every picture file in a folder and below (none: the sample's evaluation sets). Raises UserError when there is none."""
    where = folder or SAMPLE
    found = sorted(path for path in where.rglob('*') if path.suffix.lower() in SUFFIXES and path.is_file()) if where.is_dir() else []
    if not found:
        what = 'has no picture' if where.is_dir() else 'is no folder'
        raise UserError(f'{where} {what}; --images takes a folder that holds {" ".join(SUFFIXES)}')
    return found
