"""Settings of the tasks: which there are, how their examples are made, how many samples an update takes of each."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

from pydantic import Field, PositiveInt

from pretrain.config.section import Section

PaperTask = Literal['cmcl', 'clcl', 'itm', 'mlm', 'plm', 'vplm', 'mt', 'mmmt']
FineTuneTask = Literal['entailment', 'answering', 'translation', 'captioning']  # downstream's, beside cmcl
Task = Literal[PaperTask, 'vtlm', FineTuneTask]  # vtlm: UC2's, which configs/baselines/uc2.yaml trains
TASKS: tuple[str, ...] = get_args(PaperTask)


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
    itm_negatives: Literal['random', 'hard'] = Field(
        'random', description='what replaces it: any of the global batch, or one drawn with p proportional to exp(contrastive similarity)'
    )
    duplicates: Literal['positive', 'ignored'] = Field(
        'positive',
        description='in CMCL and CLCL, the same picture or text twice in a global batch: further positives, or left out; never negatives',
    )
    contrastive_factor: float = Field(
        0.5, gt=0, description='of the sum of both directions of the softmax contrast: 0.5 is their mean, 1 what the paper prints for CLCL'
    )
    vtlm_mask_ratio: float = Field(
        0.15, gt=0, lt=1, description="probability that VTLM masks a word of one caption, and with it the other language's word for it"
    )
    code_switch: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability that a word of a picture's caption becomes its translation into another of the record's languages "
        '(M3P: 0.5; cmcl, itm, mlm)',
    )
    lexicon_records: int = Field(
        4096, gt=0, description='records of each picture corpus from which is counted which words translate each other (VTLM, code_switch)'
    )

    @property
    def mlm_pictures(self) -> Fraction:
        """Share of MLM samples with a picture, as the nearest fraction of at most sixteenths."""
        return Fraction(1 - self.mlm_text_share).limit_denominator(16)


class Mixture(Section):
    share_images: bool = Field(
        False,
        description='the image-text tasks of a step take the same records, one augmented picture each, as far as their sizes and needs '
        'allow, and the visual encoder runs once for every picture of a micro-batch; needs batch.merge=all',
    )


class Batch(Section):
    merge: Literal['all', 'drawn'] = Field(
        'all',
        description='what an update takes: one batch of every task, or `draws` batches, the task of each drawn uniformly, for all ranks',
    )
    draws: int | None = Field(None, gt=0, description='batches an update takes with merge: drawn; none: as many as there are tasks')
    global_: int = Field(4096, gt=0, alias='global', description='samples per task per update, over all ranks; a multiple of their number')
    tasks: dict[Task, PositiveInt] = Field(
        default_factory=dict,
        description='samples per update of single tasks, where not `global`; their loss keeps its weight (contrast gains from negatives). '
        'A task that the run does not train may have a size: a base file serves several runs',
    )
    together: bool = Field(
        False,
        description='one forward and backward takes a micro-batch of every task, not of one: fewer and larger matrix products, and the '
        'memory of all of them at once',
    )
    micro: int = Field(
        128,
        gt=0,
        description='samples of one task in one forward of a rank, at most; contrastive losses span the global batch all the same',
    )

    def size(self, task: str) -> int:
        """Samples of `task` per update, over all ranks."""
        return {str(name): size for name, size in self.tasks.items()}.get(task, self.global_)
