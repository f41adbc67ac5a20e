"""Fine-tuning of what the decoder writes (paper, section 4.4; component B): what translation and captioning have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from downstream import generate, ranks
from downstream.benchmark import Benchmark
from downstream.data.captioned import CaptionRows, hashes, open_split
from downstream.pictures import training_picture
from pretrain.config import Config
from pretrain.data.batch import Example
from pretrain.data.sequences import Sequences
from pretrain.engine.control import Control
from pretrain.engine.resume import from_rank_0
from pretrain.engine.zero import Engine
from pretrain.evaluation.multi30k import Split
from pretrain.generation import Decoding, Diverged
from pretrain.model.load import Loaded
from pretrain.workload import Evaluation
from shards.errors import UserError
from shards.tokenizer import Tokenizer


class Writing(Benchmark):
    """Every caption of the training set in `targets` is an example: the decoder writes it, given what `source` says of its picture."""

    decoding: ClassVar[Decoding]  # of the tests
    train: Split
    dev: Split
    targets: list[str]  # canonical
    captions: CaptionRows  # of the training set, in `targets`

    @abstractmethod
    def source(self, split: Split, picture: int, target: str) -> generate.Example:
        """What a text in `target` is written from."""

    @abstractmethod
    def judge(self, written: list[str], target: str) -> float:
        """Score of the texts, one for each picture of the development set: 0 to 1, or more. On rank 0. Raises UserError when it cannot be
        computed.
        """

    def __len__(self) -> int:
        return len(self.captions)

    def hashes(self) -> dict[str, str]:
        return hashes(self.train, self.dev)

    def example(self, config: Config, tokenizer: Tokenizer, row: int, generator: np.random.Generator) -> Example:
        target, text, at = self.captions[row]
        source, sequences, limit = self.source(self.train, at, target), Sequences(tokenizer), config.data.caption_tokens
        image = None
        if self.train.paths:
            image = training_picture(self.train.picture(at), self.train.paths[at], config, generator)
        ids = sequences.caption(text, limit)
        return Example(
            row, target, generate.source_ids(sequences, source, limit), image=image,
            decoder_input=sequences.decoder_input(ids, target), labels=sequences.labels(ids, target),
        )  # fmt: skip

    def evaluate(self, engine: Engine, config: Config, tokenizer: Tokenizer, control: Control) -> Evaluation | None:
        loaded, scores = Loaded(engine.module, tokenizer, config, sha256=''), {}
        for target in self.targets:
            score = self._score(loaded, target, engine, control)
            if score is None:
                return None
            scores[target] = score
        return {'dev': scores}

    def open_development(self, config: Config, tokenizer: Tokenizer, rank: int, world: int) -> str:
        return open_split(self.dev, config, tokenizer, rank, world)

    def _score(self, loaded: Loaded, target: str, engine: Engine, control: Control) -> float | None:
        """Of texts by greedy search, which costs a quarter of the tests' four beams; ranks share the batches."""
        count, greedy = len(self.dev.names), replace(self.decoding, beams=1)
        batches = generate.Batches(loaded, [self.source(self.dev, at, target) for at in range(count)])
        texts: dict[int, str] = {}
        for first in range(0, len(batches.places), engine.world):  # a rank that has no batch left still comes to every point
            if control.point('the development set'):
                return None
            for batch in batches.places[first + engine.rank : first + engine.rank + 1]:
                try:
                    texts |= batches.write(batch, greedy)
                except Diverged as error:  # whether the run ends or goes back is not for an evaluation to say
                    control.tell(f'{error}; its texts count as empty')
                    texts |= dict.fromkeys(batch, '')
                except UserError as error:
                    control.fail(str(error))
        if control.point('the development set', False):
            return None
        written = ranks.gather(lambda: texts, count)
        try:
            return from_rank_0(lambda: self.judge(written, target))
        except UserError as error:  # on every rank: they save what is trained before they end, and a new start scores it again
            control.fail(str(error))
            control.point('the development set', False)
            return None
