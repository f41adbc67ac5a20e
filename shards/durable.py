"""Writes that a crash of the machine does not undo: what a file holds, and that a folder has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

_AT_ONCE = 8  # a file system writes what several ask for at the same time in one go; asked one after the other, each waits for the disk
_LARGE = 4 << 20  # bytes
PART = '.part'

_begun: list[Future[None]] = []


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    _flush(os.open(path, os.O_RDONLY))


def _flush(handle: int) -> None:
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def begin_sync(path: Path) -> None:
    """Begin to flush a file that is complete, if it is a large one, beside other work. `sync_all` waits until that is done."""
    if path.stat().st_size < _LARGE:
        return
    while len(_begun) >= _AT_ONCE:
        _begun.pop(0).result()
    _begun.append(_background().submit(_flush, os.open(path, os.O_RDONLY)))


@cache
def _background() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, 'sync')


def sync_all(paths: Iterable[Path]) -> None:
    """`sync` of each of many files and folders, and the end of what `begin_sync` has begun. Raises OSError when one of them fails."""
    while _begun:
        _begun.pop().result()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(sync, paths))


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
