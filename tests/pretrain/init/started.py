"""Models that start from the published checkpoints of the fixture `published`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pretrain.config import Config
from pretrain.init import Start
from pretrain.model.unix2 import UniX2
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import make_config

SIZES = {'dim': 32, 'heads': 4, 'ffn': 64, 'text_layers': 2, 'cross_layers': 2, 'decoder_layers': 2, 'max_positions': 40, 'projection': 16}
VISUAL = {'image_size': 32, 'options': {'embed_dim': 24, 'depth': 2, 'num_heads': 2}}
CODES = {'mbart-cc25': 25, 'mbart-50': 52}  # language codes of a family


def configured(home: Path, family: str, init: dict[str, str] | None = None, **model: Any) -> Config:
    sizes = {**SIZES, 'visual': VISUAL, 'family': family, 'dropout': 0.0, **model}
    return make_config(home, model=sizes, init=init or {}, data={'caption_tokens': 40, 'text_tokens': 40})


def started(home: Path, family: str, folder: Path, **model: Any) -> tuple[UniX2, Tokenizer]:
    """A model with text weights from `folder`, and its tokenizer."""
    config = configured(home, family, {'text': str(folder)}, **model)
    tokenizer = Tokenizer.load(home / 'tokenizer', config.model.family)
    torch.manual_seed(0)
    ours = UniX2(config.model, tokenizer.vocabulary).eval()
    Start(config, tokenizer).load(ours)
    return ours, tokenizer
