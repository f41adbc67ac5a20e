"""How far bf16 training strays from fp32: the same run twice, the same samples, seed and initial weights, loss curves beside each other.

Trains a model smaller than that of configs/sample.yaml with `pretrain/run.py`, on the shards of `make demo`, fp32 and bf16 side by side.
The curves are means over windows of steps, since the losses of single steps differ from step to step by more than what is looked for. The
ratio is bf16's loss by fp32's, of the task and window where it is furthest from 1; it must stay in the band.

    python benchmarks/bf16_band.py [--shards runs/demo/shards] [--tokenizer runs/demo/tokenizer] [--steps 300]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrain.config import TASKS
from pretrain.records import METRICS, read_lines
from shards.arguments import Parser
from shards.errors import UserError, run_command

ROOT = Path(__file__).parents[1]
BAND = 0.02  # largest deviation of a window's loss from fp32's, relative
SETTINGS = [
    'model.visual={image_size: 32, options: {embed_dim: 64, depth: 2, num_heads: 2, patch_size: 8}}',
    'model.dim=64', 'model.heads=2', 'model.ffn=256', 'batch={global: 8, tasks: {cmcl: 32, clcl: 32}, micro: 32}',
    'eval.every=100000', 'eval.samples=2', 'eval.retrieval.data=null', 'checkpoint.every=100000', 'log.every=50', 'log.tensorboard=false',
]  # fmt: skip


def train(precision: str, out: Path, arguments: argparse.Namespace) -> dict[str, NDArray[np.float64]]:
    """Task -> loss of every step of a run."""
    data = [f'data.shards={arguments.shards}', f'data.tokenizer={arguments.tokenizer}', f'out={out}', f'steps={arguments.steps}']
    command = [sys.executable, str(ROOT / 'pretrain/run.py'), '--config', str(ROOT / 'configs/sample.yaml'), *SETTINGS, *data]
    done = subprocess.run([*command, f'precision={precision}'], env={**os.environ, 'OMP_NUM_THREADS': '1'}, check=False)
    if done.returncode:
        raise UserError(f'the {precision} run ended with code {done.returncode}; what it said is above')
    lines = read_lines(out / METRICS)
    return {task: np.array([line['loss'][task] for line in lines]) for task in TASKS}


def windows(losses: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Means of consecutive windows; steps that fill none are left out."""
    return losses[: len(losses) // size * size].reshape(-1, size).mean(1)


def compare(half: dict[str, NDArray[np.float64]], full: dict[str, NDArray[np.float64]], size: int) -> dict[str, NDArray[np.float64]]:
    """Task -> bf16's loss by fp32's, window by window."""
    return {task: windows(half[task], size) / windows(full[task], size) for task in full}


def report(ratios: dict[str, NDArray[np.float64]], band: float) -> dict[str, object]:
    """Prints the table; returns the JSON line."""
    print(f'{"task":6}  furthest from fp32  mean deviation  last window')
    for task, ratio in ratios.items():
        furthest = ratio[np.abs(ratio - 1).argmax()]
        print(f'{task:6}  {furthest - 1:+18.2%}  {np.abs(ratio - 1).mean():14.2%}  {ratio[-1] - 1:+11.2%}')
    task = max(ratios, key=lambda name: np.abs(ratios[name] - 1).max())
    worst = float(ratios[task][np.abs(ratios[task] - 1).argmax()])
    ours = 'loss in bf16, mean over a window of steps'
    return {
        'benchmark': 'bf16_band', 'ratio': worst, 'ours': ours, 'peer': 'the same in fp32', 'task': task, 'band': band,
        'within': abs(worst - 1) <= band,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog='benchmarks/bf16_band.py', description=(__doc__ or '').split('\n\n')[0])
    parser.add_argument('--shards', default='runs/demo/shards', help='shards of `make demo` (default: runs/demo/shards)')
    parser.add_argument('--tokenizer', default='runs/demo/tokenizer', help='their tokenizer (default: runs/demo/tokenizer)')
    parser.add_argument('--steps', type=int, default=300, help='updates of each run (default: 300)')
    parser.add_argument('--window', type=int, default=25, help='updates in a mean (default: 25)')
    parser.add_argument('--band', type=float, default=BAND, help=f'largest relative deviation that is allowed (default: {BAND})')
    options = parser.parse_args(arguments)
    if options.steps < options.window:
        raise UserError(f'--steps {options.steps} is less than one --window of {options.window}')
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as side_by_side:
        full, half = side_by_side.map(lambda precision: train(precision, Path(folder) / precision, options), ('fp32', 'bf16'))
    line = report(compare(half, full, options.window), options.band)
    print(json.dumps(line))
    return 0 if line['within'] else 1


if __name__ == '__main__':
    sys.exit(run_command(main))
