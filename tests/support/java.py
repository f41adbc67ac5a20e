"""Tests that need Java, which METEOR and pycocoevalcap's tokenizer do, and a program in its place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Where REQUIRE_JAVA is set (.ci/run) they run and fail without it.
java = pytest.mark.skipif(
    shutil.which('java') is None and os.environ.get('REQUIRE_JAVA') != '1',
    reason='no Java here (Debian: apt-get install default-jre-headless)',
)


def replaced_java(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a shell program in the place of `java`: what it does is done by a real process."""
    (folder / 'java').write_text(f'#!/bin/sh\n{program}\n')
    (folder / 'java').chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')
