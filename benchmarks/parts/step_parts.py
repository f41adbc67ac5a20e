#!/usr/bin/env python
"""Where the time of our side of benchmarks/step.py goes, in a process of its own, or in several ranks under torchrun. Prints one JSON line.

The step is timed by parts (benchmarks/parts/part_times.py) with one task after the other, where each task has its own, and with all tasks
together; and as often without, to say what the timing itself costs. The batches are made up by one process of the real loader while the
steps run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.parts.corpora import cores
from benchmarks.parts.gemm import gemm_peak
from benchmarks.parts.part_times import PARTS, STEP, WAIT, PartTimes, collectives, parts
from benchmarks.parts.step_arguments import MODES, parser
from benchmarks.parts.step_batches import MadeUp, make_config
from pretrain.config import Config, Data
from pretrain.data.loader import StepLoader
from pretrain.data.packing import StepData
from pretrain.engine.distributed import init_distributed, launched_world, local_device
from pretrain.engine.flops import Flops
from pretrain.engine.forwards import TOGETHER
from pretrain.engine.host import attention_kernel, keep_memory
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from shards.errors import run_command

TOGETHER_OF = {'apart': False, 'together': True}  # mode -> batch.together
ALL = 'all'


def measure(a: argparse.Namespace, out: str) -> dict[str, Any]:
    """Of this rank, by mode: seconds of a step and of every part of every task in it, FLOP that the samples of each task need."""
    torch.set_num_threads(max(1, (a.threads or cores()) // launched_world()))
    device = local_device()
    times = PartTimes(device)
    with collectives(times), attention_kernel(device):
        init_distributed()
        keep_memory(device)
        torch.manual_seed(0)
        world = torch.distributed.get_world_size()
        config = make_config(a, out, world)
        config = config.model_copy(update={'steps': 1 + 2 * a.steps, 'data': Data(workers=1)})
        engine = Engine(UniX2(config.model, a.vocab), config, None)
        engine.module.train()
        found = {}
        for mode, together in TOGETHER_OF.items():
            batch = config.batch.model_copy(update={'together': together})
            found[mode] = timed_steps(a, engine, config.model_copy(update={'batch': batch}), times)
        torch.distributed.barrier()
        peak = gemm_peak(torch.bfloat16 if a.bf16 else torch.float32, device)
        return {'modes': found, 'gemm_gflop_per_s': peak / 1e9, 'threads': torch.get_num_threads(), 'ranks': world}


def timed_steps(a: argparse.Namespace, engine: Engine, config: Config, times: PartTimes) -> dict[str, Any]:
    """One step to warm up; then plain ones and those that are timed by parts, in turn.

    Every batch is there twice, once for each: a step whose sizes were met before is faster, so half of them come to the plain step first.
    """
    seconds: dict[bool, float] = {False: 0.0, True: 0.0}
    flops: Counter[str] = Counter()
    counted = Flops(engine.module)
    with StepLoader(config, MadeUp(a, engine.rank)) as loader:
        batches = iter(loader)

        def train(number: int) -> StepData:
            times.switch(WAIT)
            data = next(batches)[1]
            train_step(engine, config, data, number, 1e-4, point=times.point)
            return data

        train(0)
        for number in range(1, config.steps):
            again, batch = divmod(number - 1, a.steps)
            by_parts = (batch + again) % 2 == 1
            with parts(times, engine) if by_parts else nullcontext():
                began = time.perf_counter()
                with times.timed() if by_parts else nullcontext():
                    data = train(number)
                seconds[by_parts] += time.perf_counter() - began
            if by_parts:
                flops.update({task: counted.of(batches) for task, batches in data.items()})
    found: dict[str, dict[str, float]] = {}
    for (task, part), value in times.seconds().items():
        found.setdefault(task, dict.fromkeys(PARTS, 0.0))[part] = value / a.steps
    plain, timed = (seconds[by_parts] / a.steps for by_parts in (False, True))
    return {'seconds': found, 'step_s': timed, 'plain_s': plain, 'gflop': {task: value / a.steps / 1e9 for task, value in flops.items()}}


def table(found: dict[str, Any]) -> str:
    """What `main` printed, for people: a row a task and what the step does for all of them, in percent of the step."""
    peak = found['gemm_gflop_per_s']
    lines = [f'ours by part, in percent of a step, forward and backward; {found["ranks"]} rank(s) of {found["threads"]} thread(s); '
             f'utilisation: GFLOP that the samples need, of {peak:.0f} a second of one large matrix product']  # fmt: skip
    columns = [max(len(part), 6) for part in PARTS]
    head = '  '.join(f'{part:>{width}}' for part, width in zip(PARTS, columns, strict=True))
    for mode, together in TOGETHER_OF.items():
        timed = found['modes'][mode]
        own = timed['step_s'] / timed['plain_s'] - 1
        lines += ['', f'{MODES[together]}: {timed["step_s"]:.3f} s a step ({own:+.1%} against steps that are not timed by part)']
        lines += [f'{"":9}  {head}     all  utilisation']
        shares = shares_of(timed)
        for row, cells in shares.items():
            shown = '  '.join(percent(cells[part]).rjust(width) for part, width in zip(PARTS, columns, strict=True))
            share = sum(cells.values())
            flops = sum(timed['gflop'].values()) if row in (ALL, TOGETHER) else timed['gflop'].get(row)
            used = '' if flops is None else f'{flops / (share * timed["step_s"]) / peak:.2f}'
            lines.append(f'{row:9}  {shown}  {percent(share):>6}  {used:>11}')
    return '\n'.join(lines)


def percent(share: float) -> str:
    return f'{100 * share:.1f}' if share else ''


def shares_of(timed: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Row -> part -> share of the step; the last row is the sum of the others."""
    rows = {row: {part: seconds / timed['step_s'] for part, seconds in cells.items()} for row, cells in timed['seconds'].items()}
    rows[STEP] = rows.pop(STEP)  # behind the tasks
    return rows | {ALL: {part: sum(cells[part] for cells in rows.values()) for part in PARTS}}


def main() -> int:
    arguments = parser(__doc__)
    arguments.set_defaults(share_images=False)
    a = arguments.parse_args()
    with tempfile.TemporaryDirectory() as out:
        found = measure(a, out)
    if torch.distributed.get_rank() == 0:
        print(json.dumps(found))
    torch.distributed.destroy_process_group()
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
