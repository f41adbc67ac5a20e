"""Settings of the training: optimizer, checkpoints, evaluations, log."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pretrain.config.section import Folder, Section
from pretrain.config.tasks import Task

Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Section):
    lr: float = Field(1e-4, gt=0, description='highest learning rate')
    lr_min: float = Field(1e-6, ge=0, description='floor of the cosine')
    warmup: int = Field(4000, ge=0, description='steps of linear warm-up')
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="decay of AdamW's two moments")
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon")
    weight_decay: float = Field(0.1, ge=0, description='on parameters of two dimensions or more: not on biases, norms and the logit scale')
    token_lr: float = Field(1.0, gt=0, description="learning rate of the token table, as a multiple of every other parameter's")
    clip: float = Field(1.0, gt=0, description='largest norm of the merged gradient')


class Checkpoint(Section):
    every: int = Field(1000, gt=0, description='steps between checkpoints; one more at the end, and when the run is stopped')
    keep: int = Field(3, ge=1, description='newest checkpoints that stay')
    forever: int = Field(0, ge=0, description='every checkpoint whose step is a multiple of this stays for good; 0: none does')


class Retrieval(Section):
    data: Folder | None = Field(None, description="a folder in Multi30k's layout, ranked zero-shot at every evaluation; none: no curve")
    split: str = Field('test_2016_flickr', description='name of the image list and the caption files')
    languages: list[str] = Field(default_factory=list, description='in any spelling; empty: every language that the folder has')


class Eval(Section):
    every: int = Field(
        1000, gt=0, description='steps between evaluations (held-out losses, retrieval curve); also at the start and at the end'
    )
    samples: int = Field(64, gt=1, description='held-out samples per task and language, at most')
    tasks: list[Task] | None = Field(
        None, description='tasks with a held-out loss; none: those that are trained. An ablation names the left-out one here'
    )
    retrieval: Retrieval = Retrieval()


class Log(Section):
    every: int = Field(10, gt=0, description='steps between lines on the terminal; metrics.jsonl has every step')
    tensorboard: bool = Field(True, description='also write RUN/tensorboard')
    wandb: str | None = Field(
        None, min_length=1, description='project of Weights & Biases that shows the run as well; none: no project does (extra `track`)'
    )
    mlflow: Folder | None = Field(
        None, min_length=1, description='MLflow server (`http://…`) or folder that shows the run as well; none: none does (extra `track`)'
    )
    peak_tflops: float | None = Field(
        None,
        gt=0,
        description="peak of one processor in TFLOP/s, of which `utilisation` is a share; none: by the GPU's name, if known, a CPU's as "
        'measured at the start',
    )
