"""What a run writes and says, on rank 0: its records, its lock, and lines on the terminal. On other ranks nothing."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pretrain.boards.opened import open_boards
from pretrain.config import Config, dump_config
from pretrain.engine.resume import from_rank_0
from pretrain.engine.step import StepResult
from pretrain.lock import RunLock
from pretrain.progress import Progress
from pretrain.records import DEEPSPEED, ENVIRONMENT, Records
from pretrain.terminal import say
from pretrain.workload import Evaluation
from shards.durable import replace
from shards.errors import UserError


class Journal:
    """Of the run in `config.out`, whose folder is locked from the beginning: all ranks make it together.

    Raises UserError, on every rank, when another run is there.
    """

    def __init__(self, config: Config):
        self.config, self.out = config, Path(config.out)
        self.speaks = dist.get_rank() == 0
        self.records: Records | None = None  # on rank 0, once they are open
        from_rank_0(self._take_lock)

    def _take_lock(self) -> None:
        self._lock = RunLock(self.out)

    def open(self, done: int, environment: dict[str, Any], ds_config: dict[str, Any]) -> list[Evaluation]:
        """Open the records of a run that goes on after `done` updates, and leave its configuration, DeepSpeed's and its environment beside
        them. Returns the evaluations so far, on every rank. Raises UserError, on every rank, when the disk refuses.
        """

        def opened() -> list[Evaluation]:
            with self._needing_room():
                self.records = Records(self.out, done, open_boards(self.config, done))
                replace(self.out / 'config.yaml', [dump_config(self.config).encode()])
                replace(self.out / DEEPSPEED, [json.dumps(ds_config, indent=1).encode()])
                replace(self.out / ENVIRONMENT, [json.dumps(environment, indent=1).encode()])
            return self.records.evaluations()

        return from_rank_0(opened)

    def go_back(self, done: int) -> None:
        """The lines of what is undone are those of an attempt now. Raises UserError, on every rank, when the disk refuses."""

        def back() -> None:
            assert self.records
            with self._needing_room():
                self.records.go_back(done)

        from_rank_0(back)

    def step(self, line: dict[str, Any], result: StepResult, progress: Progress) -> None:
        """One optimizer step, of which `line` is that of metrics.jsonl."""
        if self.records:
            self.records.metrics(line)
            progress.step(line, result)

    def evaluation(self, line: Evaluation, said: list[str]) -> None:
        """One evaluation, and what is said of it."""
        if self.records:
            self.records.evaluation(line)
            for words in said:
                say(words)

    def event(self, event: str, **details: Any) -> None:
        """A line of events.jsonl."""
        if self.records:
            self.records.event(event, **details)

    def fault(self, problem: str, **details: Any) -> None:
        """What a person should know, on the terminal and in events.jsonl."""
        self.event('fault', problem=problem, **details)
        self.say(problem)

    def hung(self, verdict: str) -> None:
        """In a thread of the watchdog, which has printed it."""
        self.event('fault', problem=verdict)

    def say(self, message: str) -> None:
        """On the terminal."""
        if self.speaks:
            say(message)

    def sync(self) -> None:
        """A checkpoint that outlives a crash of the machine finds the lines of its steps."""
        if self.records:
            self.records.sync()

    def close(self) -> str | None:
        """Close the records and give the folder free. Returns why lines are lost, if some are."""
        lost = None
        if self.records:
            try:
                self.records.close()
            except OSError as error:
                lost = f'the last lines of the records of {self.out} are lost ({error.strerror})'
            self._lock.close()
        return lost

    @contextmanager
    def _needing_room(self) -> Iterator[None]:
        """What the run cannot do without, and a disk may refuse: one line on all ranks, in place of a stack trace on one."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = f'make room in {self.out}' if full else f'correct that in {self.out}'
            what = f'the records of the run cannot be written ({error.strerror})'
            raise UserError(f'{what}; {remedy} and start the same command again') from None
