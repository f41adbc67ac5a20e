"""Whether a run could write where its folder will be; nothing is left there."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from shards.errors import UserError


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return folder if folder.exists() else nearest(folder.parent)


def check_writable(folder: Path) -> Path:
    """Write, sync and lock a file where `folder` is or would be made, and take it away. Returns where that was.

    Raises UserError for what the file system refuses.
    """
    place = nearest(folder)
    try:
        with tempfile.NamedTemporaryFile(prefix='.try-', dir=place) as file:
            file.write(b'0')
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        what = f'no file can be written, synced and locked in {place} ({error.strerror})'
        raise UserError(f'{what}; correct that, or choose another `out`') from None
    return place
