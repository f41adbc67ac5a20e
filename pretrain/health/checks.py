"""What one node can find out about itself: disks, shared memory, GPUs. A check returns results and never raises for a sick node."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

GIGABYTE = 10**9
PROBE = 1 << 20  # bytes written and read back


@dataclass(frozen=True)
class Result:
    """One check: `ok` and `bad` were found out, `skipped` says why it was not."""

    check: str
    status: Literal['ok', 'bad', 'skipped']
    text: str
    shared: bool = False  # of something that all nodes have in common, the run's disk

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_folder(folder: Path, gigabytes: float) -> Result:
    """Whether a folder can be written, holds what is written, and has so much space left."""
    name = f'disk {folder}'
    try:
        free = shutil.disk_usage(folder).free
        if free < gigabytes * GIGABYTE:
            return Result(name, 'bad', f'{free / GIGABYTE:.1f} GB free, {gigabytes:g} are needed')
        content = os.urandom(PROBE)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # read from the disk, not from memory
            file.seek(0)
            if file.read() != content:
                return Result(name, 'bad', 'what was read is not what had been written')
    except OSError as error:
        return Result(name, 'bad', error.strerror or str(error))
    return Result(name, 'ok', f'{free / GIGABYTE:.1f} GB free')


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: a run's `out` is made when it starts."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def scratch() -> Path:
    """Where this node keeps temporary files, by name: tempfile would pass over a folder that cannot be used."""
    return Path(os.environ.get('TMPDIR', '/tmp'))
