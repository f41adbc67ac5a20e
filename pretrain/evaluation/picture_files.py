"""Whether the pictures that a benchmark names are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shards.errors import UserError

REMEDY = 'put the pictures there, or name their folder with --images'


def existing(names: Sequence[str], folder: Path, remedy: str = REMEDY) -> list[Path]:
    """The paths of pictures in a folder. Raises UserError, which ends with the remedy, when one is missing."""
    paths = [folder / name for name in names]
    refuse_missing([path for path in paths if not path.is_file()], len(paths), remedy)
    return paths


def refuse_missing(missing: Sequence[Path], among: int, remedy: str = REMEDY, source: str = '') -> None:
    """Raises UserError, which names the first and ends with the remedy, when pictures are missing; `source` is the file that names them."""
    if missing:
        named = f', which {source} names,' if source else ''
        more = f' and {len(missing) - 1} more of {among} are' if len(missing) > 1 else ' is'
        raise UserError(f'picture {missing[0]}{named}{more} missing; {remedy}')
