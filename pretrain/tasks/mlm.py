"""MLM, masked language modelling, with the picture where there is one (paper 3.2.4; component C; CC3M, CC12M, WIT and CC100)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.config import Config
from pretrain.data.batch import Example
from pretrain.tasks.base import SumTask

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class MLM(SumTask):
    """Cross-entropy on the masked tokens (15 %, of them 80/10/10)."""

    name = masked = 'mlm'
    corpora = 'pictures', 'cc100'

    def share(self, config: Config, corpus: str) -> float:
        return config.task.mlm_text_share if corpus == 'cc100' else 1 - config.task.mlm_text_share

    def example(self, draw: Draw) -> Example:
        pictured = draw.located.stream.kind == 'pictures'
        if pictured:
            language, caption = draw.caption()
            ids = draw.caption_ids(caption, language)
        else:
            language, ids = draw.text()
        masked = draw.sequences.corrupted(ids, language, self.mask_ratio(draw.config), draw.generator)
        picture = draw.picture() if pictured else {}
        return draw.example(language, masked.ids, **picture, masked=masked.positions, masked_labels=masked.labels)
