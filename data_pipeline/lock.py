"""One merge a corpus at a time: a lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards.stderr import tell

LOCK = 'finish.lock'  # below .build/CORPUS


@contextmanager
def merging(work: Path) -> Iterator[None]:
    """Keeps a second merge out of a corpus, which is named by its folder of work: it waits until this one is over, in whatever way.

    Where the file system has no locks, a line says so: nothing else is wrong with it.
    """
    with (work / LOCK).open('a+', encoding='utf8') as file:  # who holds it stays readable
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            tell(f'waiting for another merge of {work.name} ({file.read().strip() or "unknown"}) to end\n')
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # ENOSYS, ENOLCK, ENOTSUP
            tell(f'warning: the file system of {work} has no locks ({error.strerror}): nothing keeps a second merge of {work.name} out\n')
        with suppress(OSError):  # a full disk; nothing depends on it
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
            file.flush()
        yield
