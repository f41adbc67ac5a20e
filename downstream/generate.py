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
from pretrain.data.sequences import Sequences
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


def generate(loaded: Loaded, examples: Sequence[Example], decoding: Decoding, what: str, progress: bool = True) -> list[str]:
    """A text for every example, in their order, on every rank; each is written once, by one rank.

    A batch holds examples of about one length, and the batches are the same at any number of ranks. `decoding.max_tokens` is cut to what
    `model.max_positions` allows. Raises UserError for a picture that is none and a language that the model has no code for.
    """
    sequences = Sequences(loaded.tokenizer)
    for language in {example.target for example in examples} | {example.language for example in examples}:
        sequences.code(language)
    limit = loaded.config.data.caption_tokens

    def encoded(example: Example) -> list[int]:
        none = np.array([], np.int64)
        ids = none if example.text is None else sequences.caption(example.text, limit)
        row: list[int] = sequences.encoder_input(ids, example.language).tolist()
        return row

    inputs = [encoded(example) for example in examples]
    order = sorted(range(len(examples)), key=lambda place: (-len(inputs[place]), place))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    def work() -> dict[int, str]:
        written: dict[int, str] = {}
        with ranks.progress_bar(len(examples), what, 'text', progress) as bar:
            for batch in ranks.share(batches):
                texts = _write(loaded, [examples[place] for place in batch], [inputs[place] for place in batch], decoding)
                written |= zip(batch, texts, strict=True)
                bar.update(len(batch))
        return written

    return ranks.gather(work, len(examples))


def _write(loaded: Loaded, examples: list[Example], inputs: list[list[int]], decoding: Decoding) -> list[str]:
    ids = torch.tensor([token for row in inputs for token in row], device=loaded.device)
    texts = Texts(ids, torch.tensor([len(row) for row in inputs]))
    pictures = [(row, example.picture) for row, example in enumerate(examples) if example.picture is not None]
    images = picture_batch(loaded, [path for _, path in pictures]) if pictures else None
    rows = torch.tensor([row for row, _ in pictures])
    return write(loaded.model, loaded.tokenizer, texts, [example.target for example in examples], images, rows, decoding)
