#!/usr/bin/env python
"""Weak scaling of ZeRO-2: two ranks of one thread each against one rank of one thread, with as many samples a rank.

    python benchmarks/scaling.py --bf16

The step and the sizes are those of benchmarks/step.py. Timed are steps in which every rank has batches of the same lengths, so that none
waits for another's longer texts; as many in which each has lengths of its own; and as many, of equal lengths again, of which the first
begins a checkpoint: training stands still for it, and it is written beside the others. Each run is new processes; one rank, two ranks, and
two runs of one rank at the same time, which no training of two ranks can surpass on the same cores, alternate. Ends with one JSON line:
`ratio` is the samples a second of two ranks by twice those of one, with equal lengths; `unequal` the same with unequal ones, and
`with_checkpoint` that of two ranks that save beside the steps by one rank that does not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.parts.step_arguments import MODES, parser
from benchmarks.parts.step_batches import make_config, of_rank, step_data
from pretrain.config import TASKS
from pretrain.data.packing import StepData
from pretrain.engine.distributed import init_distributed, local_device
from pretrain.engine.host import attention_kernel, keep_memory
from pretrain.engine.saver import Saver
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from shards.errors import run_command
from tests.support.distributed import run_distributed


def measure(folder: str, a: argparse.Namespace) -> torch.Tensor:
    """On each rank; rank 0's seconds of a step: with equal lengths, with unequal ones, with equal ones when the first of the steps begins a
    checkpoint; then those of its stall; and parameters.
    """
    init_distributed()
    torch.set_num_threads(1)
    device = local_device()
    keep_memory(device)
    world = torch.distributed.get_world_size()
    with attention_kernel(device):
        config = make_config(a, folder, world)
        engine = Engine(UniX2(config.model, a.vocab), config, None)
        engine.module.train()
        saver = Saver(engine, Path(folder) / 'checkpoints', config, {})

        def steps(batches: Iterator[StepData], begin: Callable[[], object] = lambda: None) -> float:
            """Mean seconds of so many steps."""
            every = list(islice(batches, a.steps))
            torch.distributed.barrier()
            began = time.perf_counter()
            begin()
            for number, data in enumerate(every):
                assert train_step(engine, config, data, number, 1e-4)
            return (time.perf_counter() - began) / a.steps

        equal = drawn(a, engine.rank, equal=True)
        assert train_step(engine, config, next(equal), 0, 1e-4)
        plain = steps(equal)
        # One rank has the batches of both, one after the other: the mean work of the two.
        unequal = mean(steps(drawn(a, rank, equal=False)) for rank in ([engine.rank] if world > 1 else [0, 1]))
        beside = steps(equal, lambda: saver.save(1, {}))
        saved = saver.ended(wait=True)
        assert saved is not None and saved.problem is None, saved
    parameters = sum(parameter.numel() for parameter in engine.module.parameters())
    return torch.tensor([plain, unequal, beside, saved.stall, parameters], dtype=torch.float64)


def drawn(a: argparse.Namespace, rank: int, equal: bool) -> Iterator[StepData]:
    """A rank's batches, step by step; `equal`: all ranks have the same lengths."""
    generator = torch.Generator().manual_seed(1 if equal else 2 + rank)
    while True:
        yield of_rank(step_data(generator, a), rank)


def started(ranks: int, a: argparse.Namespace) -> list[float]:
    with tempfile.TemporaryDirectory(prefix='scaling-') as folder:
        found: list[float] = run_distributed(measure, ranks, Path(folder), folder, a).tolist()
        return found


def main() -> int:
    arguments = parser(__doc__, threads=False)
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.add_argument('--share-images', action='store_true', help='the tasks have their pictures in common (mixture.share_images)')
    arguments.add_argument('--runs', type=int, default=3, help='processes of each, alternating')
    a = arguments.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    found: dict[str, list[list[float]]] = {'one': [], 'two': [], 'apart': []}
    for number in range(a.runs):
        found['one'].append(started(1, a))
        found['two'].append(started(2, a))
        with ThreadPoolExecutor(2) as both:
            found['apart'] += both.map(lambda ranks: started(ranks, a), (1, 1))
        said = '  '.join(f'{name} {results[-1][0]:.3f}' for name, results in found.items())
        print(f'run {number + 1}/{a.runs}, seconds a step: {said}', flush=True)
    plain, unequal, beside, stall, parameters = (
        {name: median(result[i] for result in results) for name, results in found.items()} for i in range(5)
    )
    rate = len(TASKS) * a.batch  # samples of a rank and step
    ratio, uneven, saving = plain['one'] / plain['two'], unequal['one'] / unequal['two'], plain['one'] / beside['two']
    bound = plain['one'] / plain['apart']
    print(f'{parameters["one"]:,.0f} parameters, {a.batch} samples of each task a rank; medians of {a.runs} runs of {a.steps} steps')
    print(f'a step: one rank {plain["one"]:.3f} s, two {plain["two"]:.3f} s: {ratio:.3f}; two runs that have nothing in common {bound:.3f}')
    print(f'lengths of its own on each rank: one {unequal["one"]:.3f} s, two {unequal["two"]:.3f} s: {uneven:.3f}')
    print(f'two ranks with a checkpoint in {a.steps} steps: {beside["two"]:.3f} s: {saving:.3f}; stall {stall["two"]:.3f} s')
    print(json.dumps({
        'benchmark': 'scaling', 'ratio': round(ratio, 3),
        'ours': round(2 * rate / plain['two'], 2), 'peer': round(2 * rate / plain['one'], 2),
        'unequal': round(uneven, 3), 'with_checkpoint': round(saving, 3), 'apart': round(bound, 3),
        'seconds': rounded(plain), 'seconds_unequal': rounded(unequal), 'seconds_saving': rounded(beside), 'stall': round(stall['two'], 4),
        'what': 'weak scaling: samples/s of two ranks of one thread by twice those of one (peer); apart: of two runs of one rank at once',
        'mode': MODES[not a.apart],
        'precision': 'bf16' if a.bf16 else 'fp32', 'batch': a.batch, 'vocab': a.vocab, 'steps': a.steps, 'runs': a.runs,
    }))  # fmt: skip
    return 0


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in seconds.items()}


if __name__ == '__main__':
    from benchmarks import scaling  # the ranks look for `measure` in a module of that name, not in `__main__`

    sys.exit(run_command(scaling.main))
