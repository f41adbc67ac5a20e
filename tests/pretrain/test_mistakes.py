from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.launch import ROOT, prewarmed, run

SCRIPT = """
import os, sys, time
sys.path.insert(0, {root!r})
from pretrain import mistakes
from shards.errors import UserError, run_command
rank = int(os.environ['LOCAL_RANK'])
mistakes.OTHERS = {others}
def main():
    if rank in {met}:
        time.sleep({seconds}[rank])
        raise UserError('data.shards is missing')
    time.sleep(60)
sys.exit(run_command(lambda: mistakes.said_once(main)))
"""


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize(
    ('met', 'seconds', 'others'),
    [((0, 1), (3, 0), 30), ((1,), (0, 0), 1)],
    ids=['the second process meets it sooner', 'the second process alone meets it'],
)
def test_a_mistake_is_said_once(met: tuple[int, ...], seconds: tuple[int, ...], others: int, tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT.format(root=str(ROOT), met=met, seconds=seconds, others=others))
    done = run([*prewarmed(2), str(script)], tmp_path)
    printed = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 2 and [line for line in printed if line.startswith('error:')] == ['error: data.shards is missing'], printed
    assert not any('Traceback' in line for line in printed)
