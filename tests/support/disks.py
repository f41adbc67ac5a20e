"""A file system that is soon full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(disk: Path, size: str) -> Iterator[Path]:
    """A new folder `disk` with a file system of that size (`128k`, `4m`). Without root the test is skipped; .ci/run has it."""
    if os.geteuid():
        pytest.skip('a test of a full disk mounts one, which takes root')
    disk.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(['umount', str(disk)], check=True)
