"""Loaded by our path, timm's weights do what they do in timm: pixels, positions at another resolution, norms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from pretrain.init import Start
from pretrain.model.unix2 import UniX2
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.init.started import VISUAL, configured
from tests.support.published import VIT, save_vit, vit_states

# Pixels of -1 to 1; CLIP's own mean, a norm before the layers and another epsilon; ImageNet's mean, 4 registers, positions without [CLS].
MODELS = {'vit_base_patch16_224': 16, 'vit_base_patch16_clip_224.openai': 16, 'vit_small_patch14_reg4_dinov2.lvd142m': 14}


def started(home: Path, folder: Path, **visual: Any) -> UniX2:
    config = configured(home, 'mbart-cc25', {'visual': str(folder)}, visual={**VISUAL, **visual})
    tokenizer = Tokenizer.load(home / 'tokenizer')
    torch.manual_seed(0)
    model = UniX2(config.model, tokenizer.vocabulary).eval()
    Start(config, tokenizer).load(model)
    return model


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_states_are_timms(home: Path, tmp_path: Path, name: str) -> None:
    size = 2 * MODELS[name]
    theirs = save_vit(tmp_path, name, size)
    model = started(home, tmp_path, name=name, image_size=size, options=VIT)
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    torch.testing.assert_close(model.encode_images(images), vit_states(theirs, name, images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_another_resolution(home: Path, tmp_path: Path, name: str) -> None:
    """Positions are resized as timm's own loader does it, which is `resample_abs_pos_embed`."""
    size, larger = 2 * MODELS[name], 3 * MODELS[name]
    small = save_vit(tmp_path, name, size)
    model = started(home, tmp_path, name=name, image_size=larger, options=VIT)
    prefix = small.pos_embed.shape[1] - 4  # 2 x 2 patches
    resized = resample_abs_pos_embed(small.pos_embed, [3, 3], num_prefix_tokens=prefix)
    torch.testing.assert_close(model.visual_encoder.pos_embed, resized, atol=0, rtol=0)

    file = {'file': str(tmp_path / 'model.safetensors'), 'num_classes': 5, 'classifier': 'head'}
    theirs = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=file, img_size=larger, num_classes=0, **VIT).eval()
    images = torch.randint(0, 256, (2, 3, larger, larger), dtype=torch.uint8)
    torch.testing.assert_close(model.encode_images(images), vit_states(theirs, name, images), atol=1e-5, rtol=1e-5)


def test_misfits_are_named(home: Path, tmp_path: Path) -> None:
    save_vit(tmp_path, 'vit_base_patch16_224', 32)

    def refusal(**visual: Any) -> str:
        with pytest.raises(UserError) as caught:
            started(home, tmp_path, **visual)
        assert str(caught.value).startswith(f'init.visual = {tmp_path}: ') and '\n' not in str(caught.value)
        return str(caught.value)

    assert 'patches of 16x16 pixels, vit_base_patch16_224 has 8x8; these weights are for' in refusal(options={**VIT, 'patch_size': 8})
    assert 'needs 1x1x32; these weights are for model.visual.name=vit_base_patch16_224' in refusal(options={**VIT, 'embed_dim': 32})
    assert 'blocks.2.norm1.weight, which' in refusal(options={**VIT, 'depth': 3})
    assert 'they have a tensor blocks.1.' in refusal(options={**VIT, 'depth': 1})
    assert 'model.visual.mean is [0.1, 0.5, 0.5], they expect [0.5,0.5,0.5]; set model.visual.mean=[0.5,0.5,0.5]' in refusal(
        mean=[0.1, 0.5, 0.5]
    )
    assert 'model.visual.std is' in refusal(std=[0.2, 0.2, 0.2])
    description = json.loads((tmp_path / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps({**description, 'pretrained_cfg': {}}))
    started(home, tmp_path)
