"""What a run trains on and how it is judged: the part in which pre-training and fine-tuning differ. Engine, checkpoints, resuming and
records are the trainer's (pretrain/trainer.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pretrain.config import Config
from pretrain.data.loader import StepLoader
from pretrain.engine.control import Control
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from shards.tokenizer import Tokenizer

Evaluation = dict[str, Any]  # a line of evaluation.jsonl, `step` included


class Weights(Protocol):
    """Where a new run's weights come from."""

    def load(self, model: UniX2) -> None:
        """Copy them into a model on the CPU; what has none keeps its random values."""


class Workload(ABC):
    """One kind of run, of one configuration. Every rank has its own, and all of them do the same."""

    def __init__(self, config: Config, tokenizer: Tokenizer):
        self.config, self.tokenizer = config, tokenizer

    @abstractmethod
    def check(self) -> dict[str, str]:
        """Name -> sha256 of all data that the run trains on, which a checkpoint is bound to. Called before any engine or process group is
        made; raises UserError for data that is missing or does not fit.
        """

    @abstractmethod
    def check_same_data(self, saved: dict[str, str], present: dict[str, str], checkpoint: Path) -> str | None:
        """Compare what `check` returned when a checkpoint was made with what it returns now. Returns what is to be said of a change that
        does no harm; raises UserError for one that does.
        """

    @abstractmethod
    def weights(self) -> Weights:
        """What a new run starts from; not called for one that goes on from a checkpoint. Raises UserError when it cannot be had."""

    @abstractmethod
    def loader(self, rank: int, world: int, start_step: int, skip: Sequence[Sequence[int]], tell: Callable[[str], object]) -> StepLoader:
        """The batches from `start_step` on. The global batch of a step is a function of (seed, step) and the data, whatever `world` is;
        `skip` are windows of data that are passed over.
        """

    @abstractmethod
    def evaluate(self, engine: Engine, control: Control) -> Evaluation | None:
        """What evaluation.jsonl says of the model as it is, the same on every rank; None when the run is asked to stop meanwhile."""

    @abstractmethod
    def amount(self, manifests: dict[str, str]) -> str:
        """How much there is to train on, as a dry run says it; `manifests` is what `check` returned."""

    @abstractmethod
    def open_evaluation(self, rank: int, world: int) -> str:
        """Read this rank's share of what `evaluate` reads, without a model. Returns how much that is of all ranks, as a dry run says it.
        Raises UserError for what cannot be read.
        """

    @abstractmethod
    def try_evaluation(self, engine: Engine, control: Control) -> str:
        """Make of `evaluate` a small part of every kind: every forward, exchange and score, of few samples, which `open_evaluation` has
        found to be readable. All ranks together. Returns what came of it, as a dry run says it; '' when the run is asked to stop meanwhile.
        Raises UserError for what `evaluate` would end with.
        """

    @abstractmethod
    def said(self, evaluation: Evaluation) -> list[str]:
        """The lines in which a person reads an evaluation."""

    def best(self, history: Sequence[Evaluation]) -> int | None:
        """The step whose model is to be kept beside the newest checkpoints; None: none is."""
        return None

    def keep(self, checkpoint: Path) -> None:  # noqa: B027 - for workloads whose `best` names a step
        """Keep the model of a checkpoint, which is the best so far. On rank 0."""

    def settled(self, history: Sequence[Evaluation]) -> bool:
        """Whether further training is pointless, by the evaluations so far."""
        return False
