"""Runs the demo's commands one after the other, and remembers in OUT/steps.json which are done, so that a second start continues."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from downstream.files import write_json
from downstream.launch import STOPS, run_group
from shards.errors import UserError, continues

PACKAGES = [Path(__file__).parents[2] / name for name in ('shards', 'data_pipeline', 'pretrain', 'downstream')]


@dataclass(frozen=True)
class Step:
    """A command. It is not run again while its command, its inputs and all earlier steps are what they were, and its output is there."""

    name: str
    command: list[str]
    output: Path  # file or folder
    inputs: list[Path] = field(default_factory=list)  # files and folders outside the demo's own
    environment: Mapping[str, str] = field(default_factory=dict)
    transient: list[str] = field(default_factory=list)  # options after the command's first word that say nothing about the result
    resumes: bool = True  # the command continues what it began; else an unfinished output is moved away before it starts again

    log: Path | None = None  # takes what the command prints, but not its progress and errors; none: the terminal

    def key(self) -> str:
        """What the result depends on."""
        return digest(json.dumps(self.command), {str(path): path for path in files(self.inputs)})

    def words(self) -> list[str]:
        """The words of the command line."""
        return [self.command[0], *self.transient, *self.command[1:]]

    def typed(self) -> str:
        """The command as one would type it."""
        words = shlex.join([*(f'{name}={value}' for name, value in self.environment.items()), *self.words()])
        return f'{words} > {shlex.quote(str(self.log))}' if self.log else words


def files(paths: Iterable[Path]) -> list[Path]:
    """The files among and below these paths, sorted."""
    return sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob('*')) if file.is_file())


def digest(start: str, named: Mapping[str, Path]) -> str:
    """SHA-256 of a text and of what these files are called and hold."""
    found = hashlib.sha256(start.encode())
    for name, path in named.items():
        found.update(f'{name}\0{path.stat().st_size}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n'.encode())
    return found.hexdigest()


class Steps:
    """The record of a demo's folder."""

    def __init__(self, out: Path):
        self.path = out / 'steps.json'
        try:
            self.record: dict[str, dict[str, Any]] = json.loads(self.path.read_text(encoding='utf8'))
        except FileNotFoundError:
            self.record = {}
        except ValueError as error:
            raise UserError(f'{self.path} cannot be read ({error}); delete it to run every step again') from None
        self.started = time.monotonic()
        modules = {str(path.relative_to(package.parent)): path for package in PACKAGES for path in files([package]) if path.suffix == '.py'}
        self.code = digest('', modules)

    @continues()
    def run(self, steps: list[Step]) -> dict[str, float]:
        """Run what is not done; returns the seconds of each step, of earlier starts too. Raises UserError when a command fails."""
        older = False  # whether other code did what is kept
        again = False  # once a step has run, those after it have new inputs
        for number, step in enumerate(steps, 1):
            known = self.record.get(step.name, {})
            same = known.get('key') == step.key()
            title = f'[{number}/{len(steps)}] {step.name}'
            if same and known.get('done') and step.output.exists() and not again:
                older |= known.get('code') != self.code
                print(f'{title}: done before, in {known["seconds"]:.0f} s', flush=True)
                continue
            if step.output.exists() and not (same and (step.resumes or known.get('done'))):
                set_aside(step.output, self.path.parent)
            print(f'\n{title}  ({clock(time.monotonic() - self.started)} since the start)\n$ {step.typed()}', flush=True)
            before = known.get('seconds', 0.0) if same else 0.0
            self._write(step, before, done=False)
            began, done = time.monotonic(), False
            try:
                self._execute(step)
                done = again = True
            finally:
                self._write(step, before + time.monotonic() - began, done)
        if older:
            print(f'What was done before was done by other code than is here now. Remove {self.path.parent} to do it again.', flush=True)
        return {step.name: self.record[step.name]['seconds'] for step in steps}

    def _write(self, step: Step, seconds: float, done: bool) -> None:
        told = {'command': step.typed(), 'seconds': round(seconds, 1), 'done': done}
        self.record[step.name] = {'key': step.key(), 'code': self.code, **told}
        write_json(self.path, self.record)

    def _execute(self, step: Step) -> None:
        """Run the command with its output passed through. Ctrl-C and SIGTERM reach it, and it is waited for."""
        scripts = str(Path(sys.executable).parent)  # where this environment's commands are, activated or not
        environment = {'PATH': f'{scripts}{os.pathsep}{os.environ.get("PATH", "")}', **step.environment}
        if step.log:
            step.log.parent.mkdir(parents=True, exist_ok=True)
        with step.log.open('wb') if step.log else contextlib.nullcontext() as output:
            code = run_group(step.words(), environment, output)
        if code - 128 in STOPS:
            raise KeyboardInterrupt
        if code:
            raise UserError(f'step {step.name!r} ended with code {code}; its own message is above. The same command goes on from here')


def set_aside(path: Path, out: Path) -> None:
    """Move what was made with other settings to OUT/old: nothing is lost, nothing is mixed."""
    name = '-'.join(path.relative_to(out).parts)
    number = 1
    while (old := out / 'old' / f'{name}.{number}').exists():
        number += 1
    old.parent.mkdir(exist_ok=True)
    path.rename(old)
    print(f'{path} was made with other settings or inputs; moved to {old}', flush=True)


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02}'
