"""`pretrain plan`'s memory against the measured peak of a real training step, and its FLOPs against torch's counter on the real step.

    python benchmarks/plan_memory.py [--configuration N …]

Each configuration runs in processes of its own: the real engine and step on batches of the planned shape, on the CPU. The peak is that of
PyTorch's CPU allocator, from the profiler's record of every allocation since before the model was made.
The last line is JSON: `ratio` is the worst of planned / measured, whichever side it errs on. Exit code 1 when memory is further off than
15 %, or FLOPs than 2 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pretrain.ports import free_port
from shards.arguments import Parser
from shards.errors import run_command

ROOT = Path(__file__).parents[1]

WITHIN, FLOPS_WITHIN = 0.15, 0.02
VOCABULARY = 8_000
TINY = ['model.dim=64', 'model.heads=2', 'model.ffn=256']
WIDE = ['model.dim=384', 'model.heads=6', 'model.ffn=1536', 'model.text_layers=4', 'model.cross_layers=4', 'model.decoder_layers=4']
# Kernels of which the plan can trace a twin without memory.
PLAIN = ['kernels.attention=torch', 'kernels.dropout=torch']
BASE = [*PLAIN, 'model.max_positions=128', 'data.caption_tokens=32', 'data.text_tokens=64', 'batch.tasks={}', 'data.workers=0']
# What differs: width, depth, precision, micro-batches, ranks, recomputation, tasks, vocabulary; whether tasks run one by one, as in
# configs/paper.yaml, or together, as in the demo; whether they share pictures.
BF16, FP32, APART, SHARED = 'precision=bf16', 'precision=fp32', 'batch.together=false', 'mixture.share_images=true'
FEW = ['batch.global=4', 'batch.micro=2', 'tasks=[mt]']
CONFIGURATIONS: list[tuple[str, int, int, list[str]]] = [  # name, ranks, vocabulary, settings
    ('demo, bf16', 1, VOCABULARY, [BF16, 'batch.global=32', 'batch.micro=32']),
    ('demo, fp32', 1, VOCABULARY, [FP32, 'batch.global=32', 'batch.micro=32']),
    ('demo, 2 ranks', 2, VOCABULARY, [BF16, 'batch.global=64', 'batch.micro=32']),
    ('small, 4 micro-batches', 1, VOCABULARY, [*TINY, BF16, 'batch.global=64', 'batch.micro=16']),
    ('wide, bf16', 1, VOCABULARY, [*WIDE, BF16, 'batch.global=32', 'batch.micro=32']),
    ('wide, recomputed', 1, VOCABULARY, [*WIDE, BF16, 'batch.global=32', 'batch.micro=32', 'model.recompute=true']),
    ('large vocabulary', 1, 100_000, [BF16, 'batch.global=16', 'batch.micro=16']),
    ('contrast only, fp32', 1, VOCABULARY, [FP32, 'batch.global=128', 'batch.micro=64', 'tasks=[cmcl, clcl]']),
    ('apart, bf16', 1, VOCABULARY, [BF16, 'batch.global=32', 'batch.micro=32', APART]),
    ('apart, 2 ranks', 2, VOCABULARY, [BF16, 'batch.global=64', 'batch.micro=32', APART]),
    ('apart, 4 micro-batches', 1, VOCABULARY, [FP32, 'batch.global=64', 'batch.micro=16', APART]),
    ('apart, wide, recomputed', 1, VOCABULARY, [*WIDE, BF16, 'batch.global=32', 'batch.micro=32', APART, 'model.recompute=true']),
    ('apart, large vocabulary', 1, 100_000, [BF16, 'batch.global=16', 'batch.micro=16', APART]),
    ('shared pictures', 1, VOCABULARY, [BF16, 'batch.global=32', 'batch.micro=32', SHARED]),
    ('shared pictures, apart', 1, VOCABULARY, [BF16, 'batch.global=32', 'batch.micro=16', SHARED, APART]),
    ('reduction, bf16', 2, 20_000, [*TINY, BF16, *FEW]),
    ('reduction, fp32', 2, 20_000, [*TINY, FP32, *FEW]),
]
BUCKET = 200_000  # elements: of configurations whose highest moment is the reduction, done as on a GPU; the token table is larger


def configured(settings: list[str]) -> Any:
    from pretrain.config import load_config

    return load_config(ROOT / 'configs/sample.yaml', [*BASE, *settings])


def shape() -> Any:
    from pretrain.plan.batches import Lengths, Shape

    return Shape(Lengths(8, 32), Lengths(16, 64))


def ds_config(settings: list[str], folder: str) -> tuple[str | None, str]:
    """DeepSpeed's JSON, none for the shipped one, and the accelerator that it is resolved for."""
    if FEW[-1] not in settings:
        return None, 'cpu'
    from pretrain.engine.ds_config import DEFAULT

    raw = json.loads(DEFAULT.read_text(encoding='utf8'))
    raw['zero_optimization']['reduce_bucket_size'] = BUCKET
    path = Path(folder) / 'ds.json'
    path.write_text(json.dumps(raw), encoding='utf8')
    return str(path), 'cuda'


def planned(settings: list[str], world: int, vocabulary: int) -> dict[str, int]:
    """Bytes and FLOPs that the plan expects on a CPU."""
    from pretrain.engine.ds_config import resolve_ds_config
    from pretrain.plan.estimate import estimate

    config = configured(settings)
    with TemporaryDirectory() as folder:
        path, accelerator = ds_config(settings, folder)
        resolved = resolve_ds_config(path, config, world, accelerator)
    found = estimate(config, vocabulary, world, shape(), resolved, gpu=False)
    return {'bytes': found.memory.total, 'flops': found.flops}


def measured(settings: list[str], vocabulary: int) -> dict[str, int]:
    """Peak of the allocator in two real steps on this rank, and FLOPs of a third. The launcher's variables are set."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    from pretrain.engine import zero
    from pretrain.engine.distributed import init_distributed
    from pretrain.engine.host import attention_kernel
    from pretrain.engine.step import train_step
    from pretrain.model.unix2 import UniX2
    from pretrain.plan.batches import planned_batches

    config = configured(settings)
    init_distributed()
    data = {task: planned_batches(config, task, torch.distributed.get_world_size(), shape(), 'cpu') for task in config.tasks}
    # Without a GPU the profiler says so on stderr, each time.
    with attention_kernel(torch.device('cpu')), TemporaryDirectory() as folder:
        path, accelerator = ds_config(settings, folder)
        zero.accelerator_name = lambda: accelerator  # for which its JSON is resolved; a CPU's streams do nothing
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            engine = zero.Engine(UniX2(config.model, vocabulary), config, path)
            for step in (0, 1):
                train_step(engine, config, data, step, 1e-4)
        # torch's own counter, not the plan's; after the memory, as its hooks keep what is recomputed.
        with FlopCounterMode(display=False) as counter:
            train_step(engine, config, data, 2, 1e-4)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return {'bytes': peak, 'flops': counter.get_total_flops()}


def run(number: int) -> dict[str, Any]:
    """Plan and measure one configuration."""
    name, world, vocabulary, settings = CONFIGURATIONS[number]
    port = str(free_port())
    processes = []
    for rank in range(world):
        ranked = {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(world), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
        environment = {**os.environ, **ranked, 'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1'}
        command = [sys.executable, __file__, '--measure', str(number)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f'{name}: a measuring process failed; run `{" ".join(command)}` with RANK=0 WORLD_SIZE=1 to see why')
    found = [json.loads(output.strip().splitlines()[-1]) for output in outputs]
    real = {key: max(rank[key] for rank in found) for key in found[0]}
    plan = planned(settings, world, vocabulary)
    return {
        'name': name, 'planned': plan['bytes'], 'measured': real['bytes'], 'memory_ratio': plan['bytes'] / real['bytes'],
        'planned_flops': plan['flops'], 'counted_flops': real['flops'], 'flops_ratio': plan['flops'] / real['flops'],
    }  # fmt: skip


def main() -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--configuration', type=int, action='append', metavar='N', help='only this one, from 0; may be repeated')
    parser.add_argument('--measure', type=int, help=argparse.SUPPRESS)  # a process of one rank
    options = parser.parse_args()
    if options.measure is not None:
        _, _, vocabulary, settings = CONFIGURATIONS[options.measure]
        print(json.dumps(measured(settings, vocabulary)), flush=True)
        return 0
    numbers = options.configuration if options.configuration is not None else range(len(CONFIGURATIONS))
    if unknown := [number for number in numbers if number not in range(len(CONFIGURATIONS))]:
        parser.error(f'--configuration {unknown[0]} is none of 0 to {len(CONFIGURATIONS) - 1}')
    rows = []
    print(f'{"configuration":24s} {"planned":>9s} {"measured":>9s} {"ratio":>6s}   {"GFLOP":>8s} {"counted":>8s} {"ratio":>6s}')
    for number in numbers:
        row = run(number)
        rows.append(row)
        megabytes = [f'{row[key] / 1e6:6.0f} MB' for key in ('planned', 'measured')]
        print(
            f'{row["name"]:24s} {megabytes[0]} {megabytes[1]} {row["memory_ratio"]:6.3f}   '
            f'{row["planned_flops"] / 1e9:8.1f} {row["counted_flops"] / 1e9:8.1f} {row["flops_ratio"]:6.3f}', flush=True,
        )  # fmt: skip
    worst = max(rows, key=lambda row: abs(row['memory_ratio'] - 1))
    flops = max((row['flops_ratio'] for row in rows), key=lambda ratio: abs(ratio - 1))
    within = abs(worst['memory_ratio'] - 1) <= WITHIN and abs(flops - 1) <= FLOPS_WITHIN
    print(json.dumps({
        'benchmark': 'plan_memory', 'within': within, 'ratio': worst['memory_ratio'], 'ours': worst['planned'], 'peer': worst['measured'],
        'what': f'bytes that pretrain plan expects / peak of the CPU allocator, the worst of {len(rows)} configurations: {worst["name"]}',
        'flops_ratio': flops, 'configurations': rows,
    }))  # fmt: skip
    return 0 if within else 1


if __name__ == '__main__':
    sys.exit(run_command(main))
