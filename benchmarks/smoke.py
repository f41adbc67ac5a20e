#!/usr/bin/env python
"""Runs the benchmarks that no test runs at the smallest size that goes through all of their parts: `make bench-smoke` after `make demo`.

    python benchmarks/smoke.py [--demo runs/demo] [--out runs/smoke] [--only NAME …]

What they measure at that size says nothing. Each must end with its line of JSON and with code 0, or with 1 where the line says that the
figure is not within its bound. As many run beside each other as there are cores; what they print is in OUT/<name>.txt
and OUT/<name>.errors.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.parts.corpora import cores
from benchmarks.parts.stand_ins import write_evaluation
from shards.arguments import Parser
from shards.errors import UserError, run_command
from tests.support.launch import ROOT, TINY

Commands = dict[str, list[str]]  # by name, to be run one after the other


def commands(demo: Path, out: Path) -> list[Commands]:
    """The benchmarks with their sizes; the groups do not depend on each other. demo: what `make demo` made; out: where they write."""
    files = ['--shards', str(demo / 'shards'), '--tokenizer', str(demo / 'tokenizer')]
    raw, evaluation, pieces = 'sample/raw', str(out / 'evaluation'), ['--pieces', '8000']
    left = ['--out', str(out / 'left'), '--steps', '1', '--left-out', 'mt', '--set', *TINY]
    kills = ['--kills', '2', '--phases', 'save: `latest` not replaced', 'training']  # the first leaves a checkpoint to resume from
    input_size = ['--text-gib', '0.002', '--wit-rows', '400']
    # Tokenizer, shards and floors are made by the first of the three that runs.
    learning = ['--raw', raw, '--evaluation', evaluation, '--out', str(out / 'learned'), *pieces]
    learning += ['--contenders', 'open_clip', 'ours', '--minutes', '0.02', '--batch', '32', '--probe', '3', '--set', *TINY]
    tuned = ['--ranks', '1', '--tune', 'finetune.epochs=1', 'batch.global=8', 'batch.micro=8', 'data.workers=0']
    results = ['--out', str(out / 'learned'), *pieces, '--steps', '2', '--seeds', '0', *tuned, '--set', *TINY]
    ablation = ['--left-out', 'cmcl', *results]  # whose settings stay
    folders = [f'CORPORA={raw}', f'EVALUATION={evaluation}']
    return [
        {
            'learning': ['python', 'benchmarks/learning.py', *learning],
            'results': ['make', 'bench-pretrain', *folders, f'ARGS={shlex.join(results)}'],
            'ablation': ['make', 'bench-ablation', *folders, f'ARGS={shlex.join(ablation)}'],
        },
        {'chaos': ['python', 'benchmarks/chaos.py', *files, *kills]},
        {'leave_one_out': ['python', 'benchmarks/leave_one_out.py', *files, *left]},
        {'data': ['python', '-m', 'benchmarks.data', '--rounds', '1', '--scale', '0.01', *files[2:]]},
        {'bf16_band': ['python', 'benchmarks/bf16_band.py', *files, '--steps', '4', '--window', '2']},
        {'memory': ['python', 'benchmarks/memory.py', '--dir', str(out / 'memory'), *input_size, *files[2:]]},
        {'plan_memory': ['python', 'benchmarks/plan_memory.py', '--configuration', '3']},
    ]


def judge(code: int, printed: str) -> dict[str, Any]:
    """The line of JSON that a benchmark ended with. Raises ValueError that says what is wrong with its end."""
    last = (printed.strip().splitlines() or ['nothing'])[-1]
    try:
        line = json.loads(last)
    except ValueError:
        line = None
    if not isinstance(line, dict) or not {'benchmark', 'ratio', 'ours', 'peer'} <= line.keys():
        raise ValueError(f'ended with code {code} and not with a line of JSON that compares, but with: {last[:200]}')
    if not isinstance(line['ratio'], int | float):
        raise ValueError(f'ratio {line["ratio"]!r} is no number')
    if code != 0 and not (code == 1 and line.get('within') is False):
        raise ValueError(f'ended with code {code}, though it compared')
    return line


def run(name: str, command: list[str], out: Path) -> bool:
    """Run a benchmark to its end and say how it ended. True when that is as it should be."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ.get("PATH", "")}'  # this environment's, activated or not
    # Without what a `make` above hands down: the one that is started would name its folder around what it prints, and take DEMO_OUT over.
    inherited = {name: value for name, value in os.environ.items() if name not in ('MAKEFLAGS', 'MAKEOVERRIDES', 'MAKELEVEL', 'MFLAGS')}
    environment = {**inherited, 'PATH': path, 'OMP_NUM_THREADS': '1'}
    places, began = [out / f'{name}.txt', out / f'{name}.errors.txt'], time.monotonic()
    with places[0].open('w') as printed, places[1].open('w') as errors:
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=printed, stderr=errors, check=False).returncode
    texts = [place.read_text(encoding='utf8') for place in places]
    taken = f'{name:14} {time.monotonic() - began:4.0f} s'
    try:
        line = judge(code, texts[0])
    except ValueError as error:
        tail = [line for text in texts for line in text.splitlines()[-20:]]
        print(f'{taken}  FAILED: it {error}\n$ {shlex.join(command)}', *(f'    {line}' for line in tail), sep='\n', flush=True)
        return False
    print(f'{taken}  code {code}, ratio {line["ratio"]:.3f}', flush=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--demo', type=Path, default=Path('runs/demo'), help='folder of `make demo`; default: %(default)s')
    parser.add_argument('--out', type=Path, default=Path('runs/smoke'), help='a folder that is not there yet; default: %(default)s')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='only these')
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    for needed in (options.demo / 'shards', options.demo / 'tokenizer'):
        if not needed.exists():
            raise UserError(f'{needed} is not here; make it with `make demo DEMO_OUT={options.demo}`')
    if options.out.exists():
        raise UserError(f'{options.out} is there already, and what is in it would not be run again; delete it, or name another with --out')
    groups = commands(options.demo, options.out)
    known = [name for group in groups for name in group]
    for name in options.only or ():
        if name not in known:
            parser.error(f'--only {name} is none of {" ".join(known)}')
    options.out.mkdir(parents=True)
    write_evaluation(options.out / 'evaluation')

    def run_group(group: Commands) -> list[str]:
        """The names of those that failed."""
        asked = {name: command for name, command in group.items() if options.only is None or name in options.only}
        return [name for name, command in asked.items() if not run(name, command, options.out)]

    with ThreadPoolExecutor(cores()) as beside:
        failed = [name for names in beside.map(run_group, groups) for name in names]
    if failed:
        print(f'error: {", ".join(failed)} failed; all that they printed is in {options.out}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(run_command(main))
