"""mMMT, masked multimodal machine translation (paper 3.2.8; components B and C; pictures with captions in two languages or more)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretrain.config import Config
from pretrain.data.batch import Example
from pretrain.tasks.base import SumTask

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class MMMT(SumTask):
    """Translation of a source whose tokens are partly `<mask>`, plus MLM on exactly those tokens, from one encoder pass. Two
    terms, each with its normaliser."""

    name = written = 'mmmt'
    masked = 'mmmt_masked'
    corpora = ('pictures',)
    bilingual = True

    def pictured(self, config: Config) -> float:
        return 1 - config.task.mmmt_image_drop

    def mask_ratio(self, config: Config) -> float:
        return config.task.mmmt_mask_ratio

    def example(self, draw: Draw) -> Example:
        options, limit = draw.config.task, draw.config.data.caption_tokens
        target_language, target = draw.caption()
        language, source = draw.caption(other_than=target_language)
        masked = draw.sequences.blanked(draw.sequences.caption(source, limit), language, self.mask_ratio(draw.config), draw.generator)
        picture = {} if draw.generator.random() < options.mmmt_image_drop else draw.picture()
        parts = draw.written(draw.sequences.caption(target, limit), target_language)
        parts |= {'masked': masked.positions, 'masked_labels': masked.labels, 'second': (language, len(masked.ids))}
        return draw.example(target_language, masked.ids, **picture, **parts)
