#!/usr/bin/env python
"""How fast batches come from shards: all eight tasks, masks included, against streaming's own data set and loader on the same shards.

    python benchmarks/loader.py [--shards runs/demo/shards] [--tokenizer runs/demo/tokenizer] [--workers N] [key=value …]

The peer (benchmarks/peers/streaming_loader.py) has a StreamingDataset and a StreamingDataLoader of each task; they run one after the other,
each with as many workers as ours has for all tasks. Both deliver as many samples of each task, of the same streams in the same shares,
and all that is timed of the peer lies within one of its epochs, however few records there are.
Also printed: pictures of `cmcl` against bare decode, crop and resize of the same bytes from memory, the fastest call known here; of these
shards, and of shards of photographs of 512 x 384 pixels that are built for it, at the paper's 224 pixels. And with --run DIR the share of
its time that a training run waited for data, which must be less than 1 % of the steps'.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import tempfile
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

from benchmarks.parts.photographs import photographs, tars
from benchmarks.peers import streaming_loader
from data_pipeline.build import build
from data_pipeline.job import Job
from data_pipeline.settings import Settings
from pretrain.config import Config, load_config
from pretrain.data.loader import StepBatches, StepLoader
from pretrain.records import METRICS, read_lines
from shards.arguments import Parser
from shards.errors import UserError, run_command
from shards.tokenizer import MODEL, Tokenizer

ROOT = Path(__file__).resolve().parents[1]


def ours(dataset: StepBatches, config: Config) -> Iterator[int]:
    """Samples of each step that our loader delivers."""
    for _, data in StepLoader(config, dataset):
        yield sum(len(batch) for batches in data.values() for batch in batches)


def peers(dataset: StepBatches, config: Config) -> dict[str, Any]:
    """A loader of each task, whose batches are as large as ours. An epoch has as many of them as a round, so that none begins within it."""
    found = {}
    for task, order in dataset.orders.items():
        total = sum(source.weight for source in order.sources)
        folders = [(Path(str(source.stream.folder)), source.weight / total) for source in order.sources]
        model, side = Path(config.data.tokenizer) / MODEL, config.model.visual.image_size
        batch = config.batch.size(task)
        options = (batch, batch * config.steps, model, side, config.data.augment_min_scale, config.data.caption_tokens)
        found[task] = streaming_loader.TaskDataset(task, folders, *options)
    return {task: streaming_loader.loader(data, config.batch.size(task), config.data.workers) for task, data in found.items()}


def rate(batches: Iterator[int], steps: int) -> float:
    """Samples a second after the first step, in which processes start and shards are opened."""
    next(batches)
    began, samples = time.perf_counter(), 0
    for _ in range(steps):
        samples += next(batches)
    return samples / (time.perf_counter() - began)


def theirs(loader: Any, size: int) -> Iterator[int]:
    """Samples of each batch of one epoch."""
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
        side = min(pixels.size) * math.sqrt((1 + scale) / 2)  # of the mean area of ours
        crop = pixels.resize((size, size), Image.Resampling.BILINEAR, box=(0, 0, side, side), reducing_gap=2.0)
        torch.from_numpy(np.asarray(crop).transpose(2, 0, 1).copy())
    return len(raw) / (time.perf_counter() - began)


def against_bare(config: Config, tokenizer: Tokenizer, options: argparse.Namespace) -> dict[str, float]:
    """Pictures a second of `cmcl`, its captions included, and of `bare`; the medians of the rounds."""
    dataset = StepBatches(config, tokenizer, 0, 1)
    rates = [(rate(ours(dataset, config), options.steps), bare(dataset, config)) for _ in range(options.rounds)]
    mine, bound = (median(values) for values in zip(*rates, strict=True))
    size = config.model.visual.image_size
    print(f'cmcl, {size} pixels: {mine:,.0f} pictures/s, bare decode, crop and resize {bound:,.0f}: {mine / bound:.2f}', flush=True)
    return {'ratio': round(mine / bound, 3), 'ours': round(mine), 'peer': round(bound), 'size': size}


def waited(run: Path) -> dict[str, float]:
    """Share of the steps' time that a run waited for data, on the rank that waited longest, first step included. Raises UserError without
    metrics."""
    if not (lines := read_lines(run / METRICS)):
        raise UserError(f'{run / METRICS} has no steps; --run takes the folder of a training run')
    seconds = sum(line['seconds'] for line in lines)
    share = sum(line['seconds'] * line['data_wait'] for line in lines) / seconds
    print(f'{run}: {share:.2%} of {seconds:,.0f} s in {len(lines)} steps waited for data', flush=True)
    return {'share': round(share, 5), 'seconds': round(seconds), 'steps': len(lines)}


def build_photographs(folder: Path, number: int) -> Path:
    """Shards of cc3m alone, of so many photographs."""
    raw = folder / 'cc3m'
    (raw / 'images').mkdir(parents=True)
    tars(raw / 'images', list(photographs(24, 512, 384, 90)), number, 2)
    build(Job('cc3m', raw, folder / 'shards', Settings()), 1, 0, 1)
    return folder / 'shards'


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shards', default='runs/demo/shards', help='shards of all five corpora, e.g. of `make demo`')
    parser.add_argument('--tokenizer', default='runs/demo/tokenizer', help='their tokenizer')
    parser.add_argument('--workers', type=int, default=1, help='loader processes, 0: none; default 1')
    parser.add_argument('--steps', type=int, default=20, help='steps that are timed in a round; default 20')
    parser.add_argument('--rounds', type=int, default=3, help='of each, in turn; the medians are compared; default 3')
    parser.add_argument('--photographs', type=int, default=2000, help='photographs that are built for the last comparison; default 2000')
    parser.add_argument('--run', type=Path, metavar='DIR', help='also tell how long this run waited for data, e.g. runs/demo/run')
    parser.add_argument('settings', nargs='*', metavar='key=value', help='settings that replace those of configs/sample.yaml')
    options = parser.parse_args(arguments)
    wait = None if options.run is None else waited(options.run)
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
        seconds = {task: sizes[task] / rate(theirs(loaders[task], sizes[task]), options.steps) for task in config.tasks}
        rates['peer'].append(sum(sizes.values()) / sum(seconds.values()))
        print(f'samples/s: ours {rates["ours"][-1]:,.0f}  peer {rates["peer"][-1]:,.0f}  (peer, ms a batch: '
              f'{"  ".join(f"{task} {1e3 * value:.1f}" for task, value in seconds.items())})', flush=True)  # fmt: skip
    cmcl = ['tasks=[cmcl]', f'steps={options.steps + 1}', *options.settings]
    pictures = [against_bare(load_config(ROOT / 'configs/sample.yaml', [*files, *cmcl]), tokenizer, options)]
    with tempfile.TemporaryDirectory() as name:
        large = [f'data.shards={build_photographs(Path(name), options.photographs)}', 'data.pictures=[cc3m]', 'model.visual.image_size=224']
        pictures.append(against_bare(load_config(ROOT / 'configs/sample.yaml', [*files, *cmcl, *large]), tokenizer, options))
    fast, slow = median(rates['ours']), median(rates['peer'])
    print(json.dumps({
        'benchmark': 'loader', 'ratio': round(fast / slow, 3), 'ours': round(fast), 'peer': round(slow), 'workers': options.workers,
        'pictures': pictures, 'data_wait': wait,
        'what': 'samples/s of all tasks, peer: StreamingDataset and StreamingDataLoader of each task; pictures: cmcl against bare decode',
    }))  # fmt: skip


if __name__ == '__main__':
    sys.exit(run_command(main))
