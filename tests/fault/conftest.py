"""What kills, and what it kills."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pretrain.conftest import config, home, pictures, tokenizer  # noqa: F401  (fixtures)


@pytest.fixture(scope='session')
def crash_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """crash.cpp, compiled once for all workers of pytest: `prewarmed` has a server for each library."""
    own = tmp_path_factory.getbasetemp()
    library = (own.parent if 'PYTEST_XDIST_WORKER' in os.environ else own) / 'crash.so'
    compiler = shutil.which('g++')
    assert compiler, 'g++ is needed, by DeepSpeed too'
    source = Path(__file__).with_name('crash.cpp')
    with library.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            subprocess.run([compiler, '-shared', '-fPIC', '-O1', '-o', f'{library}.new', str(source), '-ldl'], check=True)
            Path(f'{library}.new').rename(library)
    return library
