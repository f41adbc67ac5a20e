"""What the page of results says; the runs behind it take hours."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import results
from tests.support.launch import ROOT


def test_learned_is_two_standard_errors_above_the_floor() -> None:
    # mean 0.5; the sample's deviation is 0.1, the mean's error 0.1 / sqrt(3) = 0.0577
    row = results.Row(0.38, 'ridge', [0.4, 0.5, 0.6])
    assert row.error == pytest.approx(0.1 / 3**0.5) and row.learned
    assert not results.Row(0.39, 'ridge', [0.4, 0.5, 0.6]).learned
    assert not results.Row(0.0, 'ridge', [0.9]).learned, 'one seed says nothing'


def test_the_page() -> None:
    rows = {
        ('xvnli, fine-tuned on en', 'accuracy', 'en'): results.Row(0.35, 'text only', [0.61, 0.62, 0.63]),
        ('xvnli, fine-tuned on en', 'accuracy', 'ru'): results.Row(0.35, 'text only', [0.30, 0.36, 0.42]),
    }
    text = results.markdown(rows, {0: 3599.0, 1: 61.0}, argparse.Namespace(steps=10))
    assert '10 steps' in text and 'seed 0 59:59, seed 1 1:01' in text and '## xvnli, fine-tuned on en: accuracy' in text
    english, russian = (next(line for line in text.splitlines() if line.strip().startswith(code)) for code in ('en', 'ru'))
    line = results.counted(rows)
    assert (line['ratio'], line['ours'], line['peer']) == (0.5, 1, 2)
    assert english.split() == ['en', '62.0', '0.6', '35.0', 'learned'] and russian.split()[-2:] == ['at', 'floor']


def test_every_benchmark_is_evaluated_and_tuned() -> None:
    options = argparse.Namespace(out=Path('runs/x'), evaluation=Path('e'), steps=10, set=[], ranks=3, tune=['finetune.epochs=1'])
    whole = results.steps(3, options)
    commands = [step.command for step in whole]
    assert '--master_port' in whole[0].words(), 'the port of the launcher may be taken'
    assert commands[0][0] == 'deepspeed' and 'seed=3' in commands[0] and (ROOT / commands[0][commands[0].index('--config') + 1]).is_file()
    assert all(command[-1] == 'finetune.epochs=1' and '3' in command for command in commands[1:] if command[2] == 'finetune')
    pictures = {command[1]: command[command.index('--images') + 1] for command in commands if '--images' in command}
    assert pictures == {'coco-cn': 'e/coco', 'xvnli': 'e/multi30k/images', 'xgqa': 'e/multi30k/images'}, 'they come without pictures'
    evaluated = {command[1] for command in commands[1:] if command[2] == 'evaluate'}
    tuned = {command[1] for command in commands[1:] if command[2] == 'finetune'}
    assert evaluated == {'multi30k-retrieval', 'tatoeba', 'multi30k-translation', 'coco', 'coco-cn'}
    assert tuned == {'multi30k-retrieval', 'multi30k-translation', 'xvnli', 'xgqa', 'coco', 'coco-cn'}
