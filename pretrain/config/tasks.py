"""Settings of the tasks: which there are, how their examples are made, how many samples an update takes of each."""
from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretrain.config.section import Section

TASKS = ('cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt')
Task = Literal['cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt']


class TaskOptions(Section):
    mask_ratio: float = Field(0.15, gt=0, lt=1, description='probability that MLM chooses a token (80/10/10), at least one a text')
    mlm_text_share: float = Field(0.5, ge=0, le=1, description='share of MLM samples from CC100; the others have pictures')
    mmmt_mask_ratio: float = Field(
        0.15, gt=0, lt=1, description='probability that mMMT replaces a source token by <mask>, at least one a text'
    )
    mmmt_image_drop: float = Field(0.2, ge=0, le=1, description='probability that an mMMT sample has no picture')
    prefix_probability: float = Field(
        0.5, ge=0, le=1, description='probability that T_p is prefix_share of the text rather than 0 (PLM, vPLM)'
    )
    prefix_share: float = Field(0.2, gt=0, lt=1, description='T_p as a share of the text, rounded down')
    itm_negative_share: float = Field(
        0.5, ge=0, le=1, description='probability that the picture or the text (half each) of an ITM pair is replaced'
    )


class Batch(Section):
    global_: int = Field(4096, gt=0, alias='global', description='samples per task per update, over all ranks; a multiple of their number')
    tasks: dict[Task, int] = Field(
        default_factory=dict,
        description='samples per update of single tasks, where not `global`; their loss keeps its weight (contrast gains from negatives)',
    )
    micro: int = Field(
        128, gt=0,
        description='samples of one task in one forward of a rank, at most; contrastive losses span the global batch all the same',
    )

    def size(self, task: str) -> int:
        """Samples of `task` per update, over all ranks."""
        return {str(name): size for name, size in self.tasks.items()}.get(task, self.global_)
