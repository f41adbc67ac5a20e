"""The loader that a competent user writes first: streaming's own StreamingDataset and StreamingDataLoader, one of each for a task, with Pillow,
torchvision's RandomResizedCrop, sentencepiece, and a collate function that pads.

It delivers what `pretrain/data` does (the same columns of the same records, masks, prefixes, negatives of ITM), by plain code.
"""
from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from PIL import Image
from streaming import Stream, StreamingDataLoader, StreamingDataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.transforms.v2 import Compose, PILToTensor, RandomResizedCrop

BOS, PAD, EOS, MASK = 0, 1, 2, 8026
IGNORED = -100


class TaskDataset(StreamingDataset):
    """Examples of one task, in streaming's own shuffled order; `epoch` samples an epoch, of more records or of fewer."""

    def __init__(
        self, task: str, folders: Sequence[tuple[Path, float]], batch: int, epoch: int, model: Path, side: int, min_scale: float, longest: int
    ) -> None:
        streams = [Stream(local=str(folder), proportion=share) for folder, share in folders]
        super().__init__(streams=streams, epoch_size=epoch, shuffle=True, batch_size=batch)
        self.task, self.model, self.longest = task, str(model), longest
        self.sp: Any = None
        self.transform = Compose([RandomResizedCrop(side, scale=(min_scale, 1), ratio=(0.95, 1.05), antialias=True), PILToTensor()])

    def __getitem__(self, index: Any) -> Any:
        record = super().__getitem__(index)
        return record if isinstance(record, list) else self.example(record)

    def example(self, record: dict[str, Any]) -> dict[str, Tensor]:
        """Tensors of a record."""
        match self.task:
            case 'cmcl':
                return {'text': self.ids(*self.caption(record)), 'image': self.image(record)}
            case 'itm':
                match = random.random() < 0.5
                other = record if match else super().__getitem__(random.randrange(self.size))
                return {'text': self.ids(*self.caption(other)), 'image': self.image(record), 'match': torch.tensor(match)}
            case 'mlm':
                image = {'image': self.image(record)} if 'image' in record else {}
                ids = self.ids(*self.caption(record)) if 'image' in record else self.given(record['ids'])
                return {**self.masked(ids, 0.15), **image}
            case 'plm':
                return self.split(self.given(record['ids']))
            case 'vplm':
                return {**self.split(self.ids(*self.caption(record))), 'image': self.image(record)}
            case 'mmmt':
                first, second = random.sample(sorted(record['captions']), 2) if len(record['captions']) > 1 else [*record['captions']] * 2
                source, target = (self.ids(random.choice(record['captions'][language]), language) for language in (first, second))
                return {**self.masked(source, 0.15), 'decoder': target[:-1], 'target': target[1:], 'image': self.image(record)}
            case 'clcl':
                return {'text': self.given(record['source_ids']), 'other': self.given(record['target_ids'])}
            case 'mt':
                target = self.given(record['target_ids'])
                return {'text': self.given(record['source_ids']), 'decoder': target[:-1], 'target': target[1:]}
        raise KeyError(self.task)

    def caption(self, record: dict[str, Any]) -> tuple[str, str]:
        language = random.choice(list(record['captions']))
        return random.choice(record['captions'][language]), language

    def ids(self, text: str, language: str) -> Tensor:
        if self.sp is None:
            self.sp = sentencepiece.SentencePieceProcessor(model_file=self.model)
        return self.given([piece + 1 for piece in self.sp.encode(text)])

    def given(self, ids: Any) -> Tensor:
        return torch.tensor([BOS, *list(ids)[: self.longest - 3], EOS, PAD])

    def image(self, record: dict[str, Any]) -> Tensor:
        with Image.open(io.BytesIO(record['image'])) as image:
            pixels: Tensor = self.transform(image.convert('RGB'))
        return pixels

    def masked(self, ids: Tensor, share: float) -> dict[str, Tensor]:
        chosen = torch.rand(len(ids)) < share
        return {'text': ids.masked_fill(chosen, MASK), 'masked': ids.masked_fill(~chosen, IGNORED)}

    def split(self, ids: Tensor) -> dict[str, Tensor]:
        prefix = random.randrange(len(ids) // 2 + 1) if random.random() < 0.5 else 0
        return {'text': ids[: prefix + 2], 'decoder': ids[prefix:-1], 'target': ids[prefix + 1 :]}


def collate(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Padded rows of every field."""
    batch: dict[str, Tensor] = {}
    for name in dict.fromkeys(name for example in examples for name in example):
        rows = [example[name] for example in examples if name in example]
        if name in ('image', 'match'):
            batch[name] = torch.stack(rows)
        else:
            batch[name] = pad_sequence(rows, True, IGNORED if name in ('masked', 'target') else PAD)
    return batch


def loader(dataset: TaskDataset, batch: int, workers: int) -> StreamingDataLoader:
    """Batches of a task; drops the last, smaller one."""
    return StreamingDataLoader(dataset, batch_size=batch, num_workers=workers, collate_fn=collate, drop_last=True, persistent_workers=workers > 0)
