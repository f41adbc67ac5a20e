"""Visual weights: those of any timm ViT, positions resized to the picture's resolution by timm itself."""

from __future__ import annotations

import sys
from typing import Any

import torch
from timm.models import vision_transformer
from torch import Tensor

from pretrain.config import Model
from pretrain.init.weights import Weights
from pretrain.model.visual import pixel_normalisation

UNUSED = ('head.', 'head_dist.', 'fc_norm.', 'attn_pool.')  # what timm's classifiers have behind the states that we take


class VisualStart:
    """Checked weights for `visual_encoder`. Raises UserError naming the setting that does not fit, and what fits."""

    def __init__(self, weights: Weights, config: Model):
        self.weights, self.config = weights, config
        self._check_pixels()
        self.state: dict[str, Tensor] = {}

    def check(self, encoder: Any) -> None:
        """Convert the weights for `encoder` (which may be without memory), and compare every shape."""
        name, shapes = self.config.visual.name, self.weights.shapes
        patch = shapes.get('patch_embed.proj.weight')
        if patch and patch[2:] and patch[2:] != tuple(encoder.patch_embed.proj.weight.shape[2:]):
            asked = tuple(encoder.patch_embed.proj.weight.shape[2:])
            raise self._misfit(f'they have patches of {patch[2]}x{patch[3]} pixels, {name} has {asked[0]}x{asked[1]}')
        try:
            module = sys.modules[type(encoder).__module__]  # each of timm's kinds of ViT knows the layouts it was published in
            convert = getattr(module, 'checkpoint_filter_fn', vision_transformer.checkpoint_filter_fn)
            state = convert({key: self.weights[key] for key in shapes}, encoder)
        except Exception as error:  # timm's conversions meet a stranger's weights with errors of any kind
            raise self._misfit(f'timm cannot convert them for {name} ({" ".join(str(error).split())[:200]})') from None
        wanted = {key: tuple(parameter.shape) for key, parameter in encoder.named_parameters()}
        for key, shape in wanted.items():
            if key not in state:
                raise self._misfit(f'they have no tensor {key}, which {name} needs')
            if tuple(state[key].shape) != shape:
                theirs, ours = ('x'.join(map(str, sizes)) for sizes in (state[key].shape, shape))
                raise self._misfit(f'{key} has {theirs}, {name} with these options needs {ours}')
        spare = [key for key in state if key not in wanted and not key.startswith(UNUSED)]
        if spare:
            raise self._misfit(f'they have a tensor {spare[0]}, for which {name} has no place')
        self.state = {key: state[key] for key in wanted}

    @torch.no_grad()
    def load(self, encoder: Any) -> None:
        for key, parameter in encoder.named_parameters():
            parameter.copy_(self.state[key])

    def _misfit(self, problem: str) -> Exception:
        architecture = self.weights.config.get('architecture')
        fits = f'these weights are for model.visual.name={architecture}' if architecture else 'name the model with model.visual.name'
        return self.weights.error(f'{problem}; {fits}')

    def _check_pixels(self) -> None:
        published = self.weights.config.get('pretrained_cfg') or self.weights.config
        for key, ours in zip(('mean', 'std'), pixel_normalisation(self.config.visual), strict=True):
            theirs = published.get(key)
            if isinstance(theirs, list) and any(abs(one - other) > 1e-4 for one, other in zip(theirs, ours, strict=False)):
                shown = f'[{",".join(f"{value:g}" for value in theirs)}]'
                raise self.weights.error(f'model.visual.{key} is {list(ours)}, they expect {shown}; set model.visual.{key}={shown}')
