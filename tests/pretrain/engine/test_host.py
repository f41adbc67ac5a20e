from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from pretrain.engine.host import LONGEST_BUILD, plain_visual_attention, remove_stale_build_locks
from pretrain.model.unix2 import UniX2
from tests.support.synthetic import VOCABULARY, tiny_config


def test_plain_attention_gives_the_same_states() -> None:
    model = UniX2(tiny_config('unused').model, VOCABULARY)
    encoder = model.visual_encoder
    images = torch.randn(3, 3, 16, 16)
    fused = encoder.forward_features(images)
    attentions = [module for module in model.modules() if getattr(module, 'fused_attn', False)]
    assert attentions
    plain_visual_attention(model, torch.device('cuda'))
    assert all(module.fused_attn for module in attentions)
    plain_visual_attention(model, torch.device('cpu'))
    assert not any(module.fused_attn for module in attentions)
    torch.testing.assert_close(encoder.forward_features(images), fused, atol=1e-5, rtol=1e-5)


def test_only_locks_older_than_any_build_are_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    old, new = tmp_path / 'py311_cpu/fused_adam/lock', tmp_path / 'py311_cpu/other/lock'
    for lock in (old, new):
        lock.parent.mkdir(parents=True)
        lock.touch()
    before = time.time() - LONGEST_BUILD - 60
    os.utime(old, (before, before))
    assert remove_stale_build_locks() == [old]
    assert not old.exists() and new.exists()
