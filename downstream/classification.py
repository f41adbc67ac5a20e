"""Benchmarks whose answer is a class, by a head on [MM_CLS] (component C): XVNLI and xGQA."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from downstream.benchmark import Benchmark
from downstream.data.labelled import Labelled, Pictures, pictures_folder
from downstream.pictures import training_picture
from pretrain.config import Config, FineTune
from pretrain.data.batch import Example, TaskBatch, collate
from pretrain.data.images import named_image
from pretrain.data.sequences import Sequences
from pretrain.engine.control import Control
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from pretrain.tasks.forward import class_loss
from pretrain.workload import Evaluation
from shards.errors import UserError
from shards.tokenizer import Tokenizer

ROWS_A_CALL = 64

Tests = dict[str, dict[str, Labelled]]  # test set -> language -> rows


class Classification(Benchmark):
    """A benchmark of `Labelled` rows; a subclass adds its readers."""

    paper: ClassVar[str]  # its name in the paper's tables
    score = 'accuracy'
    dev: Labelled

    def __init__(self, options: FineTune) -> None:
        if options.languages != ['en']:
            raise UserError(f'finetune.languages = {options.languages}: {self.name} has training rows in English alone; leave it out')
        super().__init__(options)
        self.classes, self.train, self.dev = self.read_training(self.data)
        self.pictures = Pictures(pictures_folder(self.data, self.images))
        for rows in (self.train, self.dev):
            self.pictures.check(rows)

    @staticmethod
    @abstractmethod
    def read_training(data: Path) -> tuple[tuple[str, ...], Labelled, Labelled]:
        """(classes, training rows, development rows)."""

    @staticmethod
    @abstractmethod
    def read_tests(data: Path, classes: tuple[str, ...], languages: list[str] | None) -> Tests:
        """The test sets, that of the headline first, each by language, English first; languages: those wanted, none: all."""

    def __len__(self) -> int:
        return len(self.train)

    def hashes(self) -> dict[str, str]:
        return {
            'train': self.train.sha256(), 'train pictures': self.pictures.sizes(self.train.pictures),
            'dev': self.dev.sha256(), 'dev pictures': self.pictures.sizes(self.dev.pictures),
        }  # fmt: skip

    def example(self, config: Config, tokenizer: Tokenizer, row: int, generator: np.random.Generator) -> Example:
        if text_only(config):
            return _example(config, Sequences(tokenizer), self.train, row, None)
        name = self.train.pictures[row]
        image = training_picture(self.pictures.read(name), self.pictures.folder / name, config, generator)
        return _example(config, Sequences(tokenizer), self.train, row, image)

    def evaluate(self, engine: Engine, config: Config, tokenizer: Tokenizer, control: Control) -> Evaluation | None:
        """Accuracy and mean loss on the development set; each rank takes every world-th batch."""
        seen = torch.zeros(2, dtype=torch.float64)  # right, loss
        places = in_batches(len(self.dev))
        for number in range(0, len(places), engine.world):  # a rank that has no batch left still comes to every point
            if control.point('the development set'):
                return None
            for part in places[number + engine.rank : number + engine.rank + 1]:
                try:
                    batch = rows_batch(config, tokenizer, self.task, self.dev, self.pictures, part)
                except UserError as error:
                    control.fail(str(error))
                    continue
                scores = class_scores(engine.module, batch.to(engine.device))
                finite = scores.isfinite().all(1)
                if not finite.all():
                    wrong = int((~finite).sum())
                    control.tell(f'scores of {wrong} rows of {self.dev.source} are not finite: the model has diverged; they count as wrong')
                chosen = zip(part, scores.argmax(1).tolist(), finite.tolist(), strict=True)
                loss = class_loss(self.task)(scores, batch.classes, reduction='sum')
                seen += torch.tensor([sum(credit(self.dev, row, choice) for row, choice, is_one in chosen if is_one), float(loss)])
        if control.point('the development set', False):
            return None
        every = seen.to(engine.device)
        dist.all_reduce(every)
        right, mean = (every / len(self.dev)).tolist()
        return {'dev': {'en': right}, 'loss': mean}

    def open_development(self, config: Config, tokenizer: Tokenizer, rank: int, world: int) -> str:
        for part in in_batches(len(self.dev))[rank::world]:
            rows_batch(config, tokenizer, self.task, self.dev, self.pictures, part)
        return f'{len(self.dev):,} rows'

    def tested(self, languages: list[str] | None) -> tuple[list[str], dict[str, Any]]:
        tests = self.read_tests(self.data, self.classes, languages)
        for rows in every(tests).values():
            self.pictures.check(rows)
        # Not the languages found: each test set may have others, and none is asked for what it has not.
        return ['--languages', *languages] if languages else [], hashes(tests, self.pictures)

    def test(self, model: Path, out: Path, languages: list[str] | None) -> None:
        from downstream.accuracy import evaluate  # it needs this module

        evaluate(type(self), model, self.data, out, languages, self.images)

    def show(self, result: dict[str, Any]) -> str:
        from downstream.accuracy import show

        return show(type(self), result)


def every(tests: Tests) -> dict[tuple[str, str], Labelled]:
    """(test set, language) -> rows."""
    return {(name, language): rows for name, languages in tests.items() for language, rows in languages.items()}


def hashes(tests: Tests, pictures: Pictures) -> dict[str, Any]:
    """What a result says under data: hash of the rows of every test set and language, and of all of their pictures."""
    return {
        'sha256': {name: {language: rows.sha256() for language, rows in languages.items()} for name, languages in tests.items()},
        'pictures_sha256': pictures.contents(name for rows in every(tests).values() for name in rows.pictures),
    }


def text_only(config: Config) -> bool:
    """Whether the model was fine-tuned without pictures, and is tested so."""
    return config.finetune is not None and config.finetune.text_only


def in_batches(rows: int) -> list[range]:
    """Rows of every batch of an evaluation."""
    return [range(first, min(first + ROWS_A_CALL, rows)) for first in range(0, rows, ROWS_A_CALL)]


def rows_batch(config: Config, tokenizer: Tokenizer, task: str, rows: Labelled, pictures: Pictures, part: Sequence[int]) -> TaskBatch:
    """These rows, without augmentation. Raises UserError for a language without a code, and a picture that cannot be read or decoded."""
    sequences, examples = Sequences(tokenizer), []
    for row in part:
        image, name = None, rows.pictures[row]
        if not text_only(config):
            image = named_image(pictures.read(name), config.model.visual.image_size, pictures.folder / name)
        examples.append(_example(config, sequences, rows, row, image))
    return collate(task, examples)


@torch.no_grad()
def class_scores(model: UniX2, batch: TaskBatch) -> Tensor:
    """(B, classes) fp32 on the CPU, without dropout."""
    was_training = model.training
    model.eval()
    try:
        return model.class_logits(model.fuse(batch.text, batch.images, batch.image_rows).first()).cpu()
    finally:
        model.train(was_training)


def credit(rows: Labelled, row: int, choice: int) -> float:
    """How true a class is of a row: 0 or 1, but for questions with several answers."""
    return dict(rows.targets[row] or ()).get(choice, 0.0)


def _example(config: Config, sequences: Sequences, rows: Labelled, row: int, image: Tensor | None) -> Example:
    ids = sequences.caption(rows.texts[row], config.data.caption_tokens)
    classes = np.zeros(config.model.labels or 0, np.float32)
    for number, share in rows.targets[row] or ():
        classes[number] = share
    return Example(row, rows.language, sequences.encoder_input(ids, rows.language), image=image, classes=classes)
