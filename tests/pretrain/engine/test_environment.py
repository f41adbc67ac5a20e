from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pretrain.engine import environment


def test_the_commit_and_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, 'ROOT', tmp_path)
    environment.commit.cache_clear()
    assert environment.commit() is None, 'no clone'

    def git(*words: str) -> str:
        name = ['-c', 'user.name=t', '-c', 'user.email=t@example.org']
        return subprocess.run(['git', *name, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git('init', '-q')
    (tmp_path / 'file').write_text('one')
    git('add', 'file')
    git('commit', '-qm', 'x')
    git('tag', 'v1')
    environment.commit.cache_clear()
    assert environment.commit() == git('rev-parse', 'HEAD')
    (tmp_path / 'file').write_text('two')
    environment.commit.cache_clear()
    assert environment.commit() == git('rev-parse', 'HEAD') + '-dirty'
    environment.commit.cache_clear()


def test_what_is_there_for_whoever_asks_later(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {'NCCL_DEBUG': 'INFO', 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '3', 'TORCH_NCCL_TRACE_BUFFER_SIZE': '7'}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('NOT_NCCL_KEY', 'secret')
    found = environment.environment()
    assert found['command'] == sys.argv and found['ernie-unix2'] and found['torch'] and found['python']
    assert found.items() >= variables.items() and 'NOT_NCCL_KEY' not in found
    for package in ('torchvision', 'pydantic', 'sentencepiece', 'safetensors'):
        assert found[package] == version(package)
