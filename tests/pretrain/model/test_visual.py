"""The projection of patches against the convolution that timm has in its place."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from pretrain.config import Model, Visual
from pretrain.model.visual import Patches, build_visual_encoder

CONFIG = Model(visual=Visual(name='vit_base_patch16_224', image_size=32, options={'embed_dim': 24, 'depth': 1, 'num_heads': 2}))


@pytest.mark.parametrize(('precision', 'tolerance'), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(('sides', 'bias'), [((4, 4), True), ((4, 2), False)])
def test_patches_are_the_convolution(precision: torch.dtype, tolerance: float, sides: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = (kind(3, 10, sides, sides, bias=bias).to(precision) for kind in (Patches, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.randn(5, 8, 12, 3, dtype=precision).permute(0, 3, 1, 2)  # not contiguous

    def states_and_gradients(module: nn.Module) -> list[Tensor]:
        states = module(pixels)
        (states * torch.arange(states.numel()).view(states.shape).sin()).sum().backward()
        return [states.detach(), *(parameter.grad for parameter in module.parameters() if parameter.grad is not None)]

    found, expected = states_and_gradients(ours), states_and_gradients(theirs)
    assert len(found) == 2 + bias
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance * float(other.abs().max()), rtol=tolerance)


def test_the_encoder_has_timms_weights_under_timms_names() -> None:
    torch.manual_seed(0)
    ours = build_visual_encoder(CONFIG)
    torch.manual_seed(0)
    options = {'img_size': 32, **CONFIG.visual.options}
    theirs: Any = timm.create_model('vit_base_patch16_224', num_classes=0, **options)
    assert type(ours.patch_embed.proj) is Patches and type(theirs.patch_embed.proj) is nn.Conv2d
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours.patch_embed(pixels), theirs.patch_embed(pixels))
