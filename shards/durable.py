"""Writes that a crash of the machine does not undo: what a file holds, and that a folder has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


PART = '.part'


def own_name(path: Path) -> Path:
    """A name beside a path's, which no other process takes, on this machine or another, and which tells whose it is."""
    return path.with_name(f'.{path.name}.{socket.gethostname()}.{os.getpid()}{PART}')


def replace(path: Path, parts: Iterable[bytes | memoryview], by_several: bool = False) -> None:
    """Write a file so that whatever ends the process leaves the old one or the new one. Raises OSError, and leaves the old one then.

    by_several: other processes may write the same file at the same time.
    """
    temporary = own_name(path) if by_several else path.with_name(f'.{path.name}')
    try:
        with temporary.open('wb') as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)
