"""Initial weights of a run: opened and checked before anything starts, loaded once the model is there."""

from __future__ import annotations

import torch

from pretrain.config import Config
from pretrain.init.text import TextStart
from pretrain.init.visual import VisualStart
from pretrain.init.weights import open_weights
from pretrain.model.unix2 import UniX2
from shards.tokenizer import Tokenizer


class Start:
    """What `init.text` and `init.visual` name. Raises UserError when one cannot be had, or does not fit the model or the tokenizer."""

    def __init__(self, config: Config, tokenizer: Tokenizer):
        self.text: TextStart | None = None
        self.visual: VisualStart | None = None
        if config.init.text is not None:
            self.text = TextStart(open_weights('init.text', config.init.text), config.model, tokenizer)
        if config.init.visual is not None:
            self.visual = VisualStart(open_weights('init.visual', config.init.visual), config.model)
        if self.text or self.visual:
            with torch.device('meta'):  # shapes only
                model = UniX2(config.model, tokenizer.vocabulary)
            if self.text:
                self.text.check(model)
            if self.visual:
                self.visual.check(model.visual_encoder)

    def load(self, model: UniX2) -> None:
        """Copy what is there into a model on the CPU; everything else keeps its random values."""
        if self.text:
            self.text.load(model)
        if self.visual:
            self.visual.load(model.visual_encoder)
