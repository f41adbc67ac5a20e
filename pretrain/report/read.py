"""The files of a run as they are found: in progress, stopped, started again, or with a line that was cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pretrain.records import DEEPSPEED, ENVIRONMENT, EVALUATION, EVENTS, METRICS
from shards.errors import UserError

CONFIG = 'config.yaml'
Line = dict[str, Any]


@dataclass
class Run:
    """What a folder has; what it has not is empty. `problems` are lines that cannot be read."""

    folder: Path
    evaluations: list[Line] = field(default_factory=list)
    events: list[Line] = field(default_factory=list)
    environment: Line = field(default_factory=dict)
    settings: Line = field(default_factory=dict)  # as they are nested in config.yaml
    deepspeed: Line = field(default_factory=dict)  # the resolved DeepSpeed JSON
    attempts: list[tuple[str, int, int, int]] = field(default_factory=list)  # file, lines, first and last step of them
    problems: list[str] = field(default_factory=list)

    def metrics(self) -> Iterator[Line]:
        """The lines of metrics.jsonl, one after the other: a long run has many. Problems are noted as they are met."""
        return self._lines(METRICS, 'step')

    def _lines(self, name: str, needed: str) -> Iterator[Line]:
        """Whole lines that are JSON objects with the key `needed`. A last one that is still being written is not a problem."""
        path = self.folder / name
        if not path.is_file():
            return
        with path.open('rb') as file:
            for number, raw in enumerate(file, 1):
                try:
                    line = json.loads(raw)
                    if isinstance(line, dict) and needed in line:
                        yield line
                        continue
                    problem = f'has no {needed!r}'
                except ValueError:
                    if not raw.endswith(b'\n'):
                        return
                    problem = 'is not JSON'
                self.problems.append(f'{name}, line {number}, {problem}; it is left out here')


def read_run(folder: Path) -> Run:
    """Everything but metrics.jsonl, which `Run.metrics` reads. Raises UserError when the folder is not that of a run."""
    if not any((folder / name).is_file() for name in (METRICS, EVENTS)):
        what = 'has neither metrics.jsonl nor events.jsonl' if folder.is_dir() else 'does not exist'
        raise UserError(f'{folder} {what}; name the folder of a run (its `out`)')
    run = Run(folder)
    try:
        run.evaluations = list(run._lines(EVALUATION, 'step'))
        run.events = list(run._lines(EVENTS, 'event'))
        run.attempts = [_attempt(path) for path in sorted(folder.glob('metrics.attempt-*.jsonl'), key=_number)]
        if (folder / ENVIRONMENT).is_file():
            run.environment = _mapping(json.loads((folder / ENVIRONMENT).read_text(encoding='utf8')))
        if (folder / DEEPSPEED).is_file():
            run.deepspeed = _mapping(json.loads((folder / DEEPSPEED).read_text(encoding='utf8')))
        if (folder / CONFIG).is_file():
            run.settings = _mapping(yaml.safe_load((folder / CONFIG).read_text(encoding='utf8')))
    except OSError as error:
        raise UserError(f'{error.filename} cannot be read ({error.strerror})') from None
    except (ValueError, yaml.YAMLError) as error:
        run.problems.append(f'{ENVIRONMENT}, {DEEPSPEED} or {CONFIG} cannot be read: {" ".join(str(error).split())[:200]}')
    return run


def _attempt(path: Path) -> tuple[str, int, int, int]:
    steps = []
    with path.open('rb') as file:
        for raw in file:
            try:
                steps.append(int(json.loads(raw)['step']))
            except (ValueError, KeyError, TypeError):  # a line that its process did not finish
                pass
    return path.name, len(steps), min(steps, default=0), max(steps, default=0)


def _number(path: Path) -> int:
    digits = path.name.split('-')[-1].split('.')[0]
    return int(digits) if digits.isdigit() else 0


def _mapping(value: Any) -> Line:
    if not isinstance(value, dict):
        raise ValueError('not a mapping')
    return value
