#!/usr/bin/env python
"""Our side of benchmarks/step.py, in a process of its own: the same batches as the peer's, through the real engine. Prints one JSON line.

Not to be run by hand but for a profile: `python benchmarks/parts/step_ours.py --bf16 --profile`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.parts.step_arguments import parser  # noqa: E402
from pretrain.config import TASKS, Batch, Config, Data, Model, Optimizer, Visual  # noqa: E402
from pretrain.config.tasks import Mixture  # noqa: E402
from pretrain.data.batch import TaskBatch, Texts  # noqa: E402
from pretrain.data.packing import StepData  # noqa: E402
from pretrain.engine.distributed import init_distributed, local_device  # noqa: E402
from pretrain.engine.host import attention_kernel, keep_memory  # noqa: E402
from pretrain.engine.step import train_step  # noqa: E402
from pretrain.engine.zero import Engine  # noqa: E402
from pretrain.model.unix2 import UniX2  # noqa: E402
from shards.errors import run_command  # noqa: E402

IMAGE = ('cmcl', 'itm', 'mlm', 'vplm', 'mmmt')
PREFIX = ('plm', 'vplm')


def rows(generator: torch.Generator, a: argparse.Namespace, length: int, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """The peer's `texts`: padded ids and mask, from the same draws."""
    lengths = (length * (0.25 + 0.75 * torch.rand(a.batch, generator=generator))).long()
    if share < 1:
        lengths = torch.where(torch.rand(a.batch, generator=generator) < 0.5, (share * lengths).long(), torch.zeros_like(lengths)) + 3
    lengths = lengths.clamp(3, length)
    width = int(lengths.max())
    ids = torch.randint(10, a.vocab, (a.batch, width), generator=generator)
    return ids, torch.arange(width)[None] < lengths[:, None]


def task_batch(generator: torch.Generator, a: argparse.Namespace, task: str) -> TaskBatch:
    """The peer's `batch`, from the same draws, as one of ours."""
    length = a.caption if task in IMAGE else a.text
    ids, mask = rows(generator, a, length, 0.2 if task in PREFIX else 1.0)
    other_ids, other_mask = rows(generator, a, length)
    match = torch.randint(0, 2, (a.batch,), generator=generator).float()
    chosen = (torch.rand(ids.shape, generator=generator) <= 0.15) & mask
    text, other = Texts(ids[mask], mask.sum(1)), Texts(other_ids[other_mask], other_mask.sum(1))
    number = torch.arange(a.batch)
    batch = TaskBatch(task, number, ['en'] * a.batch, text, image_ids=number, text_ids=number, other_ids=number + a.batch)
    if task in IMAGE:
        pixels = torch.randn(a.batch, 3, a.image, a.image, generator=generator)
        batch.images, batch.image_rows = (pixels * 64 + 128).clamp(0, 255).to(torch.uint8), number
    if task == 'clcl':
        batch.other = other
    if task in ('plm', 'vplm', 'mt', 'mmmt'):
        shifted = torch.roll(other_ids, 1, 1)
        shifted[:, 0] = 2
        batch.decoder_input, batch.labels = Texts(shifted[other_mask], other.lengths), other.ids
    if task in ('mlm', 'mmmt'):
        batch.masked = chosen[mask].nonzero().squeeze(1)
        batch.masked_labels = text.ids[batch.masked]
    if task == 'itm':
        batch.match = match
    return batch


def step_data(generator: torch.Generator, a: argparse.Namespace) -> StepData:
    """The peer's batches of all tasks. With --share-images each row has, in every image-text task, the picture that it has in CMCL: as the
    loader gives them when every record has captions in two languages and MLM takes no texts.
    """
    data = {task: [task_batch(generator, a, task)] for task in TASKS}
    for task in IMAGE if a.share_images else ():
        data[task][0].images, data[task][0].image_keys = data['cmcl'][0].images, torch.arange(a.batch)
    return data


def batches_of(data: StepData) -> list[TaskBatch]:
    return [batch for batches in data.values() for batch in batches]


def tokens(batch: TaskBatch) -> int:
    """Real tokens, as the peer counts them."""
    parts = (batch.text, batch.other, batch.decoder_input)
    return sum(len(part.ids) for part in parts if part is not None)


def make_config(a: argparse.Namespace, out: str, ranks: int = 1) -> Config:
    """Of a run whose ranks have `a.batch` samples of a task each."""
    visual = Visual(
        name='vit_base_patch16_224', image_size=a.image,
        options={'embed_dim': a.vit_dim, 'depth': a.vit_layers, 'num_heads': a.vit_heads, 'patch_size': a.patch},
    )  # fmt: skip
    model = Model(
        visual=visual, dim=a.dim, heads=a.heads, ffn=4 * a.dim, text_layers=a.layers, cross_layers=a.layers, decoder_layers=a.layers,
        max_positions=512, dropout=0.1, projection=256,
    )  # fmt: skip
    batch = Batch(**{'global': ranks * a.batch}, micro=a.batch, together=True)
    precision: Any = 'bf16' if a.bf16 else 'fp32'
    optimizer, mixture = Optimizer(lr=1e-4, warmup=0), Mixture(share_images=a.share_images)
    return Config(out=out, precision=precision, model=model, data=Data(workers=0), mixture=mixture, batch=batch, optimizer=optimizer)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--profile', action='store_true', help='also print where the time of one step goes')
    arguments.add_argument('--share-images', action='store_true', help='the tasks have their pictures in common (mixture.share_images)')
    a = arguments.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    init_distributed()
    device = local_device()
    keep_memory(device)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as out, attention_kernel(device):
        config = make_config(a, out)
        engine = Engine(UniX2(config.model, a.vocab), config, None)
        engine.module.train()
        generator = torch.Generator().manual_seed(1)
        times, counts = [], []
        for step in range(a.steps + 1):
            data = step_data(generator, a)
            counts.append(sum(map(tokens, batches_of(data))))
            began = time.perf_counter()
            result = train_step(engine, config, data, step, 1e-4)
            assert result is not None  # no `point` asks to stop
            loss = result.total
            if step:
                times.append(time.perf_counter() - began)
        with FlopCounterMode(display=False) as counter:
            train_step(engine, config, data, a.steps + 1, 1e-4)
        if a.profile:
            profile(engine, config, step_data(generator, a))
    seconds = statistics.median(times)
    pictures = [batch.images for batch in batches_of(data) if batch.images is not None]
    print(json.dumps({
        'step_s': round(seconds, 4),
        'samples_per_s': round(len(TASKS) * a.batch / seconds, 2),
        'tokens': round(statistics.mean(counts)),
        'pictures': sum(map(len, pictures)),
        'distinct_pictures': len({image.numpy().tobytes() for images in pictures for image in images}),
        'tasks': list(data),
        'dropout': config.model.dropout,
        'peak_rss_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        'parameters': sum(parameter.numel() for parameter in engine.module.parameters()),
        'threads': torch.get_num_threads(),
        'bf16': a.bf16,
        'loss': loss,
        'gflop': round(counter.get_total_flops() / 1e9, 1),
        'gemm_gflop_per_s': round(gemm_peak(torch.bfloat16 if a.bf16 else torch.float32) / 1e9, 1),
    }))  # fmt: skip
    torch.distributed.destroy_process_group()
    return 0


def gemm_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a matrix product of a good size, the best of ten."""
    x, y = torch.randn(4096, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(x, y)
        seconds.append(time.perf_counter() - began)
    return 2 * x.numel() * len(y) / min(seconds)


def profile(engine: Engine, config: Config, data: dict[str, list[TaskBatch]]) -> None:
    """PyTorch's profile of one step, on stderr."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        train_step(engine, config, data, 0, 1e-4)
    print(found.key_averages().table(sort_by='self_cpu_time_total', row_limit=30, max_name_column_width=60), file=sys.stderr)


if __name__ == '__main__':
    sys.exit(run_command(main))
