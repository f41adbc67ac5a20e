"""PLM, prefix language modelling: the encoder reads the first T_p tokens, the decoder writes the rest (paper 3.2.5; component B; CC100)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.data.batch import Example
from pretrain.tasks.base import SumTask

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class PLM(SumTask):
    """Cross-entropy on every token that the decoder writes."""

    name = written = 'plm'
    corpora = ('cc100',)
    prefixed = True

    def example(self, draw: Draw) -> Example:
        language, ids = draw.text()
        return draw.example(language, **draw.prefixed(ids, language))
