"""The step benchmark at toy size: it must compare the same work, and say so."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
import torch

from benchmarks.parts import peer_batches
from benchmarks.parts.peer_batches import Peer, check_batches
from benchmarks.parts.step_arguments import parser
from benchmarks.parts.step_batches import batches_of, make_config, step_data
from pretrain.data.packing import StepData
from pretrain.engine.flops import Flops
from pretrain.model.unix2 import UniX2
from tests.support.distributed import alone, python

ROOT = Path(__file__).parents[2]
TOY = ['--dim', '16', '--layers', '1', '--heads', '2', '--vocab', '97', '--batch', '3', '--caption', '8', '--text', '12', '--image', '16']
TOY += ['--vit-dim', '12', '--vit-layers', '1', '--vit-heads', '2', '--steps', '1', '--runs', '1', '--threads', '1']


def arguments(share_images: bool = False) -> argparse.Namespace:
    flags = parser(None)
    flags.add_argument('--runs')
    return argparse.Namespace(**vars(flags.parse_args(TOY)), share_images=share_images)


@pytest.mark.parametrize('mode', ['all tasks together', 'one task after the other'])
def test_it_runs_both_on_equal_work_and_ends_with_the_ratio(tmp_path: Path, mode: str) -> None:
    """It starts six processes, or seven, which have imported everything here."""
    more = ['--parts'] if mode == 'all tasks together' else ['--apart']
    words, inner = [str(ROOT / 'benchmarks/step.py'), *TOY, *more], python(tmp_path)
    code = f'import runpy, sys; sys.executable, sys.argv = {inner!r}, {words!r}; runpy.run_path(sys.argv[0], run_name="__main__")'
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'equal: tokens ' in done.stdout and 'dropout 0.1' in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert 'distinct pictures a step: 15, shared 3' in done.stdout
    assert result['share_images'] == round(result['shared'] / result['ours'], 3)
    assert result['ratio'] == round(result['ours'] / result['peer'], 3) and result['precision'] == 'fp32'
    assert result['mode'] == mode and f'ours, {mode}: ' in done.stdout
    if mode == 'all tasks together':
        assert 'one task after the other: ' in done.stdout and result['parts']['ranks'] == 1
        assert result['parts']['apart']['shares']['mmmt']['decoder'] > 0 and result['parts']['together']['step_s'] > 0
    else:
        assert 'parts' not in result
    assert result['gflop'] == pytest.approx(needed(), rel=1e-3) and result['executed'] > 1


def test_nothing_to_time_is_a_mistake() -> None:
    done = subprocess.run([*alone(), str(ROOT / 'benchmarks/step.py'), '--runs', '0'], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and '--runs 0 leaves nothing to time' in done.stderr


def needed() -> float:
    """GFLOP that the samples of the timed step need, without idle tokens and padding."""
    a, generator = arguments(), torch.Generator().manual_seed(1)
    model = UniX2(make_config(a, '').model, a.vocab)
    every = [step_data(generator, a) for _ in range(a.steps + 1)]
    return mean(Flops(model).of(batches_of(data)) for data in every[1:]) / 1e9


@pytest.mark.parametrize('share_images', [False, True])
def test_both_compute_on_the_same_batches(share_images: bool) -> None:
    a = arguments(share_images)
    peer = Peer(a)
    assert peer.dropout == {'dropout': 0.1, 'attention_dropout': 0.0, 'activation_dropout': 0.0}
    counts = check_batches(a, peer)
    assert counts['pictures'] == 15 and counts['tokens'] > counts['targets'] > 0


@pytest.mark.parametrize(
    ('task', 'name'),
    [
        ('mlm', 'masked'),
        ('mmmt', 'masked_labels'),
        ('vplm', 'labels'),
        ('mt', 'lengths of decoder_input'),
        ('itm', 'match'),
        ('cmcl', 'pictures'),
    ],
)
def test_a_batch_that_differs_is_named(task: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tokens as the peer has, but another target, mask or length."""

    def other(generator: torch.Generator, a: argparse.Namespace) -> StepData:
        data = step_data(generator, a)
        batch = data[task][0]
        if name == 'lengths of decoder_input':
            assert batch.decoder_input is not None
            batch.decoder_input.lengths = batch.decoder_input.lengths + torch.tensor([1, -1, 0])
        else:
            attribute = 'images' if name == 'pictures' else name
            setattr(batch, attribute, getattr(batch, attribute) + 1)
        return data

    monkeypatch.setattr(peer_batches, 'step_data', other)
    a = arguments()
    with pytest.raises(ValueError, match=f'^{task}: {name} differ$'):
        check_batches(a, Peer(a))
