"""Fine-tuning as a workload: a benchmark's training set in a seeded order, judged on its development set, the best model kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor
from torch.utils.data import Dataset

from downstream.benchmark import Benchmark
from downstream.data.order import example_at
from pretrain.config import Config
from pretrain.data.batch import TaskBatch, collate
from pretrain.data.loader import StepLoader
from pretrain.data.order import data_step, merged, rank_positions
from pretrain.data.packing import Packed, pack
from pretrain.data.rng import generator
from pretrain.engine.control import Control
from pretrain.engine.zero import Engine
from pretrain.export import write_export
from pretrain.model.folder import BEST
from pretrain.model.load import Found, find_checkpoint
from pretrain.model.unix2 import UniX2
from pretrain.workload import Evaluation, Workload
from shards.errors import UserError
from shards.tokenizer import Tokenizer

BASE = 'model'  # the model that a fine-tuning starts from, among the hashes that its checkpoints are bound to
POSITIONS = 'visual_encoder.pos_embed'
NEW = 'class_'  # parameters of the head, which the base model does not have

TRIED = 8  # rows or pictures of the development set that a dry run evaluates, for each rank


class FineTuning(Workload):
    """What `downstream/run.py` trains. Raises UserError for a tokenizer that is not there."""

    def __init__(self, config: Config, benchmark: Benchmark, base: Found) -> None:
        super().__init__(config, Tokenizer.load(Path(config.data.tokenizer), config.model.family))
        self.benchmark, self.base = benchmark, base

    def check(self) -> dict[str, str]:
        return bound_to(self.benchmark, self.base)

    def check_same_data(self, saved: dict[str, str], present: dict[str, str], checkpoint: Path) -> str | None:
        check_bound(saved, present, checkpoint, self.config)
        return None

    def weights(self) -> BaseWeights:
        return BaseWeights(self.config, self.tokenizer, self.base)

    def loader(self, rank: int, world: int, start_step: int, skip: Sequence[Sequence[int]], tell: Callable[[str], object]) -> StepLoader:
        return StepLoader(self.config, Steps(self.config, self.tokenizer, self.benchmark, rank, world, skip), start_step, tell)

    def evaluate(self, engine: Engine, control: Control) -> Evaluation | None:
        found = self.benchmark.evaluate(engine, self.config, self.tokenizer, control)
        return None if found is None else {**found, 'score': self.benchmark.score}

    def amount(self, manifests: dict[str, str]) -> str:
        return f'{len(self.benchmark):,} examples'

    def open_evaluation(self, rank: int, world: int) -> str:
        return f'development set: {self.benchmark.open_development(self.config, self.tokenizer, rank, world)}'

    def try_evaluation(self, engine: Engine, control: Control) -> str:
        few = self.benchmark.with_few(TRIED * engine.world)
        found = few.evaluate(engine, self.config, self.tokenizer, control)
        return '' if found is None else ' '.join(f'{few.score} of {language} {score:.3f}' for language, score in found['dev'].items())

    def said(self, evaluation: Evaluation) -> list[str]:
        scores = '  '.join(f'{language} {100 * score:.2f}' for language, score in evaluation['dev'].items())
        return [f'development set at step {evaluation["step"]}, {evaluation["score"]} times 100: {scores}']

    def best(self, history: Sequence[Evaluation]) -> int | None:
        """The first of those with the highest mean over languages; the model as it was before any step is none."""
        trained = [evaluation for evaluation in history if evaluation['step']]
        return max(trained, key=dev_score)['step'] if trained else None

    def keep(self, checkpoint: Path) -> None:
        """Replace OUT/best. Whatever ends the process in between, the checkpoint is still there to keep it from."""
        best, new, old = (Path(self.config.out) / name for name in (BEST, f'.{BEST}.new', f'.{BEST}.old'))
        for path in (new, old):
            shutil.rmtree(path, ignore_errors=True)
        write_export(find_checkpoint(checkpoint), new, Path(self.config.out))
        if best.exists():
            best.rename(old)
        new.rename(best)
        shutil.rmtree(old, ignore_errors=True)

    def settled(self, history: Sequence[Evaluation]) -> bool:
        """Early stopping: the last `finetune.patience` evaluations brought nothing better. A decoder that has no word right yet goes on."""
        assert self.config.finetune is not None
        patience, best = self.config.finetune.patience, self.best(history)
        if not patience or best is None or not any(dev_score(evaluation) for evaluation in history):
            return False
        return sum(evaluation['step'] > best for evaluation in history) >= patience


def dev_score(evaluation: Evaluation) -> float:
    """Mean of the development sets' scores."""
    scores: dict[str, float] = evaluation['dev']
    return sum(scores.values()) / len(scores)


def bound_to(benchmark: Benchmark, base: Found) -> dict[str, str]:
    """Name -> sha256 of what a fine-tuning depends on: the base model and the data."""
    return {BASE: base.sha256, **benchmark.hashes()}


def check_bound(saved: dict[str, str], present: dict[str, str], made: Path, config: Config) -> None:
    """Raises UserError when `made` was made from another base model or other data than there are now."""
    assert config.finetune is not None
    for name, there in saved.items():
        here = present.get(name)
        if here != there:
            what, where = ('model', config.finetune.model) if name == BASE else (f'{name} set', config.finetune.data)
            raise UserError(
                f'{made} comes from another {what} than {where} holds now (sha256 {there[:12]} then, {str(here)[:12]} now); '
                'restore it, or choose another --out'
            )


class Steps(Dataset[Packed | str]):
    """Map-style data set whose index is the optimizer step: the micro-batches of one rank."""

    def __init__(
        self, config: Config, tokenizer: Tokenizer, benchmark: Benchmark, rank: int, world: int, skip: Sequence[Sequence[int]] = ()
    ) -> None:
        self.config, self.tokenizer, self.benchmark, self.skip = config, tokenizer, benchmark, merged(skip)
        self.positions = rank_positions(config, benchmark.task, rank, world)

    def batches(self, batch: int) -> list[TaskBatch]:
        """The rank's micro-batches of a global batch."""
        config, task, seed = self.config, self.benchmark.task, self.config.seed
        made = []
        for position in self.positions:
            row = example_at(seed, batch * config.batch.size(task) + position, len(self.benchmark))
            made.append(self.benchmark.example(config, self.tokenizer, row, generator(seed, f'{task}/example', batch, position)))
        return [collate(task, made[first : first + config.batch.micro]) for first in range(0, len(made), config.batch.micro)]

    def __getitem__(self, step: int) -> Packed | str:
        try:
            return pack({self.benchmark.task: self.batches(data_step(step, self.skip))})
        except UserError as error:  # a DataLoader would wrap it in the stack trace of its process
            return str(error)


class BaseWeights:
    """The weights of the base model. Raises UserError where they do not fit: all but the head on [MM_CLS], which is new, come from there.

    A ViT's positions are interpolated to another size of the pictures.
    """

    def __init__(self, config: Config, tokenizer: Tokenizer, base: Found) -> None:
        with torch.device('meta'):  # shapes only
            wanted = dict(UniX2(config.model, tokenizer.vocabulary).named_parameters())
        found = base.weights()
        self.weights: dict[str, Tensor] = {}
        for name, parameter in wanted.items():
            if name.startswith(NEW):
                continue
            weight = found.get(name)
            if weight is not None and name == POSITIONS and weight.shape != parameter.shape:
                weight = resample_abs_pos_embed(weight, new_size=[round((parameter.shape[1] - 1) ** 0.5)] * 2)
            if weight is None or weight.shape != parameter.shape:
                theirs = 'none' if weight is None else 'x'.join(map(str, weight.shape))
                ours = 'x'.join(map(str, parameter.shape))
                raise UserError(f'{base.where} has {theirs} for {name}, this configuration needs {ours}; leave `model` as the base has it')
            self.weights[name] = weight

    @torch.no_grad()
    def load(self, model: UniX2) -> None:
        """Copy them into a model on the CPU."""
        for name, parameter in model.named_parameters():
            if name in self.weights:
                parameter.copy_(self.weights[name])
