"""Words that nobody can hear."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import subprocess, sys
from shards.errors import UserError, run_command
from shards.stderr import tell
tell('one\\n')
sys.stdin.readline()
tell('two\\n')
tell('three\\n')
print('by somebody else, on stdout', flush=True)
print('by somebody else', file=sys.stderr, flush=True)
subprocess.run(['sh', '-c', 'echo of a process below >&2'], check=True)
def fail():
    raise UserError('a mistake')
sys.exit(run_command(fail))
"""


@pytest.mark.parametrize('kind', ['terminal', 'pipe'])
def test_nobody_reads_any_more(kind: str) -> None:
    ours, theirs = os.openpty() if kind == 'terminal' else os.pipe()
    words = [sys.executable, '-c', PROGRAM]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    assert os.read(ours, 100).startswith(b'one')
    os.close(ours)
    process.communicate(b'go on\n', timeout=60)
    assert process.returncode == 2


def test_a_full_disk_takes_the_words_and_no_more() -> None:
    """It may have room later, so stderr stays where it is."""
    words = "import os\nfrom shards.stderr import tell\ntell('lost')\ntell('lost')\n"
    program = words + "assert os.readlink('/proc/self/fd/2') == '/dev/full'\nprint('on')"
    with Path('/dev/full').open('w') as full:
        done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, stdout=subprocess.PIPE, stderr=full, check=False, timeout=60)
    assert done.stdout == b'on\n'
