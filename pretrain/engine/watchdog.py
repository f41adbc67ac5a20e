"""Notices a rank that hangs: ends the run with every rank's stack, and names the rank that holds it up."""

from __future__ import annotations

import faulthandler
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain.engine.distributed import cpu_group
from pretrain.engine.saver import SAVING
from pretrain.terminal import say

EXIT_HUNG = 75  # EX_TEMPFAIL of sysexits.h: start again
ANSWER = 30.0  # seconds, for a rank's watchdog: it runs whatever its rank does
RECORDING = 10.0  # seconds for a line of events.jsonl, whose disk or lock may be what hangs
WAITING = re.compile(r'torch/distributed/|deepspeed/comm/')  # files of a rank that waits for the others


@dataclass(frozen=True)
class Report:
    """What a rank's watchdog says of it."""

    rank: int
    host: str
    doing: str
    since: float  # seconds
    waits: bool  # for other ranks
    beats: int
    stack: str


class Watchdog:
    """`beat` says that this rank goes on; when nothing is said for `seconds`, every rank's stack is printed and its process ends.

    A thread does it. Should the interpreter itself be stuck, the C thread of `faulthandler` ends the process a minute later, with its
    stack. `on_hang` gets the verdict on rank 0, once it is printed: it may be stuck where the rank is.
    """

    def __init__(self, seconds: float, on_hang: Callable[[str], None]):
        self.seconds, self.on_hang = seconds, on_hang
        self.answer = timedelta(seconds=min(ANSWER, seconds))
        self.group = cpu_group(self.answer)
        self._main = threading.main_thread().ident
        self._doing, self._at, self._beats = 'starting', time.monotonic(), 0
        self._over = threading.Event()

    def beat(self, doing: str) -> None:
        """This rank is alive, and now does this."""
        self._doing, self._at = doing, time.monotonic()
        self._beats += 1
        faulthandler.dump_traceback_later(self.seconds + 2 * ANSWER, exit=True)

    def start(self) -> None:
        """Watch until `stop`; it may be started again then."""
        self.beat('starting')
        self._over = threading.Event()
        threading.Thread(target=self._watch, args=(self._over,), name='watchdog', daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(min(1.0, self.seconds / 4)):
            if time.monotonic() - self._at > self.seconds:
                self._end()

    def _end(self) -> None:
        """Print what this rank does, collect what the others do, name the culprit, leave."""
        mine = self._report()
        state = f'waits for other ranks in {mine.doing}' if mine.waits else f'stands still in {mine.doing}'
        say(f'rank {mine.rank} on {mine.host} {state}, for {mine.since:.0f} s; its stack:\n{mine.stack}')
        try:
            dist.monitored_barrier(self.group, timeout=self.answer, wait_all_ranks=True)
            reports: list[dict[str, Any]] = [{}] * dist.get_world_size()
            dist.all_gather_object(reports, asdict(mine), group=self.group)
            verdict = judge([Report(**report) for report in reports])
        except RuntimeError as error:  # names the ranks
            silent = re.findall(r'\d+', (re.findall(r'[Rr]anks? ([\d, ]+)', str(error)) or ['0'])[-1])
            verdict = f'rank {", ".join(silent)} holds the run up: it does not answer at all (stopped, or its machine is gone)'
            if silent == ['0']:  # which would have said it
                say(verdict)
        if mine.rank == 0:
            say(verdict)
            recording = threading.Thread(target=self.on_hang, args=(verdict,), daemon=True)
            recording.start()
            recording.join(RECORDING)
        dump_flight(mine.rank)
        os._exit(EXIT_HUNG)

    def _report(self) -> Report:
        running = sys._current_frames()
        frames = traceback.extract_stack(running[self._main or 0])
        stack = ''.join(traceback.format_list(frames))
        joins = any(frame.filename == threading.__file__ and frame.name == 'join' for frame in frames)
        for thread in threading.enumerate():
            if thread.name == SAVING and thread.ident in running:
                own = traceback.extract_stack(running[thread.ident])
                stack += f'and of its thread that writes a checkpoint:\n{"".join(traceback.format_list(own))}'
                frames = own if joins else frames  # the rank waits for its own thread: what does that wait for?
        waits = any(WAITING.search(frame.filename) for frame in frames[-6:])
        return Report(dist.get_rank(), socket.gethostname(), self._doing, time.monotonic() - self._at, waits, self._beats, stack)


def dump_flight(rank: int) -> None:
    """NCCL's flight recorder (the last collectives of this rank), where its own dump at a time-out would lie: this process ends before
    that. Nothing without NCCL, or when nobody has named a file.
    """
    prefix, nccl = os.environ.get('TORCH_FR_DUMP_TEMP_FILE'), getattr(torch._C._distributed_c10d, '_dump_nccl_trace', None)
    if not prefix or nccl is None or dist.get_backend() != 'nccl':
        return
    with suppress(RuntimeError, OSError):
        Path(f'{prefix}{rank}').write_bytes(nccl())


def judge(reports: list[Report]) -> str:
    """Which rank holds the others up: one that waits for none; else the one that has got least far."""
    suspects = [report for report in reports if not report.waits] or [min(reports, key=lambda report: report.beats)]
    parts = [f'rank {report.rank} on {report.host} holds the run up, in {report.doing} for {report.since:.0f} s' for report in suspects]
    return '; '.join(parts)
