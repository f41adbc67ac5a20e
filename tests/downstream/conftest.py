"""Small untrained models, exported, with a tokenizer of the sample's captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exported import made, made_to_write


@pytest.fixture(scope='session')
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pretrain export` writes it, without what only transformers reads."""
    return made(tmp_path_factory.mktemp('export'))


@pytest.fixture(scope='session')
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a model whose texts depend on all before them, and end early and late."""
    return made_to_write(tmp_path_factory.mktemp('writer'))
