"""Task batches: examples packed without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEEP, PICTURE, TEXT = 0, 1, 2  # values of `replace`


@dataclass
class Texts:
    """Rows of token ids, one after the other."""

    ids: Tensor  # (T,) int64
    lengths: Tensor  # (B,) int64; stays on the host, where layouts are made of it

    def to(self, device: torch.device | str) -> Texts:
        return Texts(self.ids.to(device, non_blocking=True), self.lengths)


@dataclass
class Example:
    """One sample of one task; fields that the task does not use are None."""

    sample_id: int
    language: str
    text: NDArray[np.int64]
    image: Tensor | None = None  # (3, H, W) uint8
    image_key: int | None = None  # of pictures that tasks share: the same for the same pixels
    other: NDArray[np.int64] | None = None
    decoder_input: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None
    masked: NDArray[np.int64] | None = None  # positions in `text`
    masked_labels: NDArray[np.int64] | None = None
    second: tuple[str, int] | None = None  # another language than `language`, and how many of the tokens are of it
    prefix: int | None = None  # T_p
    match: bool | None = None
    replace: int | None = None  # ITM with hard negatives: KEEP, or the side that is to be replaced
    classes: NDArray[np.float32] | None = None  # (labels,), fine-tuning: how true each class is
    image_id: int | None = None
    text_id: int | None = None
    other_id: int | None = None
    own_image_id: int | None = None  # ITM: of the record's picture, as image_id, ...
    own_text_ids: NDArray[np.int64] | None = None  # ... and of each of its captions, as text_id


@dataclass
class TaskBatch:
    """One micro-batch of B samples of one task; fields that the task does not use are None."""

    task: str
    sample_ids: Tensor  # (B,) int64, unique per (stream, record)
    languages: list[str]  # (B) for reports: language of the text; of the target for mt and mmmt
    text: Texts  # encoder input
    images: Tensor | None = None  # (Bi, 3, H, W) uint8
    image_rows: Tensor | None = None  # (Bi,) int64, the row of `text` that image i belongs to; stays on the host
    image_keys: Tensor | None = None  # (Bi,) int64, with mixture.share_images: equal for the same pixels within a step; stays on the host
    other: Texts | None = None  # clcl: the other side
    decoder_input: Texts | None = None  # plm vplm mt mmmt
    labels: Tensor | None = None  # (T_dec,) int64, aligned with decoder_input.ids; every position is a target
    masked: Tensor | None = None  # (M,) int64, positions in text.ids (mlm, mmmt)
    masked_labels: Tensor | None = None  # (M,) int64, what stood there
    prefix: Tensor | None = None  # (B,) int64, plm vplm: T_p
    match: Tensor | None = None  # (B,) float32, itm: 1 where picture and text belong together
    replace: Tensor | None = None  # (B,) int64, itm with hard negatives: KEEP, PICTURE or TEXT, what engine/hard_negatives.py replaces
    classes: Tensor | None = None  # (B, labels) float32, entailment answering: how true each class is
    image_ids: Tensor | None = None  # (B,) int64, cmcl itm: equal for the same picture
    text_ids: Tensor | None = None  # (B,) int64, cmcl clcl itm: equal for the same normalised text
    other_ids: Tensor | None = None  # (B,) int64, clcl: the same of `other`
    own_image_ids: Tensor | None = None  # (B,) int64, itm: the picture of the row's record, whatever replaces it in `images`, ...
    own_text_ids: Texts | None = None  # ... and all captions of that record
    tokens: dict[str, int] = field(default_factory=dict)  # language -> tokens that are encoded and written, special ones included

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def targets(self) -> int:
        """Number of loss terms: target tokens for generation and masked prediction, samples for matching and contrast."""
        if self.labels is None and self.masked is None:
            return len(self)
        return sum(len(part) for part in (self.labels, self.masked) if part is not None)

    def to(self, device: torch.device | str) -> TaskBatch:
        """The same batch on a device; asynchronous from pinned memory."""
        moved: dict[str, Any] = {}
        for name in (part.name for part in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Tensor) and name not in ('image_rows', 'image_keys'):
                moved[name] = value.to(device, non_blocking=True)
            elif isinstance(value, Texts):
                moved[name] = value.to(device)
        return replace(self, **moved)


def collate(task: str, examples: Sequence[Example]) -> TaskBatch:
    """Pack the examples of one micro-batch."""
    text = _texts([example.text for example in examples])
    with_image = [(row, example.image) for row, example in enumerate(examples) if example.image is not None]
    masked = None
    if examples[0].masked is not None:
        starts = np.cumsum([0] + [len(example.text) for example in examples])
        masked = _joined([start + example.masked for start, example in zip(starts, examples, strict=False) if example.masked is not None])
    return TaskBatch(
        task=task,
        sample_ids=torch.tensor([example.sample_id for example in examples]),
        languages=[example.language for example in examples],
        text=text,
        images=torch.stack([image for _, image in with_image]) if with_image else None,
        image_rows=torch.tensor([row for row, _ in with_image]) if with_image else None,
        image_keys=_numbers(examples, 'image_key', torch.int64),
        other=_texts(_present(examples, 'other')),
        decoder_input=_texts(_present(examples, 'decoder_input')),
        labels=_joined(_present(examples, 'labels')),
        masked=masked,
        masked_labels=_joined(_present(examples, 'masked_labels')),
        prefix=_numbers(examples, 'prefix', torch.int64),
        match=_numbers(examples, 'match', torch.float32),
        replace=_numbers(examples, 'replace', torch.int64),
        classes=torch.from_numpy(np.stack(classes)) if (classes := _present(examples, 'classes')) else None,
        image_ids=_numbers(examples, 'image_id', torch.int64),
        text_ids=_numbers(examples, 'text_id', torch.int64),
        other_ids=_numbers(examples, 'other_id', torch.int64),
        own_image_ids=_numbers(examples, 'own_image_id', torch.int64),
        own_text_ids=_texts(_present(examples, 'own_text_ids')),
        tokens=_tokens(examples),
    )


def _tokens(examples: Sequence[Example]) -> dict[str, int]:
    out: dict[str, int] = {}
    for example in examples:
        language, tokens = example.second or (example.language, 0)
        every = sum(len(ids) for ids in (example.text, example.other, example.labels) if ids is not None)
        out[language] = out.get(language, 0) + tokens
        out[example.language] = out.get(example.language, 0) + every - tokens
    return out


def _present(examples: Sequence[Example], name: str) -> list[Any]:
    return [value for example in examples if (value := getattr(example, name)) is not None]


def _texts(rows: list[NDArray[np.int64]]) -> Any:
    return Texts(torch.from_numpy(np.concatenate(rows)), torch.tensor([len(row) for row in rows])) if rows else None


def _joined(rows: list[NDArray[np.int64]]) -> Tensor | None:
    return torch.from_numpy(np.concatenate(rows)) if rows else None


def _numbers(examples: Sequence[Example], name: str, dtype: torch.dtype) -> Tensor | None:
    values = _present(examples, name)
    return torch.tensor(values, dtype=dtype) if values else None
