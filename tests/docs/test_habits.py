"""The checks of a commit, .pre-commit-config.yaml, run as pre-commit runs them; issue forms are forms; the workflow calls `.ci/run`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def hooks() -> dict[str, dict[str, Any]]:
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text(encoding='utf8'))
    return {hook['id']: hook for repository in config['repos'] for hook in repository['hooks']}


def run(hook: str, *files: Path) -> int:
    """The exit code of a hook for some files, started from the repository's root."""
    return subprocess.run([*shlex.split(hooks()[hook]['entry']), *map(str, files)], cwd=ROOT, capture_output=True, check=False).returncode


def test_hooks_take_the_versions_of_the_lock() -> None:
    assert list(hooks()) == ['ruff', 'ruff-format', 'mypy', 'configuration-page', 'large-files']
    assert all(hook['language'] == 'system' for hook in hooks().values())


def test_the_workflow_leaves_all_checks_to_one_script() -> None:
    jobs = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text(encoding='utf8'))['jobs']
    last = [job['steps'][-1]['run'] for job in jobs.values()]
    assert len(last) == 1 and last[0].endswith('&& .ci/run') and os.access(ROOT / '.ci/run', os.X_OK)


def test_ruff(tmp_path: Path) -> None:
    good, bad = tmp_path / 'good.py', tmp_path / 'bad.py'
    good.write_text("print('x')\n")
    bad.write_text('import os\n')
    assert run('ruff', good) == 0 and run('ruff', good, bad) != 0


def test_ruff_format(tmp_path: Path) -> None:
    good, bad = tmp_path / 'good.py', tmp_path / 'bad.py'
    good.write_text("print('x')\n")
    bad.write_text('print("x")\n')
    assert run('ruff-format', good) == 0 and run('ruff-format', good, bad) != 0


def test_configuration_page() -> None:
    assert run('configuration-page') == 0


def test_large_files(tmp_path: Path) -> None:
    small, large = tmp_path / 'small', tmp_path / 'large'
    small.write_bytes(bytes(512 << 10))
    large.write_bytes(bytes((512 << 10) + 1))
    assert run('large-files', small) == 0 and run('large-files', small, large) != 0


def test_no_file_of_the_repository_is_too_large() -> None:
    listed = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    kept = [ROOT / name for name in listed if not re.search(hooks()['large-files']['exclude'], name)]
    assert len(kept) > 400 and run('large-files', *kept) == 0


@pytest.mark.parametrize('name', ['bug', 'feature'])
def test_issue_forms(name: str) -> None:
    form = yaml.safe_load((ROOT / f'.github/ISSUE_TEMPLATE/{name}.yml').read_text(encoding='utf8'))
    assert form['name'] and form['description']
    identifiers = [part['id'] for part in form['body']]
    assert len(set(identifiers)) == len(identifiers) > 1 and all(part['attributes']['label'] for part in form['body'])
