"""One run a folder: a lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from shards.errors import UserError
from shards.stderr import tell

LOCK_WAIT = 60.0  # seconds: DeepSpeed's launcher returns at Ctrl-C while its processes may still write their checkpoint for 30 s
# In a job that Slurm has requeued: its last attempt may live on, on a node that is cut off, until its watchdog ends it (watchdog.hang,
# 900 s) or the node is back. Three attempts wait for longer than that.
REQUEUED_WAIT = 600.0


class Taken(UserError):
    """Another run is in the folder. A requeued job does not end for it: it comes again."""

    code = 75  # EX_TEMPFAIL


class RunLock:
    """Keeps a second run out of a run's folder, until this process ends in whatever way. Raises UserError when another one stays there for
    `wait` seconds; Taken in a job that Slurm has requeued, which has no other run to stop, and waits for ten times as long.
    """

    def __init__(self, out: Path, wait: float | None = None):
        requeued = int(os.environ.get('SLURM_RESTART_COUNT', '0')) > 0
        if wait is None:
            wait = REQUEUED_WAIT if requeued else LOCK_WAIT
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._file = (out / '.lock').open('a+', encoding='utf8')  # who holds it stays readable
        except OSError as error:
            raise UserError(f'{out} cannot be written to ({error.strerror}); choose another `out`') from None
        deadline = time.monotonic() + wait
        waiting = False
        while not self._taken(out):
            if time.monotonic() > deadline:
                problem = f'another run is writing to {out} (its rank 0: {self._holder()}); stop it, or choose another `out`'
                self.close()
                raise Taken(problem) if requeued else UserError(problem)
            if not waiting:
                waiting = True
                what = f'waiting for another run in {out} (its rank 0: {self._holder()}) to end, {wait:g} s at most'
                tell(f'{what}\n')
            time.sleep(0.5)
        with suppress(OSError):  # a full disk; nothing depends on it
            self._file.truncate(0)
            self._file.write(f'process {os.getpid()} on {socket.gethostname()}')
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _holder(self) -> str:
        self._file.seek(0)
        return self._file.read().strip() or 'unknown'

    def _taken(self, out: Path) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # ENOSYS, ENOLCK, ENOTSUP
            self.close()
            remedy = 'mount it with them (Lustre: -o flock; NFS: with its lock service), or choose another `out`'
            raise UserError(f'the file system of {out} has no locks ({error.strerror}), which keep a second run out; {remedy}') from None
        return True
