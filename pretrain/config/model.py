"""Settings of the model: sizes, dropout, the contrastive space."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pretrain.config.section import Section
from shards.tokenizer import Family

Deviation = Annotated[float, Field(gt=0)]


class Visual(Section):
    name: str = Field(
        'vit_base_patch16_224', description='any timm VisionTransformer with a class token, by name; `init.visual` has weights for it'
    )
    image_size: int = Field(224, gt=0, description='pixels a side, a multiple of the patch size')
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments for timm's constructor that change the named model, e.g. depth, embed_dim, patch_size"
    )
    mean: tuple[float, float, float] | None = Field(
        None, description='pixels (0 to 1) are normalised with it, red, green, blue; none: as timm does for the named model'
    )
    std: tuple[Deviation, Deviation, Deviation] | None = Field(None, description='the same for the standard deviation')

    @field_validator('options')
    @classmethod
    def _truth_is_true_or_false(cls, options: dict[str, Any]) -> dict[str, Any]:
        """timm would take the word `no` for true: what kind its arguments are of is not known here, so no word is read as a truth value."""
        for name, value in options.items():
            if isinstance(value, str) and value.lower() in ('yes', 'no', 'on', 'off'):
                raise ValueError(f'{name}={value}: write true or false')
        return options


class Model(Section):
    """Sizes of the four parts."""

    visual: Visual = Visual()
    family: Family = Field(
        'mbart-cc25',
        description="whose conventions the texts follow: sequences, ids of codes and <mask>; xlm-r also has XLM-R's norms and "
        'embeddings in text and cross encoder',
    )
    dim: int = Field(1024, gt=0, description='width of text encoder, cross encoder and decoder')
    heads: int = Field(16, gt=0, description='attention heads of those three; divides dim')
    ffn: int = Field(4096, gt=0, description='width of their feed-forward layers')
    text_layers: int = Field(12, ge=1, description='layers of the text encoder')
    cross_layers: int = Field(12, ge=1, description='layers of the cross encoder')
    decoder_layers: int = Field(12, ge=1, description='layers of the decoder')
    max_positions: int = Field(1024, gt=0, description='learned positions of text encoder and decoder, as mBART: the longest sequence')
    dropout: float = Field(0.1, ge=0, lt=1, description='in text encoder, cross encoder and decoder, as mBART; the ViT has none')
    recompute: bool = Field(False, description='activation checkpointing: keep the input of a layer and run it again in the backward')
    projection: int = Field(256, gt=0, description='size of the contrastive space (bias-free linear from both towers)')
    text_pooling: Literal['cls', 'eos', 'mean'] = Field(
        'cls', description='state that stands for a text in the contrastive space: at position 0, at </s>, or the mean of all'
    )
    contrastive: Literal['softmax', 'sigmoid'] = Field(
        'softmax', description="contrastive loss: InfoNCE, or SigLIP's sum over pairs, which learns a bias too (its paper: logit_scale 10)"
    )
    logit_bias: float = Field(-10.0, description='initial bias of the sigmoid contrast')
    logit_scale: float = Field(1 / 0.07, gt=0, description='initial inverse temperature of the contrastive softmax')
    labels: int | None = Field(None, gt=0, description='classes of a head on [MM_CLS], which fine-tuning adds; none: no such head')
    logit_scale_max: float = Field(100.0, gt=0, description='the learnt inverse temperature is clamped here')
    token_std: float = Field(0.02, gt=0, description='standard deviation of all initial weights but those of the ViT, norms and biases')

    @model_validator(mode='after')
    def _heads_divide(self) -> Model:
        if self.dim % self.heads:
            divisors = [number for number in range(1, self.dim + 1) if self.dim % number == 0]
            nearest = sorted(sorted(divisors, key=lambda number: abs(number - self.heads))[:3])
            raise ValueError(f'heads={self.heads} must divide dim={self.dim}; the nearest that do are {", ".join(map(str, nearest))}')
        return self
