"""The SHA-256 of a shard is computed once a machine and start of a run, not once in each of its loader processes: they tell each other by
notes, a file for each shard.

A note says that the shard had that SHA-256, and what the file system knew of it then. It is believed only by a reader that was there
before the shard was read, and while nothing about the file has changed: so a run that is started again looks at every shard again. Where
notes cannot be kept, each process reads for itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path

from shards.hashes import file_sha256

# File systems count time in steps of up to two seconds: a younger file may change without another time of change.
SETTLED = 2.0
_BOOT = Path('/proc/sys/kernel/random/boot_id')


def has_sha256(path: Path, sha256: str, notes: Path, since: float) -> bool:
    """Whether the file at `path` has this SHA-256 (hex). It is read, unless a process of this machine has found so since `since`
    (time.monotonic(), which all processes of a machine share) and left a note in the folder `notes`; who comes while another one reads
    waits for it. Raises OSError when the file cannot be read.
    """
    note = _locked(path, notes)
    if note is None:
        return file_sha256(path) == sha256
    with note:  # the kernel gives the lock back when its holder dies
        began, age, state = time.monotonic(), _age(path), _state(path)
        what = f'{sha256} {_boot()} {state}'
        if _found(note, what) >= since:
            return True
        _write(note, '')  # what it said must not outlive what is found now
        if file_sha256(path) != sha256:
            return False
        if age >= SETTLED and _state(path) == state:
            _write(note, f'{what} {began!r}\n')
        return True


def _locked(path: Path, notes: Path) -> FileIO | None:
    """The note of a file, for this process alone; None where none can be kept. Every machine has its own: `notes` may lie on a file system
    of several, each of which may read something else from what they share.
    """
    name = hashlib.sha256(f'{socket.gethostname()} {path.absolute()}'.encode()).hexdigest()[:32]
    try:
        _boot()
        notes.mkdir(parents=True, exist_ok=True)
        note = FileIO(notes / name, 'a+')
    except OSError:
        return None
    try:
        fcntl.flock(note, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        note.close()
        return None
    return note


def _found(note: FileIO, what: str) -> float:
    """When reading what the note is of began; -inf if it is of something else, or its writer died."""
    said = b''
    with suppress(OSError):
        note.seek(0)
        said = note.read(1024)
    content, _, when = said.decode('ascii', 'replace').rpartition(' ')
    return float(when) if content == what and when.endswith('\n') else float('-inf')


def _write(note: FileIO, text: str) -> None:
    """Replace what the note says. It says nothing when the disk is full."""
    with suppress(OSError):
        note.truncate(0)
        note.write(text.encode('ascii'))


def _boot() -> str:
    """Tells starts of machines apart: times, and numbers of devices, are of one of them."""
    return _BOOT.read_text(encoding='ascii').strip()


def _state(path: Path) -> str:
    """What changes with the file: its time of change does when its contents were written and its time of modification set back."""
    with path.open('rb') as file:  # opened, as only then a network file system asks its server
        found = os.fstat(file.fileno())
    return f'{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}'


def _age(path: Path) -> float:
    """Seconds since the file was last changed."""
    return time.time() - path.stat().st_ctime
