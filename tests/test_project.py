"""Rules of the project that no single module can check: dependencies and their lock, which room imports which, sizes, no pickle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import distribution, packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ROOMS = ('shards', 'data_pipeline', 'pretrain', 'downstream', 'benchmarks', 'tests')
# What a room may import, besides itself. benchmarks and tests may import all.
ALLOWED = {'shards': set(), 'data_pipeline': {'shards'}, 'pretrain': {'shards'}, 'downstream': {'shards', 'pretrain'}}
LOCKED = re.compile(r'^([A-Za-z0-9._-]+)==([^ ;\\]+)', re.MULTILINE)


def project() -> dict[str, object]:
    with (ROOT / 'pyproject.toml').open('rb') as file:
        return tomllib.load(file)['project']


def requirements() -> list[Requirement]:
    described = project()
    extras = described['optional-dependencies']
    assert isinstance(described['dependencies'], list)
    assert isinstance(extras, dict)
    return [Requirement(line) for line in [*described['dependencies'], *chain(*extras.values())]]


def locked() -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in LOCKED.findall((ROOT / 'requirements.lock').read_text())}


@cache
def sources(room: str) -> tuple[Path, ...]:
    return tuple(sorted((ROOT / room).rglob('*.py')))


def imports(path: Path) -> set[str]:
    """Top-level modules that a file imports, at its head or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split('.')[0])
    return found


def test_lock_satisfies_the_project() -> None:
    versions = locked()
    for requirement in requirements():
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_lock_has_hashes_and_no_place() -> None:
    entries = re.split(r'\n(?=[a-z0-9])', (ROOT / 'requirements.lock').read_text())[1:]
    assert len(entries) == len(LOCKED.findall((ROOT / 'requirements.lock').read_text())) > 100  # of some one version a Python
    for entry in entries:
        assert re.fullmatch(r'\S+==[^\n]+(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+\n?', entry), entry[:200]


def test_every_dependency_is_explained() -> None:
    table = (ROOT / 'docs' / 'install.md').read_text()
    explained = {name for row in re.findall(r'^\| (.+?) \|', table, re.MULTILINE) for name in re.split(r'[ ,]+', row)}
    assert {requirement.name for requirement in requirements()} <= explained


def test_every_import_is_a_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    declared.add(canonicalize_name('packaging'))  # pytest's own
    owners = packages_distributions()
    for room in ROOMS:
        for path in sources(room):
            for module in imports(path) - set(sys.stdlib_module_names) - set(ROOMS):
                names = {canonicalize_name(name) for name in owners.get(module, [module])}  # CPU_ONLY leaves triton out
                assert names & declared, f'{path.relative_to(ROOT)} imports {module}, which pyproject.toml does not name'


@pytest.mark.parametrize('room', ALLOWED)
def test_imports_run_one_way(room: str) -> None:
    for path in sources(room):
        strangers = imports(path) & set(ROOMS) - ALLOWED[room] - {room}
        assert not strangers, f'{path.relative_to(ROOT)} imports {strangers}'
        assert room not in ('data_pipeline', 'shards') or not imports(path) & {'torch', 'deepspeed'}, path
        if 'deepspeed' in imports(path):
            assert path.is_relative_to(ROOT / 'pretrain' / 'engine'), path


def test_every_command_line_names_the_nearest_flag() -> None:
    """By the project's own parser; peers are as they were published."""
    for room in ROOMS[:-1]:
        for path in sources(room):
            own = path == ROOT / 'shards/arguments.py' or 'peers' in path.parts
            assert own or 'ArgumentParser(' not in path.read_text(encoding='utf8'), path


def test_nothing_is_pickled() -> None:
    for room in ROOMS[:-1]:
        for path in sources(room):
            assert not imports(path) & {'pickle', 'cloudpickle', 'dill', 'joblib', 'shelve', 'marshal'}, path
            text = path.read_text(encoding='utf8')
            assert not re.search(r'allow_pickle=True|weights_only=False|allow_unsafe_types=True', text), path


def test_files_are_short() -> None:
    for room in ROOMS:
        for path in sources(room):
            assert len(path.read_text(encoding='utf8').splitlines()) <= 500, path


def test_run_py_shadows_no_module() -> None:
    """`python pretrain/run.py` puts pretrain/ first on the path."""
    names = {path.stem for path in (ROOT / 'pretrain').iterdir()}
    assert not names & set(sys.stdlib_module_names)


def test_console_commands() -> None:
    for command in distribution('ernie-unix2').entry_points:
        assert callable(command.load()), command


def test_make_explains_itself() -> None:
    printed = subprocess.run(['make', '--no-print-directory'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ('demo', 'test', 'test-fast', 'lint', 'setup', 'clean'):
        assert f'make {target} ' in printed


def test_make_names_an_unfit_python(tmp_path: Path) -> None:
    old = tmp_path / 'python'
    old.write_text('#!/bin/sh\nexit 1\n')
    old.chmod(0o755)
    made = subprocess.run(
        ['make', 'setup', f'PYTHON={old}', f'VENV={tmp_path / "venv"}'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode != 0
    assert f'error: {old} is not Python 3.11' in made.stderr
    assert not (tmp_path / 'venv').exists()


def test_make_says_when_the_environment_has_another_python(tmp_path: Path) -> None:
    other = tmp_path / 'python'
    other.write_text('#!/bin/sh\necho Python 3.12.99\n')
    other.chmod(0o755)
    made = subprocess.run(['make', 'setup', f'PYTHON={other}'], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 2 and '.venv has Python 3.' in made.stderr and 'not Python 3.12.99; remove it' in made.stderr


def test_licence() -> None:
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()
    assert project()['license'] == 'Apache-2.0'
    assert 'Noto Emoji' in (ROOT / 'sample' / 'NOTICE').read_text()
