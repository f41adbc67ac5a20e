"""What a run leaves for people and programs: metrics.jsonl, evaluation.jsonl, events.jsonl, TensorBoard. Only rank 0 writes."""
from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from shards.errors import UserError

METRICS = 'metrics.jsonl'
EVALUATION = 'evaluation.jsonl'
EVENTS = 'events.jsonl'

LOCK_WAIT = 60.0  # seconds: DeepSpeed's launcher returns at Ctrl-C while its processes may still write their checkpoint for 30 s


class RunLock:
    """Keeps a second run out of a run's folder, until this process ends in whatever way. Raises UserError when another one stays there."""

    def __init__(self, out: Path, wait: float = LOCK_WAIT):
        out.mkdir(parents=True, exist_ok=True)
        self._file = (out / '.lock').open('w')
        deadline = time.monotonic() + wait
        while not self._taken():
            if time.monotonic() > deadline:
                self.close()
                raise UserError(f'another run is writing to {out}; stop it, or choose another `out`')
            time.sleep(0.5)

    def close(self) -> None:
        self._file.close()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Records:
    """The files of one run. `done` updates are in its checkpoint: lines of later steps, which an attempt that died wrote, move to
    `*.attempt-N.jsonl`.
    """

    def __init__(self, out: Path, done: int, tensorboard: bool):
        self.out = out
        for name in (METRICS, EVALUATION):
            set_aside(out / name, done)
        set_aside(out / EVENTS, None)
        self._evaluated = {line['step'] for line in read_lines(out / EVALUATION)} if (out / EVALUATION).exists() else set()
        self._files = {name: (out / name).open('a', encoding='utf8') for name in (METRICS, EVALUATION, EVENTS)}
        self._board = _board(out / 'tensorboard', done) if tensorboard else None

    def metrics(self, line: dict[str, Any]) -> None:
        """One optimizer step."""
        self._write(METRICS, line)
        if self._board is not None:
            step = line['step']
            for name, value in line.get('examples', {}).items():
                self._board.add_scalar(f'examples/{name}', value, step)
            for task, loss in line['loss'].items():
                self._board.add_scalar(f'loss/{task}', loss, step)
            for name in ('lr', 'grad_norm', 'samples_per_s', 'data_wait', 'logit_scale'):
                if line[name] is not None:
                    self._board.add_scalar(name, line[name], step)

    def evaluation(self, line: dict[str, Any]) -> None:
        """One evaluation."""
        self._write(EVALUATION, line)
        self._evaluated.add(line['step'])
        if self._board is not None:
            for task, report in line['heldout'].items():
                if report['mean'] is not None:
                    self._board.add_scalar(f'heldout/{task}', report['mean'], line['step'])
                for language, loss in report['languages'].items():
                    self._board.add_scalar(f'heldout_{task}/{language}', loss, line['step'])
            for language, recall in (line['retrieval'] or {}).items():
                self._board.add_scalar(f'retrieval_r10/{language}', recall['text_to_image'][2], line['step'])
            self._board.flush()

    def evaluated(self, step: int) -> bool:
        """Whether the evaluation after `step` updates is there."""
        return step in self._evaluated

    def event(self, event: str, **details: Any) -> None:
        """Start, resume, checkpoint, fault, end …"""
        self._write(EVENTS, {'event': event, 'time': round(time.time(), 3), **details})

    def sync(self) -> None:
        """Flush to the disk: a checkpoint that outlives a crash of the machine finds the lines of its steps."""
        for file in self._files.values():
            os.fsync(file.fileno())

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        if self._board is not None:
            self._board.close()

    def _write(self, name: str, line: dict[str, Any]) -> None:
        self._files[name].write(json.dumps(line, ensure_ascii=False) + '\n')
        self._files[name].flush()


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
    aside.write_bytes(b''.join(later))
    temporary = path.with_name(f'.{path.name}')
    with temporary.open('wb') as new:
        new.writelines(kept)
        new.flush()
        os.fsync(new.fileno())
    temporary.replace(path)


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


def _board(folder: Path, done: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1)
