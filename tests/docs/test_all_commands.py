"""docs/commands.md has a line for every command: of the console commands by their own parsers, of make, Slurm and Python by files."""

from __future__ import annotations

import argparse
import importlib
import re
import tomllib
from collections.abc import Iterator
from typing import NoReturn

import pytest

from shards.arguments import Parser
from tests.docs.commands import ROOT

PAGE = (ROOT / 'docs/commands.md').read_text(encoding='utf8')
LISTED = re.findall(r'(?m)^\| `([^`]+)` \|', PAGE)
NO_PROGRAMS = ('peers', 'parts')  # of benchmarks/: others' files, and what its programs import or start


def leaves(parser: argparse.ArgumentParser, words: str) -> Iterator[str]:
    """The commands without further sub-commands."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield words
    for action in below:
        for name, sub in action.choices.items():
            yield from leaves(sub, f'{words} {name}')


def console_commands() -> dict[str, str]:
    """Name -> `module:function`, as they are installed."""
    scripts: dict[str, str] = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf8'))['project']['scripts']
    return scripts


class Built(BaseException):
    """A program's parser, before it parses anything."""


@pytest.mark.parametrize('name', console_commands())
def test_every_subcommand_is_listed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[argparse.ArgumentParser] = []

    def parse_args(self: argparse.ArgumentParser, *_: object) -> NoReturn:
        built.append(self)
        raise Built

    monkeypatch.setattr(Parser, 'parse_args', parse_args)
    module, _, function = console_commands()[name].partition(':')
    with pytest.raises(Built):
        getattr(importlib.import_module(module), function)()
    found = list(leaves(built[0], name))
    assert len(found) >= 4
    for command in found:
        assert [line for line in LISTED if line == command or line.startswith(f'{command} ')], f'`{command}` is not in docs/commands.md'


def test_every_target_of_make_is_listed() -> None:
    targets = re.findall(r'(?m)^([a-z][a-z-]*):', (ROOT / 'Makefile').read_text(encoding='utf8'))
    assert len(targets) > 8 and {f'make {target}' for target in targets} == {line for line in LISTED if line.startswith('make ')}


def test_every_job_is_listed() -> None:
    jobs = {f'slurm/{path.name}' for path in (ROOT / 'slurm').glob('*.sh') if '#SBATCH' in path.read_text(encoding='utf8')}
    assert len(jobs) == 4 and jobs == {line.split()[1] for line in LISTED if line.startswith('sbatch ')}


def test_every_program_in_python_is_listed() -> None:
    """Files that are started by their name or as a module."""
    paths = [
        path for room in ('shards', 'data_pipeline', 'pretrain', 'downstream', 'benchmarks') for path in sorted((ROOT / room).rglob('*.py'))
    ]
    mains = [path for path in paths if "__name__ == '__main__'" in path.read_text(encoding='utf8') or path.name == '__main__.py']
    programs = {path.relative_to(ROOT).as_posix() for path in mains if path.parent.name not in NO_PROGRAMS}
    assert len(programs) > 15
    for program in programs:
        module = program.removesuffix('.py').removesuffix('/__main__').replace('/', '.')
        assert program in PAGE or f'python -m {module}' in PAGE, f'{program} is not in docs/commands.md'


def test_every_listed_command_has_its_exit_codes() -> None:
    """A column of them in every table but make's, for which a sentence says it, and only codes that operations.md explains."""
    tables = re.findall(r'(?m)^\| command \|.*\|$', PAGE)
    assert [table.endswith('| exit codes |') for table in tables] == [True, True, True, True, False, True]
    explained = set(re.findall(r'\b(\d+)\b', (ROOT / 'docs/operations.md').read_text(encoding='utf8').partition('## Faults')[0]))
    named = {
        code for row in PAGE.splitlines() if row.startswith('| `') for code in re.findall(r'\b(\d+)(?::|, \d+:)', row.split(' | ')[-1])
    }
    assert named and named <= explained
