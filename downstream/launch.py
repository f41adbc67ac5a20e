"""Starts a program, and stops it together with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import IO

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
PATIENCE = 60.0  # seconds that the last process of a group may take


def run_group(words: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None = None) -> int:
    """Run a command as a process group of its own, with these variables on top of this process's; `output` takes what it prints.

    A launcher that is killed alone would leave its ranks training: Ctrl-C, SIGTERM and SIGUSR1 that reach this process go to the whole
    group, which is then waited for. Returns the exit code of the command, 128 + the signal's number when it was stopped.
    """
    process: subprocess.Popen[bytes] | None = None
    stopped = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = number
        if process is not None:
            _signal_group(process.pid, number)

    with ExitStack() as after:
        for number in STOPS:  # before the start: what is started may be told to stop at once, and must not outlive this process
            after.callback(signal.signal, number, signal.signal(number, stop))
        process = subprocess.Popen(words, env={**os.environ, **environment}, stdout=output, start_new_session=True)
        if stopped:
            _signal_group(process.pid, stopped)
        code = process.wait()
        _wait_for_group(process.pid)
    return 128 + stopped if stopped else code


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _wait_for_group(group: int) -> None:
    """Until no process of the group is left: DeepSpeed's launcher returns before the ranks have written their checkpoint."""
    end = time.monotonic() + PATIENCE
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.2)
