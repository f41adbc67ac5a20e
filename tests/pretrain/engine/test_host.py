from __future__ import annotations

import torch
from torch import nn

from pretrain.engine.host import plain_visual_attention
from pretrain.model.unix2 import UniX2
from tests.support.synthetic import VOCABULARY, tiny_config


def test_plain_attention_gives_the_same_states() -> None:
    model: nn.Module = UniX2(tiny_config('unused').model, VOCABULARY)
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
