"""ITM, image-text matching: does the caption describe the picture? (paper 3.2.3; component C; CC3M, CC12M, WIT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pretrain.data.batch import KEEP, PICTURE, TEXT, Example
from pretrain.data.rng import hash63
from pretrain.data.sequences import normalised, text_id
from pretrain.tasks.base import SumTask

if TYPE_CHECKING:
    from pretrain.data.examples import Draw

REDRAWS = 8  # attempts at a negative that is none in truth


class ITM(SumTask):
    """Binary cross-entropy on [MM_CLS]. Negatives are made with the batch: the picture or the text of a matched pair is replaced by that of
    another position of the global batch; hard ones by the step (pretrain/engine/hard_negatives.py)."""

    name = matched = 'itm'
    corpora = ('pictures',)

    def example(self, draw: Draw) -> Example:
        options = draw.config.task
        language, caption = draw.caption()
        pictured, said, match = draw, draw, True
        hard = options.itm_negatives == 'hard' and not draw.examples.evaluation
        replace = KEEP
        if draw.generator.random() < options.itm_negative_share:
            replace_text = draw.generator.random() < 0.5
            if hard:  # the step replaces it: only the model knows what is similar
                replace = TEXT if replace_text else PICTURE
            for _ in range(REDRAWS if len(draw.pool) > 1 and not hard else 0):
                other = draw.elsewhere()
                if replace_text:
                    other_language, other_caption = other.caption()
                    if not _belongs(other_caption, draw.record, other.record):
                        language, caption, said, match = other_language, other_caption, other, False
                        break
                elif not _belongs(caption, other.record, draw.record):
                    pictured, match = other, False
                    break
        parts: dict[str, Any] = {**pictured.picture(), 'match': match, 'replace': replace if hard else None}
        return draw.example(
            language, said.encoded(caption, language), **parts,
            image_id=hash63(pictured.record['image_id']), text_id=text_id(caption), own_image_id=hash63(draw.record['image_id']),
            own_text_ids=np.array([text_id(text) for texts in draw.record['captions'].values() for text in texts]),
        )  # fmt: skip


def _belongs(caption: str, record: dict[str, Any], origin: dict[str, Any]) -> bool:
    """Whether a caption of `origin` is in truth one of `record`: the same picture, or the same normalised text."""
    if record['image_id'] == origin['image_id']:
        return True
    wanted = normalised(caption)
    return any(normalised(text) == wanted for texts in record['captions'].values() for text in texts)
