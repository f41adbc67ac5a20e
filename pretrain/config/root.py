"""All settings of a run."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, PositiveFloat, model_validator

from pretrain.config.data import Data
from pretrain.config.faults import Recovery, Watchdog
from pretrain.config.finetune import FineTune
from pretrain.config.init import Init
from pretrain.config.kernels import Kernels
from pretrain.config.model import Model
from pretrain.config.section import Folder, Section
from pretrain.config.tasks import Batch, FineTuneTask, Mixture, PaperTask, Task, TaskOptions
from pretrain.config.training import Checkpoint, Eval, Log, Optimizer


class Config(Section):
    """A run."""

    out: Folder = Field(
        'runs/paper', description='folder of checkpoints, metrics and events; a second start with the same folder continues'
    )
    steps: int = Field(60_000, gt=0, description='optimizer steps of the whole run')
    seed: int = Field(0, ge=0, description='of initial weights, order of the data, every choice about a sample, dropout')
    tasks: list[Task] = Field(default_factory=lambda: list(get_args(PaperTask)), min_length=1, description='tasks that are trained')
    task_weights: dict[Task, PositiveFloat] = Field(
        default_factory=dict,
        description='weight of a task in the merged loss, which is a mean; 1 where it is not named (the paper: all equal). '
        'A task without weight is left out of `tasks`',
    )
    precision: Literal['fp32', 'bf16'] = Field('bf16', description="of the forward and backward; the optimizer's weights are fp32 in both")
    model: Model = Model()
    init: Init = Init()
    data: Data = Data()
    task: TaskOptions = TaskOptions()
    mixture: Mixture = Mixture()
    batch: Batch = Batch()
    optimizer: Optimizer = Optimizer()
    kernels: Kernels = Kernels()
    checkpoint: Checkpoint = Checkpoint()
    eval: Eval = Eval()
    log: Log = Log()
    recovery: Recovery = Recovery()
    watchdog: Watchdog = Watchdog()
    finetune: FineTune | None = Field(None, description='of a run that `downstream TASK finetune` starts; none: pre-training')

    @property
    def eval_tasks(self) -> list[Task]:
        """Tasks with a held-out loss."""
        return self.tasks if self.eval.tasks is None else self.eval.tasks

    @model_validator(mode='after')
    def _fits_together(self) -> Config:
        lists: dict[str, list[str]] = {'tasks': [*self.tasks], 'eval.tasks': [*self.eval_tasks], 'data.pictures': [*self.data.pictures]}
        for name, values in lists.items():
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f'{name} names {twice[0]} twice')
        downstream = [task for task in (*self.tasks, *self.eval_tasks) if task in get_args(FineTuneTask)]
        if downstream and self.finetune is None:
            raise ValueError(f'{downstream[0]} is no task of pre-training; `downstream TASK finetune` trains it')
        if self.batch.draws is not None and self.batch.merge == 'all':
            raise ValueError(f'batch.draws={self.batch.draws} counts the batches of merge: drawn; set batch.merge=drawn, or leave it out')
        if self.mixture.share_images and self.batch.merge == 'drawn':
            raise ValueError(
                'mixture.share_images needs batch.merge=all: drawn tasks are each at another place of the order; set one of them back'
            )
        pictures = float(self.task.mlm_pictures)
        if self.mixture.share_images and 'mlm' in self.tasks and abs(pictures + self.task.mlm_text_share - 1) > 1e-6:
            share, near = self.task.mlm_text_share, round(1 - pictures, 6)
            raise ValueError(
                f'mixture.share_images cannot divide pictures by task.mlm_text_share={share}; the nearest that it can is {near}'
            )
        for name, tokens in (('caption_tokens', self.data.caption_tokens), ('text_tokens', self.data.text_tokens)):
            if tokens > self.model.max_positions:
                raise ValueError(f'data.{name}={tokens} is more than model.max_positions={self.model.max_positions}')
        if 'vtlm' in {*self.tasks, *self.eval_tasks} and 2 * self.data.caption_tokens > self.model.max_positions:
            half = self.model.max_positions // 2
            raise ValueError(f'vtlm reads two captions at once: data.caption_tokens={self.data.caption_tokens} must be at most {half}')
        return self

    def weight(self, task: str) -> float:
        """Weight of `task` in the merged loss, before it is divided by the number of tasks."""
        return {str(name): weight for name, weight in self.task_weights.items()}.get(task, 1.0)
