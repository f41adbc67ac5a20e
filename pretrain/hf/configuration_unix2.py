"""transformers' configuration of an exported model: what config.json holds."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from pretrain.config import Model


class UniX2Config(PretrainedConfig):
    """`run`: every setting of the run that trained the model (pretrain/config); `vocabulary`: token ids, language codes included."""

    model_type = 'unix2'

    def __init__(self, run: dict[str, Any] | None = None, vocabulary: int = 0, **others: Any) -> None:
        super().__init__(**{'tie_word_embeddings': False, **others})  # the output is the token table itself: nothing is left to tie
        self.run, self.vocabulary = run or {}, vocabulary

    @property
    def sizes(self) -> Model:
        """The model's own settings."""
        return Model.model_validate(self.run.get('model', {}))
