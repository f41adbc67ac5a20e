"""Multi30k's retrieval (paper, section 4.2), fine-tuned on English or on all of its languages: CMCL with the dual encoder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from downstream import multi30k_retrieval
from downstream.benchmark import Benchmark
from downstream.data.captioned import CaptionRows, hashes, open_split
from downstream.pictures import training_picture
from downstream.recipes import RECIPES
from pretrain.config import Config, FineTune
from pretrain.data.batch import Example
from pretrain.data.rng import hash63
from pretrain.data.sequences import Sequences, text_id
from pretrain.engine.control import Control
from pretrain.engine.zero import Engine
from pretrain.evaluation.curve import rank_split
from pretrain.evaluation.multi30k import Split, read_split
from pretrain.workload import Evaluation
from shards.errors import UserError
from shards.tokenizer import Tokenizer

TEST = 'test_2016_flickr'


class Retrieval(Benchmark):
    """Every caption of a training picture in the chosen languages is an example."""

    name = 'multi30k-retrieval'
    task = 'cmcl'
    recipe = RECIPES[name]
    score = 'mean recall'
    dev: Split

    def __init__(self, options: FineTune) -> None:
        super().__init__(options)
        if options.text_only:
            raise UserError('finetune.text_only: there is no retrieval without pictures; leave it out')
        self.train, self.dev = (read_split(self.data, split, options.languages, self.images) for split in ('train', 'val'))
        self.captions = CaptionRows(self.train)

    def __len__(self) -> int:
        return len(self.captions)

    def hashes(self) -> dict[str, str]:
        return hashes(self.train, self.dev)

    def example(self, config: Config, tokenizer: Tokenizer, row: int, generator: np.random.Generator) -> Example:
        language, text, at = self.captions[row]
        raw = self.train.picture(at)
        image = training_picture(raw, self.train.paths[at], config, generator)
        sequences = Sequences(tokenizer)
        ids = sequences.encoder_input(sequences.caption(text, config.data.caption_tokens), language)
        # Captions of one picture, and pictures of one caption, are positives of each other; a copy under another name is the same picture.
        return Example(row, language, ids, image=image, image_id=hash63(raw), text_id=text_id(text))

    def evaluate(self, engine: Engine, config: Config, tokenizer: Tokenizer, control: Control) -> Evaluation | None:
        """mR of every language that is trained on."""
        if control.point('the development set'):
            return None
        recalls = rank_split(engine, config, tokenizer, self.dev, control.tell)
        control.point('the development set', False)  # what was told is heard now, also after the last step
        # Both ways have three recalls each, so this is the mean of all six.
        return {'dev': {language: float(np.mean([*ways.values()])) for language, ways in recalls.items()}, 'recalls': recalls}

    def open_development(self, config: Config, tokenizer: Tokenizer, rank: int, world: int) -> str:
        return open_split(self.dev, config, tokenizer, rank, world)

    def tested(self, languages: list[str] | None) -> tuple[list[str], dict[str, Any]]:
        split = read_split(self.data, TEST, languages, self.images)
        return ['--languages', *split.captions], {'sha256': split.sha256()}

    def test(self, model: Path, out: Path, languages: list[str] | None) -> None:
        multi30k_retrieval.evaluate(model, self.data, out, TEST, languages, self.images)

    def show(self, result: dict[str, Any]) -> str:
        return multi30k_retrieval.show(result)
