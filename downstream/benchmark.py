"""What a benchmark is to a fine-tuning: its recipe, its training examples, how a model is judged on its development set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from downstream.data.labelled import Labelled
from downstream.recipes import Recipe
from pretrain.config import Config, FineTune, Task
from pretrain.data.batch import Example
from pretrain.engine.control import Control
from pretrain.engine.zero import Engine
from pretrain.evaluation.multi30k import Split
from pretrain.workload import Evaluation
from shards.tokenizer import Tokenizer


class Benchmark(ABC):
    """One benchmark's training and development set, read and checked. Raises UserError for data that is missing or broken."""

    name: ClassVar[str]
    task: ClassVar[Task]
    recipe: ClassVar[Recipe]
    score: ClassVar[str]  # what `evaluate` tells of a language, a share: BLEU, CIDEr …
    dev: Labelled | Split  # the development set
    classes: tuple[str, ...] = ()  # of a head on [MM_CLS]; empty: the benchmark needs none

    def __init__(self, options: FineTune) -> None:
        self.options, self.data = options, Path(options.data)
        self.images = None if options.images is None else Path(options.images)

    @abstractmethod
    def __len__(self) -> int:
        """Number of training examples."""

    @abstractmethod
    def hashes(self) -> dict[str, str]:
        """Name -> sha256 of what is trained on and selected by."""

    @abstractmethod
    def example(self, config: Config, tokenizer: Tokenizer, row: int, generator: np.random.Generator) -> Example:
        """A training example; every choice comes from the generator. Raises UserError for a picture that cannot be read or decoded."""

    @abstractmethod
    def evaluate(self, engine: Engine, config: Config, tokenizer: Tokenizer, control: Control) -> Evaluation | None:
        """{'dev': {language: score}, …} of the model on the development set, higher is better, the same on every rank; None when the run is
        asked to stop meanwhile.
        """

    @abstractmethod
    def open_development(self, config: Config, tokenizer: Tokenizer, rank: int, world: int) -> str:
        """Read this rank's share of what `evaluate` reads, without a model. Returns how much that is of all ranks, in words.

        Raises UserError for a language that the model has no code for, and a picture that cannot be read or decoded.
        """

    def with_few(self, count: int) -> Self:
        """The same with so many rows, or pictures with what is about them, of the development set: what a dry run evaluates."""
        few = copy(self)
        few.dev = self.dev.first(count)
        return few

    @abstractmethod
    def tested(self, languages: list[str] | None) -> tuple[list[str], dict[str, Any]]:
        """(flags of `evaluate` that say what is tested, hashes) of the tests, which are read and checked for it. languages: those wanted,
        none: all; the hashes are what a result of these tests has under data.
        """

    @abstractmethod
    def test(self, model: Path, out: Path, languages: list[str] | None) -> None:
        """Test a fine-tuned model; writes OUT/result.json, and beside it what its figures come from."""

    @abstractmethod
    def show(self, result: dict[str, Any]) -> str:
        """A result as a person reads it."""
