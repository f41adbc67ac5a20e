"""MT, machine translation (paper 3.2.7; component B; OPUS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.data.batch import Example
from pretrain.tasks.base import SumTask

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class MT(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'mt'
    corpora = ('opus',)

    def example(self, draw: Draw) -> Example:
        (target_language, target), (language, source) = draw.sides()
        text = draw.sequences.encoder_input(source, language)
        return draw.example(target_language, text, second=(language, len(text)), **draw.written(target, target_language))
