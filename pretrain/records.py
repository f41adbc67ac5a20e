"""What a run leaves for people and programs: metrics.jsonl, evaluation.jsonl, events.jsonl; and boards. Only rank 0 writes."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain.boards import Board, of_evaluation, of_event, of_metrics
from pretrain.terminal import say
from shards.durable import replace, sync
from shards.errors import UserError

METRICS = 'metrics.jsonl'
EVALUATION = 'evaluation.jsonl'
EVENTS = 'events.jsonl'
ENVIRONMENT = 'environment.json'  # of the last start
DEEPSPEED = 'deepspeed.json'  # what DeepSpeed was given by the last start


class Records:
    """The files of one run, and the boards that show it. `done` updates are in its checkpoint: lines of later steps, which an attempt that
    died wrote, move to `*.attempt-N.jsonl`.
    """

    def __init__(self, out: Path, done: int, boards: Sequence[Board] = ()):
        self.out, self.boards = out, boards
        self._code: int | None = None  # of the run's end
        set_aside(out / EVENTS, None)
        self._open(done)

    def _open(self, done: int) -> None:
        for name in (METRICS, EVALUATION):
            set_aside(self.out / name, done)
        self._files = {name: Lines(self.out / name) for name in (METRICS, EVALUATION, EVENTS)}

    def go_back(self, done: int) -> None:
        """The run goes on from `done` updates: later lines are those of an attempt now. Raises OSError, and can still be written to."""
        self.sync()
        for name in (METRICS, EVALUATION):
            set_aside(self.out / name, done)
        self._close_files()
        self._open(done)
        for board in self.boards:
            board.back(done)

    def metrics(self, line: dict[str, Any]) -> None:
        """One optimizer step."""
        self._write(METRICS, line)
        self._show(line['step'], of_metrics(line))

    def evaluation(self, line: dict[str, Any]) -> None:
        """One evaluation."""
        self._write(EVALUATION, line)
        self._show(line['step'], of_evaluation(line))
        for board in self.boards:
            board.flush()

    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations so far."""
        return read_lines(self.out / EVALUATION)

    def event(self, event: str, **details: Any) -> None:
        """Start, resume, checkpoint, fault, end …"""
        line = {'event': event, 'time': round(time.time(), 3), **details}
        self._write(EVENTS, line)
        self._show(line.get('step', 0), of_event(line))
        if event == 'end':
            self._code = details['code']

    def sync(self) -> None:
        """Flush to the disk: a checkpoint that outlives a crash of the machine finds the lines of its steps."""
        for file in self._files.values():
            file.sync()
        sync(self.out)  # that the files are there

    def close(self) -> None:
        """Raises OSError when lines are lost."""
        for board in self.boards:
            board.close(self._code)
        self._close_files()

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()

    def _write(self, name: str, line: dict[str, Any]) -> None:
        self._files[name].write(json.dumps(strict(line), ensure_ascii=False, allow_nan=False))

    def _show(self, step: int, values: dict[str, float]) -> None:
        for board in self.boards:
            if values:
                board.scalars(step, values)


class Lines:
    """A file that grows by whole lines. What a full disk refuses is kept, and written when there is room again."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open('ab', buffering=0)
        self._kept = b''
        self._told = False
        self._lock = threading.Lock()  # a checkpoint's thread syncs while the trainer writes

    def write(self, line: str) -> None:
        """Append a line."""
        with self._lock:
            self._kept += line.encode() + b'\n'
        try:
            self._flush()
        except OSError as error:
            if not self._told:
                kept = 'its lines are kept until there is room'
                say(f'{self.path} cannot be written to ({error.strerror}); {kept}')
            self._told = True

    def sync(self) -> None:
        """Everything is on the disk after it. Raises OSError when that cannot be."""
        self._flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Raises OSError when lines are lost with it."""
        try:
            self._flush()
        finally:
            self._file.close()

    def _flush(self) -> None:
        with self._lock:
            while self._kept:  # a disk that fills up takes part of a line: the next call goes on behind it
                self._kept = self._kept[self._file.write(self._kept) or 0 :]
            self._told = False


def strict(value: Any) -> Any:
    """The same with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def set_aside(path: Path, done: int | None) -> None:
    """Keep the lines of steps up to `done` (None: of all steps); move later ones, and a half-written last line, to
    `<name>.attempt-N.jsonl`.
    """
    if not path.exists():
        return
    kept: list[bytes] = []
    later: list[bytes] = []
    with path.open('rb') as file:
        for raw in file:
            (kept if _whole(raw, done) else later).append(raw)
    if not later:
        return
    attempt = 1
    while (aside := path.with_name(f'{path.stem}.attempt-{attempt}.jsonl')).exists():
        attempt += 1
    replace(aside, later)
    replace(path, kept)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a record file; a last one that is still being written is left out. Raises UserError when there is no file, or it is
    damaged.
    """
    if not path.exists():
        raise UserError(f'{path} does not exist; is {path.parent} the folder of a run?')
    lines = []
    with path.open('rb') as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b'\n'):
                break
            try:
                lines.append(json.loads(raw))
            except ValueError as error:
                raise UserError(f'{path}, line {number} is not JSON ({error}); remove that line') from None
    return lines


def _whole(raw: bytes, done: int | None) -> bool:
    """Whether a line is complete, and of a step up to `done`."""
    try:
        line = json.loads(raw)
        return raw.endswith(b'\n') and (done is None or int(line['step']) <= done)
    except (ValueError, KeyError, TypeError):
        return False
