"""Texts written by a model for many examples, shared among ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from downstream import ranks
from downstream.pictures import picture_batch
from pretrain.data.batch import Texts
from pretrain.data.images import Picture
from pretrain.data.sequences import Ids, Sequences
from pretrain.generation import Decoding, write
from pretrain.model.load import Loaded

BATCH = 32  # examples that are searched together


@dataclass(frozen=True)
class Example:
    """What a text is written for: a text in its language (none: a caption is asked for), a picture, or both."""

    text: str | None
    language: str  # of `text`
    target: str  # language of what is written
    picture: Picture | None = None


def source_ids(sequences: Sequences, example: Example, limit: int) -> Ids:
    """The encoder's sequence of at most `limit` ids: without a text the special tokens alone."""
    ids = np.array([], np.int64) if example.text is None else sequences.caption(example.text, limit)
    return sequences.encoder_input(ids, example.language)


def fitted(loaded: Loaded, decoding: Decoding, language: str) -> Decoding:
    """How texts in a language are searched when that is asked for: at most as many tokens as the model has positions for. Raises UserError
    for a language that it has no code for.
    """
    return decoding.within(loaded.config.model.max_positions, len(Sequences(loaded.tokenizer).prompt(language)))


class Batches:
    """Examples in batches of about one length, which are the same at any number of ranks.

    Raises UserError for a language that the model has no code for.
    """

    def __init__(self, loaded: Loaded, examples: Sequence[Example]) -> None:
        self.loaded, self.examples = loaded, examples
        sequences = Sequences(loaded.tokenizer)
        for language in {example.target for example in examples} | {example.language for example in examples}:
            sequences.code(language)
        self._inputs = [source_ids(sequences, example, loaded.config.data.caption_tokens) for example in examples]
        order = sorted(range(len(examples)), key=lambda place: (-len(self._inputs[place]), place))
        self.places = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]  # of each batch's examples

    def write(self, batch: Sequence[int], decoding: Decoding) -> dict[int, str]:
        """{place: text} for the examples of a batch. Raises UserError for a picture that is none."""
        loaded, examples, inputs = self.loaded, [self.examples[place] for place in batch], [self._inputs[place] for place in batch]
        texts = Texts(torch.from_numpy(np.concatenate(inputs)).to(loaded.device), torch.tensor([len(row) for row in inputs]))
        pictures = [(row, example.picture) for row, example in enumerate(examples) if example.picture is not None]
        rows = [row for row, _ in pictures]
        images = picture_batch(loaded, [picture for _, picture in pictures], [batch[row] for row in rows]) if pictures else None
        written = write(
            loaded.model, loaded.tokenizer, texts, [example.target for example in examples], images, torch.tensor(rows), decoding
        )
        return dict(zip(batch, written, strict=True))


def generate(loaded: Loaded, examples: Sequence[Example], decoding: Decoding, what: str, progress: bool = True) -> list[str]:
    """A text for every example, in their order, on every rank; each is written once, by one rank.

    `decoding` is cut as `fitted` does. Raises UserError for a picture that is none, a language that the model has no code for, and a model
    that has diverged.
    """
    batches = Batches(loaded, examples)

    def work() -> dict[int, str]:
        written: dict[int, str] = {}
        with ranks.progress_bar(len(examples), what, 'text', progress) as bar:
            for batch in ranks.share(batches.places):
                written |= batches.write(batch, decoding)
                bar.update(len(batch))
        return written

    return ranks.gather(work, len(examples))
