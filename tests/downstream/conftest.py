"""Small untrained models, exported, with a tokenizer of the sample's captions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from downstream import finetune_command
from tests.support.exported import made, made_to_write
from tests.support.launch import ROOT, prewarmed


@pytest.fixture(scope='session')
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pretrain export` writes it, without what only transformers reads."""
    return made(tmp_path_factory.mktemp('export'))


@pytest.fixture(scope='session')
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a model whose texts depend on all before them, and end early and late."""
    return made_to_write(tmp_path_factory.mktemp('writer'))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """`downstream TASK finetune`, called in this process, starts its ranks in a second, not by DeepSpeed's launcher."""

    def launch(ranks: int, words: list[str]) -> int:
        return subprocess.run([*prewarmed(ranks), str(ROOT / 'downstream/run.py'), *words], check=False).returncode

    monkeypatch.setattr(finetune_command, 'launch', launch)
