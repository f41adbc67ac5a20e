#!/usr/bin/env python
"""Our side of benchmarks/step.py, in a process of its own: the same batches as the peer's, through the real engine. Prints one JSON line.

Not to be run by hand but for a profile: `python benchmarks/parts/step_ours.py --bf16 --profile`.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.parts.gemm import gemm_peak  # noqa: E402
from benchmarks.parts.step_arguments import parser  # noqa: E402
from benchmarks.parts.step_batches import batches_of, make_config, step_data, tokens  # noqa: E402
from pretrain.config import TASKS, Config  # noqa: E402
from pretrain.data.packing import StepData  # noqa: E402
from pretrain.engine.distributed import init_distributed, local_device  # noqa: E402
from pretrain.engine.host import attention_kernel, keep_memory  # noqa: E402
from pretrain.engine.step import train_step  # noqa: E402
from pretrain.engine.zero import Engine  # noqa: E402
from pretrain.model.unix2 import UniX2  # noqa: E402
from shards.errors import run_command  # noqa: E402


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
        times, counts, useful = [], [], []
        for step in range(a.steps + 1):
            data = step_data(generator, a)
            counts.append(sum(map(tokens, batches_of(data))))
            began = time.perf_counter()
            result = train_step(engine, config, data, step, 1e-4)
            assert result is not None  # no `point` asks to stop
            loss = result.total
            if step:
                times.append(time.perf_counter() - began)
                useful.append(result.flops)
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
        'together': config.batch.together,
        'gflop': round(statistics.mean(useful) / 1e9, 6),
        'executed': round(counter.get_total_flops() / useful[-1], 4),
        'gemm_gflop_per_s': round(gemm_peak(torch.bfloat16 if a.bf16 else torch.float32, device) / 1e9, 1),
    }))  # fmt: skip
    torch.distributed.destroy_process_group()
    return 0


def profile(engine: Engine, config: Config, data: StepData) -> None:
    """PyTorch's profile of one step, on stderr."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        train_step(engine, config, data, 0, 1e-4)
    print(found.key_averages().table(sort_by='self_cpu_time_total', row_limit=30, max_name_column_width=60), file=sys.stderr)


if __name__ == '__main__':
    sys.exit(run_command(main))
