"""Every preset of configs/ trains: pretrain/run.py itself, on a tiny model and small shards, with whatever else the preset says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from pretrain.config import load_config
from pretrain.engine.checkpoint import newest_valid, read_range, read_state, read_weights
from pretrain.model.unix2 import UniX2
from pretrain.records import EVALUATION, METRICS, read_lines
from shards.tokenizer import Tokenizer
from tests.support.launch import ROOT, prewarmed, succeed, tiny

PRESETS = sorted(path.relative_to(ROOT) for folder in ('baselines', 'ablations') for path in (ROOT / 'configs' / folder).glob('*.yaml'))
PRESETS += [Path('configs/comparable.yaml')]
# Published weights are not at hand, and loader processes take seconds to start; both are tested by themselves.
SETTINGS = ['init={text: null, visual: null}', 'data.workers=0', 'steps=1', 'eval.samples=2']

# What a task's loss runs through (paper section 3.1).
TEXT, PICTURE = {'embed_tokens', 'text_positions', 'text_encoder'}, {'visual_encoder'}
SEEN = PICTURE | {'visual_bridge', 'visual_norm'}
FUSED = TEXT | {'mm_cls', 'modality', 'cross_encoder'}
DECODED = {'decoder', 'decoder_positions'}
MASKED = {'mlm_dense', 'mlm_norm', 'mlm_bias'}
CONTRASTED = TEXT | {'text_projection', 'logit_scale'}
REACHED = {
    'cmcl': CONTRASTED | PICTURE | {'visual_projection'}, 'clcl': CONTRASTED,
    'itm': FUSED | SEEN | {'itm_head'}, 'mlm': FUSED | SEEN | MASKED, 'vtlm': FUSED | SEEN | MASKED,
    'plm': FUSED | DECODED, 'mt': FUSED | DECODED, 'vplm': FUSED | SEEN | DECODED, 'mmmt': FUSED | SEEN | MASKED | DECODED,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.launcher
@pytest.mark.parametrize('preset', PRESETS, ids=str)
def test_preset_trains(preset: Path, home: Path, tmp_path: Path) -> None:
    """One update: a finite loss of every task, the merged one their mean, a gradient in all that they run through, and in no more."""
    out = tmp_path / 'run'
    settings = [*tiny(home, out), *SETTINGS]
    succeed([*prewarmed(1), str(ROOT / 'pretrain/run.py'), '--config', str(ROOT / preset), *settings], tmp_path)
    config = load_config(ROOT / preset, settings)
    (line,) = read_lines(out / METRICS)
    assert list(line['loss']) == [*config.tasks, 'total'] and line['skipped'] is False
    losses = [line['loss'][task] for task in config.tasks]
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert line['loss']['total'] == pytest.approx(sum(losses) / len(losses))
    assert [list(evaluated['heldout']) for evaluated in read_lines(out / EVALUATION)] == [config.eval_tasks] * 2
    path, _ = newest_valid(out / 'checkpoints')
    assert path is not None
    torch.manual_seed(config.seed)
    before = dict(UniX2(config.model, Tokenizer.load(home / 'tokenizer', config.model.family).vocabulary).named_parameters())
    gradients, after = first_moments(path), read_weights(path)
    reached = {name.partition('.')[0] for name, gradient in gradients.items() if gradient.any()}
    assert reached == set.union(*(REACHED[task] for task in config.tasks))
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert {name.partition('.')[0] for name in before if not torch.equal(before[name], after[name])} >= reached


def first_moments(path: Path) -> dict[str, torch.Tensor]:
    """AdamW's, of every parameter: after one update the gradient times a number."""
    out: dict[str, torch.Tensor] = {}
    state = read_state(path)
    for number, group in enumerate(state['groups']):
        sizes = [torch.Size(shape).numel() for shape in group['shapes']]
        flat = read_range(path, state, f'group{number}.exp_avg', 0, sum(sizes))
        out |= dict(zip(group['names'], flat.split(sizes), strict=True))
    return out
