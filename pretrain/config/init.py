"""Settings of the initial weights."""

from __future__ import annotations

from pydantic import Field

from pretrain.config.section import Folder, Section

_PLACES = "a folder with config.json and model.safetensors or pytorch_model.bin, or such a repository on Hugging Face's hub"


class Init(Section):
    """Where weights start from; a run that continues from a checkpoint of its own reads neither."""

    text: Folder | None = Field(
        None,
        description='mBART (model.family mbart-cc25, mbart-50) for text encoder, cross encoder, decoder and embedding, or XLM-R (xlm-r) '
        f'for the two encoders and the embedding: {_PLACES}; none: random',
    )
    visual: Folder | None = Field(None, description=f'weights of the timm model model.visual.name: {_PLACES}; none: random')
