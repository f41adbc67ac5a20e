"""What kills, and what it kills."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pretrain.conftest import config, home, pictures, tokenizer  # noqa: F401  (fixtures)


@pytest.fixture(scope='session')
def crash_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """crash.cpp, compiled."""
    library = tmp_path_factory.mktemp('crash') / 'crash.so'
    compiler = shutil.which('g++')
    assert compiler, 'g++ is needed, by DeepSpeed too'
    source = Path(__file__).with_name('crash.cpp')
    subprocess.run([compiler, '-shared', '-fPIC', '-O1', '-o', str(library), str(source), '-ldl'], check=True)
    return library
