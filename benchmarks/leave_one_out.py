#!/usr/bin/env python
"""Whether every task truly trains: the demo's model with all eight tasks, and eight times more, each time without one of them.

    python benchmarks/leave_one_out.py [--shards runs/demo/shards] [--tokenizer runs/demo/tokenizer] [--steps 120] [--out DIR]
                                      [--left-out TASK …] [--set KEY=VALUE …]

Trains configs/sample.yaml as `make demo` does, on its shards: deepspeed's launcher, two processes, ZeRO-2, bf16. The samples of the tasks
that stay are the same ones in every run. Compared is each task's loss on held-out samples after training without it and with it; the ratio
is that of the task where it rises least. Started again, it continues with what is not done. Exit code 1 when one rises by less than 2 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from downstream.quickstart.steps import Step, Steps
from pretrain.config import TASKS
from pretrain.ports import free_port
from pretrain.records import EVALUATION, read_lines
from shards.arguments import Parser
from shards.errors import UserError, continues, run_command
from shards.tables import table

CONFIG = Path('configs/sample.yaml')
DS_CONFIG = Path('ds_configs/zero2.json')
ALL = 'all'
LEAST = 1.02  # a loss without its task, by that with it: less would be no measurable change


@continues()
def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shards', type=Path, default=Path('runs/demo/shards'), help='shards of `make demo`; default: %(default)s')
    parser.add_argument('--tokenizer', type=Path, default=Path('runs/demo/tokenizer'), help='their tokenizer; default: %(default)s')
    parser.add_argument('--steps', type=int, default=120, help='updates of each run; default: %(default)s')
    parser.add_argument('--left-out', nargs='+', choices=TASKS, default=TASKS, metavar='TASK', help='in turn; default: each of the eight')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--set', nargs='*', default=[], metavar='KEY=VALUE', help=f'settings beside {CONFIG}')
    parser.add_argument('--out', type=Path, default=Path('runs/leave_one_out'), help='default: %(default)s')
    options = parser.parse_args(arguments)
    for needed in (CONFIG, options.shards, options.tokenizer):
        if not needed.exists():
            raise UserError(f'{needed} is not here; start in the folder of the repository, after `make demo`')
    Steps(options.out).run([training(left_out, options) for left_out in (ALL, *options.left_out)])
    together = losses(options.out / ALL)
    line = report(losses(options.out / ALL, first=True), together, {task: losses(options.out / task)[task] for task in options.left_out})
    print(json.dumps(line))
    return 0 if line['within'] else 1


def training(left_out: str, options: argparse.Namespace) -> Step:
    """A run without one task, by the deepspeed launcher; every task's held-out loss is taken at its start and at its end."""
    run, kept = options.out / left_out, [task for task in TASKS if task != left_out]
    asked = [*options.set, f'out={run}', f'data.shards={options.shards}', f'data.tokenizer={options.tokenizer}', f'seed={options.seed}']
    asked += [f'steps={options.steps}', f'eval.every={options.steps}', f'checkpoint.every={options.steps}', 'eval.retrieval.data=null']
    asked += [f'tasks=[{", ".join(kept)}]', f'eval.tasks=[{", ".join(TASKS)}]']
    launch = ['deepspeed', '--num_accelerators', '2', 'pretrain/run.py', '--deepspeed', str(DS_CONFIG), '--config', str(CONFIG), *asked]
    title = 'all tasks' if left_out == ALL else f'without {left_out}'
    environment, own = {'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1'}, ['--quiet', '--master_port', str(free_port())]
    return Step(title, launch, run, [CONFIG, DS_CONFIG, options.tokenizer, options.shards], environment, own)


def losses(run: Path, first: bool = False) -> dict[str, float]:
    """Task -> held-out loss, mean over languages, at the end of a run or at its start."""
    line = read_lines(run / EVALUATION)[0 if first else -1]
    return {task: report['mean'] for task, report in line['heldout'].items()}


def report(before: dict[str, float], together: dict[str, float], without: dict[str, float]) -> dict[str, object]:
    """Prints the table; returns the JSON line. Each argument: task -> held-out loss."""
    ratios = {task: without[task] / together[task] for task in without}
    rows = [[task, *(f'{each[task]:.3f}' for each in (before, together, without)), f'{ratios[task]:.3f}'] for task in without]
    print(table(['task', 'before', 'with all tasks', 'without this one', 'ratio'], rows))
    least = min(ratios, key=lambda task: ratios[task])
    return {
        'benchmark': 'leave_one_out', 'ratio': ratios[least], 'ours': without[least], 'peer': together[least], 'task': least,
        'what': 'held-out loss of a task after training without it; peer: with all eight', 'ratios': ratios,
        'within': ratios[least] >= LEAST,
    }  # fmt: skip


if __name__ == '__main__':
    raise SystemExit(run_command(main))
