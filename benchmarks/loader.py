#!/usr/bin/env python
"""How fast batches come from shards: all eight tasks, masks included, against streaming's own data set and loader on the same shards.

    python benchmarks/loader.py [--shards runs/demo/shards] [--tokenizer runs/demo/tokenizer] [--workers N] [key=value …]

The peer (benchmarks/peers/streaming_loader.py) has a StreamingDataset and a StreamingDataLoader of each task; they run one after the other,
each with as many workers as ours has for all tasks. Both deliver as many samples of each task, of the same streams in the same shares.
Also printed: pictures of `cmcl` against bare decode, crop and resize of the same bytes from memory, the fastest call known here.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import simplejpeg
import torch
from PIL import Image

from benchmarks.peers import streaming_loader
from pretrain.config import Config, load_config
from pretrain.data.loader import StepBatches, StepLoader
from shards.arguments import Parser
from shards.errors import run_command
from shards.tokenizer import MODEL, Tokenizer

ROOT = Path(__file__).resolve().parents[1]


def ours(dataset: StepBatches, config: Config) -> Iterator[int]:
    """Samples of each step that our loader delivers."""
    for _, data in StepLoader(config, dataset):
        yield sum(len(batch) for batches in data.values() for batch in batches)


def peers(dataset: StepBatches, config: Config) -> dict[str, Any]:
    """A loader of each task, whose batches are as large as ours."""
    found = {}
    for task, order in dataset.orders.items():
        total = sum(source.weight for source in order.sources)
        folders = [(Path(str(source.stream.folder)), source.weight / total) for source in order.sources]
        model, side = Path(config.data.tokenizer) / MODEL, config.model.visual.image_size
        options = (config.batch.size(task), model, side, config.data.augment_min_scale, config.data.caption_tokens)
        found[task] = streaming_loader.TaskDataset(task, folders, *options)
    return {task: streaming_loader.loader(data, config.batch.size(task), config.data.workers) for task, data in found.items()}


def rate(batches: Iterator[int], steps: int) -> float:
    """Samples a second after the first step, in which processes start and shards are opened."""
    next(batches)
    began, samples = time.perf_counter(), 0
    for _ in range(steps):
        samples += next(batches)
    return samples / (time.perf_counter() - began)


def endless(loader: Any, size: int) -> Iterator[int]:
    """Samples of each batch, epoch after epoch."""
    while True:
        for batch in loader:
            assert len(batch['text']) == size
            yield size


def bare(dataset: StepBatches, config: Config) -> float:
    """Pictures a second of decode, crop and resize alone, of the bytes that cmcl's first global batches have."""
    size, scale = config.model.visual.image_size, config.data.augment_min_scale
    raw = [located.stream.record(located.record)['image'] for step in range(4) for located in dataset.orders['cmcl'].batch(step)]
    began = time.perf_counter()
    for image in raw:
        least = round(size / math.sqrt(scale))
        try:
            pixels = Image.fromarray(simplejpeg.decode_jpeg(image, 'RGB', min_height=least, min_width=least))
        except ValueError:  # no JPEG, or one in CMYK
            pixels = Image.open(io.BytesIO(image)).convert('RGB')
        side = min(pixels.size) * math.sqrt(scale)
        crop = pixels.resize((size, size), Image.Resampling.BILINEAR, box=(0, 0, side, side), reducing_gap=2.0)
        torch.from_numpy(np.asarray(crop).transpose(2, 0, 1).copy())
    return len(raw) / (time.perf_counter() - began)


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shards', default='runs/demo/shards', help='shards of all five corpora, e.g. of `make demo`')
    parser.add_argument('--tokenizer', default='runs/demo/tokenizer', help='their tokenizer')
    parser.add_argument('--workers', type=int, default=1, help='loader processes, 0: none; default 1')
    parser.add_argument('--steps', type=int, default=20, help='steps that are timed in a round; default 20')
    parser.add_argument('--rounds', type=int, default=3, help='of each, in turn; the medians are compared; default 3')
    parser.add_argument('settings', nargs='*', metavar='key=value', help='settings that replace those of configs/sample.yaml')
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    files = [f'data.shards={options.shards}', f'data.tokenizer={options.tokenizer}', f'data.workers={options.workers}']
    config = load_config(ROOT / 'configs/sample.yaml', [*files, f'steps={options.steps + 1}', *options.settings])
    tokenizer = Tokenizer.load(config.data.tokenizer)
    dataset = StepBatches(config, tokenizer, 0, 1)
    loaders = peers(dataset, config)
    sizes = {task: config.batch.size(task) for task in config.tasks}
    rates: dict[str, list[float]] = {'ours': [], 'peer': []}
    for _ in range(options.rounds):
        rates['ours'].append(rate(ours(dataset, config), options.steps))
        seconds = {task: sizes[task] / rate(endless(loaders[task], sizes[task]), options.steps) for task in config.tasks}
        rates['peer'].append(sum(sizes.values()) / sum(seconds.values()))
        print(f'samples/s: ours {rates["ours"][-1]:,.0f}  peer {rates["peer"][-1]:,.0f}  (peer, ms a batch: '
              f'{"  ".join(f"{task} {1e3 * value:.1f}" for task, value in seconds.items())})', flush=True)  # fmt: skip
    alone = load_config(ROOT / 'configs/sample.yaml', [*files, 'tasks=[cmcl]', f'steps={options.steps + 1}', *options.settings])
    pictures = StepBatches(alone, tokenizer, 0, 1)
    decode = [(rate(ours(pictures, alone), options.steps), bare(pictures, alone)) for _ in range(options.rounds)]
    mine, bound = (median(values) for values in zip(*decode, strict=True))
    print(f'cmcl: {mine:,.0f} pictures/s, bare decode, crop and resize {bound:,.0f}: {mine / bound:.2f}')
    fast, slow = median(rates['ours']), median(rates['peer'])
    print(json.dumps({
        'benchmark': 'loader', 'ratio': round(fast / slow, 3), 'ours': round(fast), 'peer': round(slow), 'workers': options.workers,
        'pictures': {'ratio': round(mine / bound, 3), 'ours': round(mine), 'peer': round(bound)},
        'what': 'samples/s of all tasks, peer: StreamingDataset and StreamingDataLoader of each task; pictures: cmcl against bare decode',
    }))  # fmt: skip


if __name__ == '__main__':
    sys.exit(run_command(main))
