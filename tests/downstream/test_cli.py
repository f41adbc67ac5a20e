"""Mistakes on the command line are one line that names the nearest valid word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from downstream.cli import run
from shards.errors import UserError

EVALUATE = ['multi30k-retrieval', 'evaluate']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([*EVALUATE, '--modl', 'x', '--data', 'y'], 'unknown flag --modl; the nearest is --model'),
        ([*EVALUATE, '--model', 'x', '--data', 'y', '--lang=de'], 'unknown flag --lang; the nearest is --languages'),
        ([*EVALUATE, '--model', 'x'], 'required: --data'),
        (['multi30k-retreival', 'evaluate'], "'multi30k-retreival' is none of multi30k-retrieval"),
        (['tatoeba', 'finetune'], "'finetune' is none of evaluate"),
        (['coco', 'evaluate', '--model', 'x', '--data', 'y', '--beams', '0'], "argument --beams: '0' is no whole number from 1 on"),
        (['coco', 'evaluate', '--model', 'EXPORT', '--data', 'nowhere'], r'nowhere/dataset_coco\.json is missing'),
        (['coco-cn', 'evaluate', '--model', 'EXPORT', '--data', 'nowhere'], r'nowhere/coco-cn_test\.txt is missing'),
        (['tatoeba', 'evaluate', '--model', 'EXPORT', '--data', 'nowhere'], 'nowhere is no folder; --data takes the folder of'),
        (['report'], 'required: DIR'),
        (['report', 'x', '--example', '3'], 'unknown flag --example; the nearest is --examples'),
        ([], 'required: TASK'),
        ([*EVALUATE, '--model', 'EXPORT', '--data', 'nowhere'], 'nowhere is no folder'),
        ([*EVALUATE, '--model', 'x', '--data', 'nowhere'], 'x is neither a run'),
    ],
)
def test_mistakes(arguments: list[str], message: str, export: Path) -> None:
    with pytest.raises(UserError, match=message):
        run([str(export) if argument == 'EXPORT' else argument for argument in arguments])


def test_console_command() -> None:
    command = str(Path(sys.executable).parent / 'downstream')
    helped = subprocess.run([command, *EVALUATE, '--help'], capture_output=True, text=True, check=True)
    for flag in ('--model', '--data', '--images', '--split', '--languages', '--out'):
        assert flag in helped.stdout
    wrong = subprocess.run([command, *EVALUATE, '--model', 'x', '--data', 'nowhere'], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.count('\n') == 1
    assert 'Traceback' not in wrong.stderr
