"""VTLM, UC2's visual translation language modelling (arXiv 2104.00332, section 3.2; component C; pictures with captions in two languages
or more). Not one of the paper's eight tasks: configs/baselines/uc2.yaml trains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pretrain.config import Config
from pretrain.data.batch import Example
from pretrain.data.lexicon import places, words
from pretrain.tasks.base import SumTask

if TYPE_CHECKING:
    from pretrain.data.examples import Draw


class VTLM(SumTask):
    """Cross-entropy on words masked in both captions of a picture, so that neither gives the other away."""

    name = masked = 'vtlm'
    corpora = ('pictures',)
    bilingual = True

    def mask_ratio(self, config: Config) -> float:
        return config.task.vtlm_mask_ratio

    def example(self, draw: Draw) -> Example:
        limit, sequences = draw.config.data.caption_tokens, draw.sequences
        language, caption = draw.caption()
        other, translation = draw.caption(other_than=language)
        ids = [sequences.caption(text, limit) for text in (caption, translation)]
        source, target = (words(side, sequences.tokenizer) for side in ids)
        drawn = draw.generator.random(len(source)) < self.mask_ratio(draw.config)
        chosen = np.flatnonzero(drawn).tolist() or [int(draw.generator.integers(len(source)))]
        links = draw.lexicon().align(language, source, other, target)
        linked = sorted(link for place in chosen if (link := links[place]) is not None)
        masked = sequences.pair_blanked((ids[0], language, places(source, chosen)), (ids[1], other, places(target, linked)))
        second = other, len(masked.ids) - len(sequences.encoder_input(ids[0], language))
        parts = {'masked': masked.positions, 'masked_labels': masked.labels, 'second': second}
        return draw.example(language, masked.ids, **draw.picture(), **parts)
