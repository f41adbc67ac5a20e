"""What computes an operation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretrain.config.section import Section


class Kernels(Section):
    """`auto` takes the fastest that can run here, which is plain PyTorch (`torch`) where there is no GPU; `pretrain doctor` lists them."""

    norm: Literal['auto', 'apex', 'torch'] = Field('auto', description='layer norm; apex is NVIDIA apex')
    attention: Literal['auto', 'flash', 'varlen', 'flex', 'cpu', 'torch'] = Field(
        'auto', description='of text encoder, cross encoder and decoder; all but cpu and torch take rows without padding, on a GPU'
    )
    dropout: Literal['auto', 'sfc64', 'torch'] = Field('auto', description='sfc64 draws the masks on a CPU, faster than torch does there')
    token_loss: Literal['auto', 'triton', 'liger', 'torch'] = Field('auto', description='cross-entropy of the tied output layer')
    optimizer: Literal['auto', 'apex', 'torch', 'deepspeed'] = Field('auto', description='AdamW; deepspeed compiles for a minute first')
    gradient_norm: Literal['auto', 'apex', 'torch'] = Field('auto', description='norm of the merged gradient, for clipping')
