"""The visual encoder: a ViT of timm, in the shape and precision that the rest of the model expects."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import Model, Visual
from pretrain.model.transformer import Norm
from shards.errors import UserError


class Patches(nn.Conv2d):
    """The projection of a ViT's patches: a convolution whose stride is its kernel, which is one matrix product.

    On a GPU the convolution. PyTorch's on a CPU takes up to twelve times as long as the product, forward and backward.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Pixels (B, C, H, W), H and W multiples of the patch's sides -> (B, D, rows, columns)."""
        if input.is_cuda:
            return super().forward(input)
        height, width = self.kernel_size
        tiles = input.unflatten(3, (-1, width)).unflatten(2, (-1, height)).permute(0, 2, 4, 1, 3, 5)
        return F.linear(tiles.flatten(3), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def build_visual_encoder(config: Model) -> Any:
    """The timm ViT of the configuration, without its classifier.

    Raises UserError for a name or an option that timm does not have, naming the nearest, and for pictures that patches do not fill.
    """
    visual = config.visual
    try:
        options = {'img_size': visual.image_size, **visual.options}
        encoder: Any = timm.create_model(visual.name, pretrained=False, num_classes=0, **options)
    except (RuntimeError, TypeError, AssertionError) as error:
        asked = f'{visual.name!r} with image_size={visual.image_size}, options={visual.options}'
        raise UserError(f'model.visual: timm cannot build {asked} ({error}); {_nearest(visual)}') from None
    if getattr(encoder, 'cls_token', None) is None:
        raise UserError(f'model.visual.name = {visual.name!r} has no class token, which stands for the picture; choose another ViT')
    for patch in encoder.patch_embed.patch_size:
        if visual.image_size % patch:
            below = visual.image_size // patch * patch
            sizes = ' and '.join(str(size) for size in (below, below + patch) if size)
            raise UserError(
                f'model.visual.image_size={visual.image_size} is no multiple of the patch size {patch} of {visual.name!r}, so the border '
                f'would be cut off; the nearest are {sizes}'
            )
    _replace_norms(encoder)
    _replace_projection(encoder.patch_embed)
    encoder.set_grad_checkpointing(config.recompute)
    encoder.norm_pre.register_forward_hook(_float)  # between the embeddings and the first block: from here on the residual stream is fp32
    return encoder


def _nearest(visual: Visual) -> str:
    """What may have been meant, where timm cannot build it."""
    known = timm.list_models(module='vision_transformer')
    arch = visual.name.partition('.')[0]  # behind the point: which weights
    if arch not in known:
        near = difflib.get_close_matches(arch, known, 3, 0.5) or ['vit_tiny_patch16_224', 'vit_base_patch16_224', 'vit_large_patch16_224']
        return f'model.visual.name must be a VisionTransformer of timm, e.g. {", ".join(near)}'
    options = [*inspect.signature(timm.models.VisionTransformer).parameters]
    wrong = next((name for name in visual.options if name not in options), None)
    if wrong is not None:
        return f'model.visual.options.{wrong} is not known, near are {", ".join(difflib.get_close_matches(wrong, options, 3, 0.3))}'
    return 'correct model.visual.options'


def pixel_normalisation(visual: Visual) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels between 0 and 1 that the ViT expects, as configured, else as timm has it for the name."""
    named = timm.get_pretrained_cfg(visual.name, allow_unregistered=True)
    half = (0.5, 0.5, 0.5)
    return visual.mean or (tuple(named.mean) if named else half), visual.std or (tuple(named.std) if named else half)


def _replace_norms(module: nn.Module) -> None:
    """timm's layer norms by ours, which take an fp32 stream, with the same weights and epsilon."""
    for name, child in module.named_children():
        if isinstance(child, nn.LayerNorm):
            norm = Norm(child.normalized_shape, eps=child.eps)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            _replace_norms(child)


def _replace_projection(embedding: nn.Module) -> None:
    """timm's projection of patches by ours, where it is one of patches: the same weights, and no number drawn for others."""
    proj = embedding.proj
    if type(proj) is nn.Conv2d and proj.kernel_size == proj.stride and proj.padding == (0, 0) and proj.groups == 1:
        proj.__class__ = Patches


def _float(module: nn.Module, inputs: object, states: Tensor) -> Tensor:
    return states.float()
