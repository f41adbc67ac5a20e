"""The real terminal of a run is closed while it trains."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pretrain.engine.checkpoint import newest_valid
from pretrain.records import EVENTS, read_lines
from tests.support.launch import SECONDS, command, environment, prewarmed, steps

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

SETTINGS = ['tasks=[mt]', 'checkpoint.every=10', 'eval.tasks=[mt]', 'data.workers=1', 'log.every=1']


class OnTerminal:
    """A command whose controlling terminal is a pseudo-terminal; `ignoring`: SIGHUP, as nohup starts one."""

    def __init__(self, words: list[str], folder: Path, ignoring: bool) -> None:
        self.ours, theirs = os.openpty()

        def prepare() -> None:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignoring else signal.SIG_DFL)

        self.process = subprocess.Popen(
            words, cwd=folder, env={**environment(), 'TERM': 'xterm'}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=prepare,
        )  # fmt: skip
        os.close(theirs)
        self.read, self._looking = b'', True
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()

    def _follow(self) -> None:
        os.set_blocking(self.ours, False)
        while self._looking:
            with suppress(BlockingIOError, OSError):
                self.read += os.read(self.ours, 65536)
            time.sleep(0.01)

    def close(self) -> None:
        self._looking = False
        self._reader.join()
        os.close(self.ours)


@pytest.mark.parametrize(('ignoring', 'code'), [(False, 129), (True, 0)], ids=['SIGHUP', 'SIGHUP-ignored'])
def test_a_terminal_that_is_closed(home: Path, tmp_path: Path, ignoring: bool, code: int) -> None:
    out = tmp_path / 'run'
    last = 25 if ignoring else 100_000
    run = OnTerminal(command(prewarmed(2), home, out, *SETTINGS, f'steps={last}'), tmp_path, ignoring)
    deadline = time.monotonic() + SECONDS
    while steps(out) < 5:
        assert run.process.poll() is None and time.monotonic() < deadline, run.read.decode()
        time.sleep(0.01)
    run.close()
    assert run.process.wait(SECONDS) == code
    assert b'step 1/' in run.read or b'\x1b[J' in run.read, 'it was a terminal'
    events = read_lines(out / EVENTS)
    assert (events[-1]['event'], events[-1]['code']) == ('end', code), events[-1]
    assert not [line for line in events if line['event'] == 'fault'], 'loader processes too'
    done = events[-1]['step']
    assert done == last if ignoring else 5 <= done < last
    assert steps(out) == done and newest_valid(out / 'checkpoints') == (out / f'checkpoints/step-{done:07d}', [])
    assert [line['step'] for line in events if line['event'] == 'checkpoint'][-1] == done
