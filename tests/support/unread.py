"""A program whose output nobody reads, as behind `| head` that has ended."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.launch import ROOT, environment


def unread(words: list[str], folder: Path = ROOT, both: bool = False) -> tuple[int, str]:
    """(exit code, stderr) of a command whose stdout is a pipe without a reader; `both`: stderr is the same one."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        stderr = theirs if both else subprocess.PIPE
        done = subprocess.run(words, cwd=folder, env=environment(), stdout=theirs, stderr=stderr, text=True, check=False, timeout=120)
    finally:
        os.close(theirs)
    return done.returncode, done.stderr or ''
