#!/usr/bin/env python
"""The training step against the step that a competent user writes first: the same tasks, sizes, batches and threads, in one run.

    python benchmarks/step.py --bf16                               the peer's defaults, bf16
    python benchmarks/step.py                                      fp32
    python benchmarks/step.py --bf16 --vocab 250027 --batch 8      mBART's vocabulary
    python benchmarks/step.py --bf16 --parts                       also where ours spends its time; with --runs 0 only that

Each run is a process of its own; the peer's, ours, and ours with `mixture.share_images` alternate. Ours runs all tasks together
(`batch.together`), or with `--apart` one after the other. Before anything is timed, both must have the same batches, token by token, and
the same threads and dropout; with sharing on, as many pictures, of which the tasks have the same ones. Ends with one JSON line: `ratio` of
the medians of samples a second without sharing, what it compares, and `share_images`, the same ratio of ours with sharing to ours without.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from benchmarks.parts.peer_batches import PEER, Peer, check_batches  # noqa: E402
from benchmarks.parts.step_arguments import MODES, parser  # noqa: E402
from benchmarks.parts.step_parts import shares_of, table  # noqa: E402
from shards.errors import run_command  # noqa: E402

PEER_SHA256 = '78280457fe48fabfa8a57ea482c6aac308293f121af6a654d0f8dfe4c78ebd86'
OURS, PARTS = ROOT / 'benchmarks/parts/step_ours.py', ROOT / 'benchmarks/parts/step_parts.py'
PARTS_HELP = 'also time the parts of our step, in so many ranks that share the threads, one if not said; the ratio has its own processes'
EQUAL = ('tokens', 'pictures', 'threads', 'bf16')


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--runs', type=int, default=5, help='processes of each, alternating; 0 with --parts: only these')
    arguments.add_argument('--parts', type=int, nargs='?', const=1, default=0, metavar='RANKS', help=PARTS_HELP)
    a = arguments.parse_args()
    if a.runs < 1 and not a.parts:
        arguments.error(f'--runs {a.runs} leaves nothing to time; give at least 1, or --parts')
    digest = hashlib.sha256(PEER.read_bytes()).hexdigest()
    if digest != PEER_SHA256:
        print(f'error: {PEER.relative_to(ROOT)} has sha256 {digest}, not {PEER_SHA256}: it is to be taken over as it is', file=sys.stderr)
        return 2
    print(f'peer: {PEER.relative_to(ROOT)}, sha256 {digest}')
    flags, mode = flags_of(a), ['--apart'] * a.apart
    if not a.runs:
        print(json.dumps({'parts': run_parts(a, flags)}))
        return 0
    programs: dict[str, list[Path | str]] = {'peer': [PEER], 'ours': [OURS, *mode], 'shared': [OURS, *mode, '--share-images']}
    counts = compare_batches(a)
    print('equal, token by token: ' + ', '.join(f'{count:,} {name}' for name, count in counts.items()) + ' a step')
    peer, ours, shared = (run(program, [*flags, '--steps', '1']) for program in programs.values())
    for result in (ours, shared):
        same = check_equal(Peer(a), peer, result)
    print('equal: ' + ', '.join(same))
    print(f'parameters: peer {peer["parameters"]:,}, ours {ours["parameters"]:,}')
    print(f'distinct pictures a step: {ours["distinct_pictures"]}, shared {shared["distinct_pictures"]}')
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for number in range(a.runs):
        for name, program in programs.items():
            result = run(program, [*flags, '--steps', str(a.steps)])
            found[name].append(result)
            said = f'{result["samples_per_s"]:7.2f} samples/s  {result["peak_rss_mb"]} MB'
            print(f'run {number + 1}/{a.runs}  {name:6}  {said}', flush=True)
    report(a, found, run_parts(a, flags) if a.parts else None)
    return 0


def flags_of(a: argparse.Namespace) -> list[str]:
    """The peer's flags, but for --steps."""
    names = [name for name in vars(a) if name not in ('steps', 'runs', 'bf16', 'apart', 'parts')]
    values = [part for name in names for part in ('--' + name.replace('_', '-'), str(getattr(a, name)))]
    return values + ['--bf16'] * a.bf16


def run_parts(a: argparse.Namespace, flags: list[str]) -> dict[str, Any]:
    """Where our step spends its time; printed, and for the JSON line."""
    launcher: list[Path | str] = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(a.parts)] if a.parts > 1 else []
    found = run([*launcher, PARTS], [*flags, '--steps', str(a.steps)])
    print(table(found))
    modes = {mode: {'step_s': timed['step_s'], 'shares': shares_of(timed)} for mode, timed in found['modes'].items()}
    return {'ranks': found['ranks'], 'gemm_gflop_per_s': found['gemm_gflop_per_s'], **modes}


def run(program: list[Path | str], flags: list[str]) -> dict[str, Any]:
    """The JSON line that a process of `program`, a script and flags of its own, prints last."""
    environment = {**os.environ, 'DS_ACCELERATOR': 'cpu'}
    done = subprocess.run([sys.executable, *map(str, program), *flags], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare_batches(a: argparse.Namespace) -> dict[str, int]:
    """Tokens, targets and pictures of a step, where both programs compute on the same ones. Ends this one where they do not."""
    for shared in (True, False):
        try:
            counts = check_batches(argparse.Namespace(**vars(a), share_images=shared), Peer(a))
        except ValueError as error:
            raise SystemExit(f'error: {error} between the peer and ours') from None
    return counts


def check_equal(model: Peer, peer: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """What the two processes have in common, in words. Ends the program where they would not do the same work."""
    same = {name: (peer[name], ours[name]) for name in EQUAL}
    same |= {
        'tasks': (model.tasks, ours['tasks']),
        'dropout': (model.dropout, {**dict.fromkeys(model.dropout, 0), 'dropout': ours['dropout']}),
    }
    for name, (theirs, own) in same.items():
        if theirs != own:
            raise SystemExit(f'error: {name} differ: the peer has {theirs}, ours {own}')
    said = {name: own for name, (_, own) in same.items()} | {'tasks': ' '.join(ours['tasks']), 'dropout': ours['dropout']}
    return [f'{name} {value}' for name, value in said.items()]


def report(a: argparse.Namespace, found: dict[str, list[dict[str, Any]]], parts: dict[str, Any] | None) -> None:
    speed = {name: statistics.median(result['samples_per_s'] for result in results) for name, results in found.items()}
    memory = {name: max(result['peak_rss_mb'] for result in results) for name, results in found.items()}
    print(f'samples/s, median of {a.runs}: ours {speed["ours"]:.2f}, peer {speed["peer"]:.2f}: {speed["ours"] / speed["peer"]:.2f} times')
    ours = found['ours']
    seconds, flops, peak = (statistics.median(result[key] for result in ours) for key in ('step_s', 'gflop', 'gemm_gflop_per_s'))
    executed = statistics.median(result['executed'] for result in ours)
    used = flops / seconds / peak
    mode = MODES[ours[0]['together']]
    print(f'ours, {mode}: {flops:.0f} GFLOP a step that the samples need, {used:.0%} of the {peak:.0f} GFLOP/s of one large matrix product')
    print(f'with idle tokens and padding {executed:.3f} times as many are executed')
    gain, needed = speed['shared'] / speed['ours'], statistics.median(result['gflop'] for result in found['shared'])
    print(f'with shared pictures: {speed["shared"]:.2f} samples/s, {gain:.2f} times what it is without; {needed:.0f} GFLOP a step')
    print(f'peak memory: ours {memory["ours"]} MB, peer {memory["peer"]} MB: {memory["ours"] / memory["peer"]:.2f} of it')
    print(json.dumps({
        'ratio': round(speed['ours'] / speed['peer'], 3),
        'ours': speed['ours'],
        'peer': speed['peer'],
        'shared': speed['shared'],
        'share_images': round(gain, 3),
        'what': 'samples/s of one training step of all eight tasks; peer: padded Hugging Face mBART parts and a timm ViT, eager PyTorch',
        'mode': mode,
        'utilisation': round(used, 3),
        'gflop': flops,
        'executed': executed,
        'memory_ratio': round(memory['ours'] / memory['peer'], 3),
        'peak_rss_mb': memory,
        **({} if parts is None else {'parts': parts}),
        'precision': 'bf16' if a.bf16 else 'fp32',
        'vocab': a.vocab,
        'batch': a.batch,
        'runs': a.runs,
        'threads': found['ours'][0]['threads'],
        'machine': platform.processor() or platform.machine(),
    }))  # fmt: skip


if __name__ == '__main__':
    sys.exit(run_command(main))
