"""open_clip's own CLIP and ClipLoss on our shards, trained for a given time: what its user would write for one machine without a GPU.

Pictures and captions come from streams of MDS shards, all held in memory; a record is drawn once an epoch, its language and caption by chance.
open_clip's own training transform, AdamW with open_clip's defaults and its exclusions from weight decay, the learning rate warmed up, then a
cosine over the time. Writes images.npy, texts.<language>.npy of the evaluated split and trained.json.

    python benchmarks/peers/open_clip_trainer.py --streams DIR… --sentencepiece MODEL --data MULTI30K --minutes 15 --out OUT
"""
from __future__ import annotations

import argparse
import gzip
import io
import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import sentencepiece
import torch
from PIL import Image
from streaming import StreamingDataset
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

SPLIT = 'test_2016_flickr'


class Pieces:
    """sentencepiece in the shape that open_clip's CLIP reads: start, pieces, end (the largest id: the text is read at its argmax), zeros."""

    def __init__(self, model: Path, length: int) -> None:
        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
        self.length, self.start, self.end = length, self.sp.vocab_size(), self.sp.vocab_size() + 1

    def __call__(self, text: str) -> Tensor:
        ids = torch.zeros(self.length, dtype=torch.long)
        pieces = [self.start, *self.sp.encode(text)[: self.length - 2], self.end]
        ids[: len(pieces)] = torch.tensor(pieces)
        return ids


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Every record of the streams in memory: its picture decoded once, its captions encoded once."""

    def __init__(self, streams: list[Path], pieces: Pieces, transform: Any, side: int) -> None:
        self.transform = transform
        self.images: list[Image.Image] = []
        self.texts: list[list[list[Tensor]]] = []  # record, language, caption
        for folder in streams:
            for record in StreamingDataset(local=str(folder), shuffle=False, batch_size=1):
                image = Image.open(io.BytesIO(record['image'])).convert('RGB')
                image.thumbnail((2 * side, 2 * side))
                self.images.append(image)
                self.texts.append([[pieces(text) for text in texts] for texts in record['captions'].values()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), random.choice(random.choice(self.texts[index]))


def parameter_groups(model: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """As open_clip_train: gains, biases and the temperature are not decayed."""
    named = list(model.named_parameters())
    free = [parameter for name, parameter in named if parameter.ndim < 2 or 'bn' in name or 'ln' in name or 'logit_scale' in name]
    rest = [parameter for _, parameter in named if all(parameter is not other for other in free)]
    return [{'params': free, 'weight_decay': 0.0}, {'params': rest, 'weight_decay': decay}]


def train(model: Any, loader: DataLoader[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Train until the time is over, one step at least. Returns what trained.json holds."""
    loss_of = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(parameter_groups(model, options.weight_decay), lr=options.lr, betas=(0.9, 0.98), eps=1e-6)
    began, seconds, step, losses = time.monotonic(), options.minutes * 60, 0, []
    model.train()
    while True:
        for images, texts in loader:
            progress = min(1.0, (time.monotonic() - began) / seconds)
            if progress == 1 and step:
                spent = time.monotonic() - began
                return {'steps': step, 'seconds': spent, 'samples': step * options.batch, 'loss': sum(losses[-50:]) / len(losses[-50:])}
            rate = options.lr * min(1.0, progress / options.warmup) * 0.5 * (1 + math.cos(math.pi * progress))
            for group in optimizer.param_groups:
                group['lr'] = rate
            with torch.autocast('cpu', torch.bfloat16, enabled=options.precision == 'bf16'):
                image_features, text_features, scale = model(images, texts)
            loss = loss_of(image_features.float(), text_features.float(), scale)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            losses.append(loss.item())
            step += 1
            if step % 20 == 0:
                print(f'step {step}  loss {sum(losses[-20:]) / 20:.3f}  {progress:.0%} of the time', flush=True)


@torch.no_grad()
def embed(model: Any, data: Path, transform: Any, pieces: Pieces, out: Path) -> None:
    """Unit vectors of the split's pictures and of its captions in every language that it has."""
    model.eval()
    task = data / 'data/task1'
    names = [line.split('#')[0] for line in (task / f'image_splits/{SPLIT}.txt').read_text(encoding='utf8').split()]
    images = torch.stack([transform(Image.open(data / 'images' / name).convert('RGB')) for name in names])
    np.save(out / 'images.npy', F.normalize(model.encode_image(images), dim=-1).numpy())
    for path in sorted((task / 'raw').glob(f'{SPLIT}.*.gz')):
        texts = torch.stack([pieces(line) for line in gzip.open(path, 'rt', encoding='utf8').read().split('\n')[:-1]])
        np.save(out / f'texts.{path.name.split(".")[1]}.npy', F.normalize(model.encode_text(texts), dim=-1).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--streams', type=Path, nargs='+', required=True)
    parser.add_argument('--sentencepiece', type=Path, required=True)
    parser.add_argument('--data', type=Path, nargs='+', required=True, help='folders laid out as multi30k/dataset')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=float, default=15)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--side', type=int, default=64)
    parser.add_argument('--patch', type=int, default=16)
    parser.add_argument('--width', type=int, default=192)
    parser.add_argument('--image-layers', type=int, default=4)
    parser.add_argument('--text-layers', type=int, default=2)
    parser.add_argument('--length', type=int, default=32, help='of a text, start and end included')
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--weight-decay', type=float, default=0.2)
    parser.add_argument('--warmup', type=float, default=0.05, help='share of the time')
    parser.add_argument('--min-scale', type=float, default=0.5, help="smallest share of a picture that open_clip's random crop keeps")
    parser.add_argument('--precision', choices=['bf16', 'fp32'], default='bf16')
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random.seed(options.seed)

    pieces = Pieces(options.sentencepiece, options.length)
    vision = {'image_size': options.side, 'patch_size': options.patch, 'width': options.width, 'layers': options.image_layers, 'head_width': 64}
    text = {
        'context_length': options.length, 'vocab_size': pieces.end + 1, 'width': options.width, 'heads': options.width // 64,
        'layers': options.text_layers,
    }  # fmt: skip
    model = open_clip.CLIP(options.width, vision, text)
    constants = {'mean': open_clip.OPENAI_DATASET_MEAN, 'std': open_clip.OPENAI_DATASET_STD}
    augmented = open_clip.image_transform(options.side, is_train=True, aug_cfg={'scale': (options.min_scale, 1.0)}, **constants)
    plain = open_clip.image_transform(options.side, is_train=False, **constants)
    pairs = Pairs(options.streams, pieces, augmented, options.side)
    if len(pairs) < options.batch:
        sys.exit(f'error: {len(pairs)} records are less than a batch of {options.batch}; lower --batch')
    loader = DataLoader(pairs, options.batch, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f'open_clip {open_clip.__version__}: {parameters:,} parameters, {len(pairs):,} records', flush=True)
    trained = train(model, loader, options)
    for data in options.data:
        out = options.out / data.name
        out.mkdir(parents=True, exist_ok=True)
        embed(model, data, plain, pieces, out)
    told = {**trained, 'records': len(pairs), 'parameters': parameters, 'open_clip': open_clip.__version__}
    settings = {name: value for name, value in vars(options).items() if not isinstance(value, (Path, list))}
    (options.out / 'trained.json').write_text(json.dumps({**told, 'settings': settings}, indent=1) + '\n')
    print(f'{told["steps"]} steps, {told["samples"]:,} samples, {told["seconds"]:.0f} s, loss {told["loss"]:.3f}')


if __name__ == '__main__':
    main()
