"""vPLM, visual prefix language modelling: PLM given the picture; with T_p = 0 it is captioning (paper 3.2.6; component B; CC3M,
CC12M, WIT)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.data.batch import Example
from pretrain.tasks.base import SumTask

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class VPLM(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'vplm'
    corpora = ('pictures',)
    prefixed = True

    def example(self, draw: Draw) -> Example:
        language, caption = draw.caption()
        ids = draw.sequences.caption(caption, draw.config.data.caption_tokens)
        return draw.example(language, **draw.prefixed(ids, language), **draw.picture())
