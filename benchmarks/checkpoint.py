#!/usr/bin/env python
"""How long training stands still for a checkpoint: ours, which is written beside the training, against the same one when the training waits
for it, and against DeepSpeed's own `save_checkpoint`.

    python benchmarks/checkpoint.py [--ranks N] [--millions N] [--saves N] [--dir DIR]

ZeRO-2 in bf16. Also printed: the time until a checkpoint is durable (synced, read back, hashed, renamed, published), and how much slower
the steps are while it is being written. DeepSpeed's is neither synced nor hashed, and pickled. Exit code 1 when the stall is more than 15 %
of the time that training would wait. (A save that begins before the last one has ended waits for that, which is not in it.)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from pretrain.config import Config, Data, Model, Visual
from pretrain.engine.distributed import init_distributed
from pretrain.engine.saver import Saver
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from shards.arguments import Parser
from shards.errors import run_command
from tests.support.distributed import run_distributed
from tests.support.synthetic import rank_data

TASKS = ['mlm', 'mt']
MOST = 0.15  # what a checkpoint may hold training up for, of the time that it takes when it is waited for


def configuration(out: str) -> Config:
    visual = Visual(image_size=16, options={'embed_dim': 64, 'depth': 2, 'num_heads': 2, 'patch_size': 8})
    sizes = {'dim': 512, 'heads': 8, 'ffn': 2048, 'text_layers': 2, 'cross_layers': 2, 'decoder_layers': 2, 'max_positions': 64}
    return Config(out=out, precision='bf16', model=Model(visual=visual, **sizes), data=Data(caption_tokens=32, text_tokens=32))


def measure(folder: str, millions: int, saves: int) -> torch.Tensor:
    """On each rank; rank 0's seconds: synchronous, stall, durable, DeepSpeed's, a step alone, a step beside a save; and the bytes."""
    init_distributed()
    config = configuration(folder)
    rest = sum(parameter.numel() for parameter in UniX2(config.model, 64).parameters())
    engine = Engine(UniX2(config.model, max(64, (millions * 1_000_000 - rest) // config.model.dim)), config, None)
    data = rank_data(TASKS, engine.rank, engine.world, 8, count=32)

    def step(number: int) -> float:
        began = time.perf_counter()
        assert train_step(engine, config, data, number, 1e-4)
        return time.perf_counter() - began

    alone = median([step(number) for number in range(8)][3:])
    saver = Saver(engine, Path(folder) / 'ours', config, {})
    waited, stalls, durable, beside, theirs = [], [], [], [], []
    for save in range(1, saves + 1):
        torch.distributed.barrier()
        began = time.perf_counter()
        saver.save(2 * save, {})
        saver.ended(wait=True)
        waited.append(time.perf_counter() - began)

        torch.distributed.barrier()
        began = time.perf_counter()
        saver.save(2 * save + 1, {})
        stalls.append(time.perf_counter() - began)
        while (saved := saver.ended()) is None:
            beside.append(step(9))
        assert saved.problem is None, saved
        durable.append(saved.seconds)

        torch.distributed.barrier()
        began = time.perf_counter()
        engine._engine.save_checkpoint(str(Path(folder) / 'deepspeed'), tag='same')
        torch.distributed.barrier()
        theirs.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in (Path(folder) / f'ours/step-{2 * saves + 1:07d}').iterdir())
    return torch.tensor([*map(median, (waited, stalls, durable, theirs)), alone, median(beside), float(size)], dtype=torch.float64)


def main() -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--ranks', type=int, default=2, help='processes (default 2)')
    parser.add_argument('--millions', type=int, default=60, help='parameters, in millions (default 60)')
    parser.add_argument('--saves', type=int, default=5, help='saves of each kind, of which the median is taken (default 5)')
    parser.add_argument('--dir', default=None, help='where to write; default: a temporary folder')
    options = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    folder = Path(tempfile.mkdtemp(prefix='checkpoint-', dir=options.dir))
    try:
        seconds = run_distributed(measure, options.ranks, folder, str(folder), options.millions, options.saves)
    finally:
        shutil.rmtree(folder)
    waited, stall, durable, theirs, alone, beside, size = seconds.tolist()
    print(f'{options.ranks} ranks, {options.millions} M parameters, {size / 1e6:.0f} MB a checkpoint; medians of {options.saves} saves')
    print(f'training stands still     {stall:8.3f} s beside the training, {waited:.3f} s when it waits, {theirs:.3f} s for DeepSpeed')
    print(f'until it is durable       {durable:8.3f} s beside the training, {waited:.3f} s when it waits')
    print(f'a step                    {beside:8.3f} s beside a save, {alone:.3f} s alone')
    result = {
        'benchmark': 'checkpoint', 'ratio': stall / waited, 'ours': stall, 'peer': waited, 'durable': durable, 'deepspeed': theirs,
        'what': 'seconds that training stands still for a checkpoint; peer: the same checkpoint, waited for', 'bytes': int(size),
        'within': stall <= MOST * waited,
    }  # fmt: skip
    print(json.dumps(result))
    return 0 if result['within'] else 1


if __name__ == '__main__':
    from benchmarks import checkpoint  # the ranks look for `measure` in a module of that name, not in `__main__`

    sys.exit(run_command(checkpoint.main))
