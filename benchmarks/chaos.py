#!/usr/bin/env python
"""Kills a run N times, in every phase of its life, lets it resume each time, and compares it with one that was left alone.

    python benchmarks/chaos.py --shards runs/demo/shards --tokenizer runs/demo/tokenizer [--kills N] [--seed N]
                               [--launcher torchrun|deepspeed] [--phases PHASE …]

Two ranks, ZeRO-2, bf16, loader processes, a tiny model. Half of the kills hit a save, at a file operation chosen by tests/fault/crash.cpp.
A kill counts when it is seen that it happened, and where it should. After each every checkpoint that is there must be whole. The end must
be that of the unbroken run, bit by bit. What the runs left is deleted when that is so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pretrain.engine.checkpoint import LATEST, check, checkpoints
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from shards.arguments import Parser
from shards.errors import run_command
from tests.support.launch import ROOT, Started, command, deepspeed, reproducible, steps, torchrun

FATAL = 'crash.cpp: SIGKILL at'  # its last words
EVERY = 3  # steps between checkpoints
SETTINGS = [f'checkpoint.every={EVERY}', 'checkpoint.keep=2', 'eval.every=10', 'eval.samples=64', 'data.workers=1', 'watchdog.hang=300']

# Phases of a save, by the file operation at which the processes are killed: (call, part of the path).
SAVE = {
    'save: staging folder not made yet': ('mkdir', '.staging-'),
    'save: weights half written': ('write', '.staging-'),
    'save: weights of rank 0 not synced': ('fsync', 'weights-00000'),
    'save: weights of rank 1 not synced': ('fsync', 'weights-00001'),
    'save: state half written': ('write', 'state.json'),
    'save: state not synced': ('fsync', 'state.json'),
    'save: whole, not renamed': ('rename', '.staging-'),
    'save: renamed, not published': ('open', '.latest'),
    'save: `latest` not replaced': ('rename', '.latest'),
    'save: older one not retired': ('rename', '.old-'),
    'save: older one half deleted': ('unlink', '.old-'),
}


class Chaos:
    """The run that is killed."""

    def __init__(self, start: Callable[..., Started], out: Path, library: Path, seed: int):
        self.start, self.out, self.library, self.random = start, out, library, random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.redone = 0

    def kill_in(self, phase: str) -> None:
        """Start, kill in that phase, check what is left."""
        reached = steps(self.out)
        if phase in SAVE:
            call, path = SAVE[phase]
            run = self.start(LD_PRELOAD=str(self.library), CRASH_CALL=call, CRASH_PATH=path)
            code = run.end()
            # A run that ended otherwise (by an error, say) was not killed in a save.
            assert code and f'{FATAL} {call} ' in run.log.read_text(), run.log.read_text()
        else:
            run = self.start()
            getattr(self, phase.replace(' ', '_'))(run, reached)
        self.killed[phase] += 1
        print(f'{sum(self.killed.values()):3} {phase:38} at step {steps(self.out)}, {self.verify()}', flush=True)

    def verify(self) -> str:
        """Every checkpoint that is there is whole, and `latest` names one."""
        folder = self.out / 'checkpoints'
        left = checkpoints(folder) if folder.is_dir() else []
        problems = [problem for path in left if (problem := check(path))]
        assert not problems, problems
        if (folder / LATEST).exists():
            assert check(folder / (folder / LATEST).read_text().strip()) is None
        newest = int(left[-1].name.partition('-')[2]) if left else 0
        self.redone += max(0, steps(self.out) - newest)
        return f'newest checkpoint {newest}'

    def kill(self, run: Started) -> None:
        """SIGKILL to all of a run that is alive and well."""
        log = run.log.read_text()
        assert run.process.poll() is None and 'Traceback' not in log, log
        run.kill()
        assert run.end() == -signal.SIGKILL

    # Phases outside a save, by name. Each returns when the run has ended, and fails when it ended in another way.

    def starting(self, run: Started, reached: int) -> None:
        time.sleep(self.random.uniform(1, 8))
        self.kill(run)

    def training(self, run: Started, reached: int) -> None:
        goal = reached + self.random.randint(1, 5)
        run.wait_for(lambda: steps(self.out) >= goal)
        time.sleep(self.random.uniform(0, 0.3))
        self.kill(run)

    def evaluation(self, run: Started, reached: int) -> None:
        run.wait_for(lambda: steps(self.out) >= reached // 10 * 10 + 10)
        self.kill(run)

    def one_rank(self, run: Started, reached: int) -> None:
        run.wait_for(lambda: steps(self.out) > reached)
        os.kill(self.random.choice(run.ranks()), signal.SIGKILL)
        assert run.end() != 0, run.log.read_text()

    def loader_process(self, run: Started, reached: int) -> None:
        run.wait_for(lambda: steps(self.out) > reached and bool(run.loaders()))
        os.kill(self.random.choice(run.loaders()), signal.SIGKILL)
        run.wait_for(lambda: 'a loader process was killed' in run.log.read_text())
        self.kill(run)

    def signal(self, run: Started, reached: int) -> None:
        run.wait_for(lambda: steps(self.out) > reached)
        number = self.random.choice([signal.SIGTERM, signal.SIGUSR1])
        os.kill(self.random.choice(run.ranks()), number)
        run.end()
        assert read_lines(self.out / EVENTS)[-1].get('code') == 128 + number, run.log.read_text()

    def launcher(self, run: Started, reached: int) -> None:
        run.wait_for(lambda: steps(self.out) > reached)
        run.process.kill()
        assert run.end() == -signal.SIGKILL


def finish(run: Started) -> None:
    """Wait for a run that nobody kills."""
    code = run.end()
    assert code == 0, run.log.read_text()


PHASES = ['starting', 'training', 'evaluation', 'one rank', 'loader process', 'signal', 'launcher']


def main() -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shards', type=Path, required=True, help='shards of all five corpora, e.g. of `make demo`')
    parser.add_argument('--tokenizer', type=Path, required=True, help='their tokenizer')
    parser.add_argument('--kills', type=int, default=24, help='default 24: about ten minutes')
    parser.add_argument('--seed', type=int, default=0, help='of the moments of the kills')
    parser.add_argument('--phases', nargs='+', choices=[*SAVE, *PHASES], metavar='PHASE', help='only these, in turn; default: all')
    parser.add_argument('--launcher', choices=['torchrun', 'deepspeed'], default='deepspeed')
    options = parser.parse_args()
    if options.kills < 1:
        parser.error('--kills must be 1 or more')
    folder = Path(tempfile.mkdtemp(prefix='chaos-'))
    print(f'runs in {folder}', flush=True)
    library = folder / 'crash.so'
    subprocess.run(['g++', '-shared', '-fPIC', '-o', str(library), str(ROOT / 'tests/fault/crash.cpp'), '-ldl'], check=True)
    launcher = {'torchrun': torchrun, 'deepspeed': deepspeed}[options.launcher]
    data = [f'data.shards={options.shards.resolve()}', f'data.tokenizer={options.tokenizer.resolve()}']

    def starter(name: str, until: int) -> Callable[..., Started]:
        (folder / name).mkdir(exist_ok=True)
        return lambda **variables: Started(
            command(launcher(2), folder, folder / name / 'run', *data, *SETTINGS, f'steps={until}'), folder / name, **variables
        )

    broken = folder / 'broken/run'
    chaos = Chaos(starter('broken', 100_000), broken, library, options.seed)
    began = time.monotonic()
    saves, others = list(SAVE), PHASES
    for number in range(options.kills):
        phase = saves[number // 2 % len(saves)] if number % 2 == 0 else others[number // 2 % len(others)]
        chaos.kill_in(options.phases[number % len(options.phases)] if options.phases else phase)
    until = max(steps(broken) + EVERY, 10)
    finish(starter('broken', until)())
    seconds = time.monotonic() - began

    began = time.monotonic()
    finish(starter('whole', until)())
    alone = time.monotonic() - began
    whole = folder / 'whole/run'
    same = [[reproducible(line) for line in read_lines(out / METRICS)] for out in (broken, whole)]
    assert same[0] == same[1], 'losses, rates, norms or samples differ'
    evaluations = [{line['step']: line for line in read_lines(out / EVALUATION)} for out in (broken, whole)]
    assert evaluations[0] == evaluations[1], 'evaluations differ'
    resumed = [line['event'] for line in read_lines(broken / EVENTS) if line['event'] in ('start', 'resume')]

    kills = sum(chaos.killed.values())
    in_saves = sum(count for phase, count in chaos.killed.items() if phase in SAVE)
    print('\nkills  phase')
    for phase, count in chaos.killed.items():
        print(f'{count:5}  {phase}')
    starts, resumes = resumed.count('start'), resumed.count('resume')
    print(f'{kills} kills, {in_saves} of them in a save; {starts} starts from nothing and {resumes} resumes; all survived')
    print(f'{until} steps, the same bits as in a run without kills: {len(same[0])} lines of metrics, {len(evaluations[0])} evaluations')
    lost = (seconds - alone) / kills
    print(f'lost: {chaos.redone / kills:.1f} steps done again a kill, {lost:.1f} s a kill (mostly starting anew)')
    what = 'seconds to the last step; ours: killed, peer: left alone'
    print(json.dumps({
        'benchmark': 'chaos', 'ratio': seconds / alone, 'ours': seconds, 'peer': alone, 'kills': kills, 'in_saves': in_saves,
        'steps_redone': chaos.redone, 'what': what,
    }))  # fmt: skip
    shutil.rmtree(folder)
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
