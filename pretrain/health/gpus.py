"""A node's GPUs, as nvidia-smi and the kernel's log show them: how many there are, ECC and Xid errors, memory that somebody else holds."""
from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta

from pretrain.health.checks import Result

SECONDS = 30  # nvidia-smi answers in two; beside a GPU that is lost it hangs
IN_USE = 2000  # MiB: an idle A100 holds a few hundred
# nvidia-smi --help-query-gpu
FIELDS = (
    'index', 'name', 'memory.used', 'ecc.errors.uncorrected.volatile.total', 'remapped_rows.pending', 'remapped_rows.failure',
    'clocks_throttle_reasons.hw_slowdown',
)  # fmt: skip
# NVIDIA's "XID errors" manual: those that tell of the board, its memory or links. Others (13, 31, 43, 45 …)
# are mostly a program's fault.
XIDS = {
    48: 'double-bit ECC error', 62: 'internal micro-controller halt', 63: 'row remapping', 64: 'row remapping failed', 74: 'NVLink error',
    79: 'fallen off the bus', 92: 'many single-bit ECC errors', 94: 'contained ECC error', 95: 'uncontained ECC error', 119: 'GSP timeout',
    120: 'GSP error', 140: 'unrecovered ECC error',
}  # fmt: skip
XID = re.compile(r'NVRM: Xid \((?:PCI:)?([^)]*)\): (\d+)')

Run = Callable[[list[str]], str]


class Failed(Exception):
    """A tool is there, and did not do what it was asked."""


def run(command: list[str]) -> str:
    """What a tool prints. Raises Failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f'{command[0]} did not answer in {SECONDS} s') from None
    if done.returncode:
        raise Failed(f'{command[0]}: {(done.stdout + done.stderr).strip() or f"exit code {done.returncode}"}')
    return done.stdout


def check_gpus(expected: int, now: datetime, since: timedelta) -> list[Result]:
    """Everything about GPUs. `expected`: as many as Slurm has given to the job here; Xid errors count that are not older than `since`."""
    if shutil.which('nvidia-smi') is None:
        return [Result('gpu', 'skipped', 'no nvidia-smi here: number, ECC and Xid errors of GPUs are not checked')]
    try:
        shown = run(['nvidia-smi', f'--query-gpu={",".join(FIELDS)}', '--format=csv,noheader,nounits'])
    except Failed as error:
        return [Result('gpu', 'bad', str(error))]
    return [*judge_gpus(shown, expected), check_xids(now, since)]


def judge_gpus(shown: str, expected: int) -> list[Result]:
    """Results from nvidia-smi's lines, one a GPU."""
    gpus = [dict(zip(FIELDS, (value.strip() for value in line.split(',')), strict=True)) for line in shown.splitlines() if line.strip()]
    names = sorted({gpu['name'] for gpu in gpus})
    found = f'{len(gpus)} GPUs ({", ".join(names)})'
    results = [Result('gpu', 'ok' if len(gpus) >= expected else 'bad', found if len(gpus) >= expected else f'{found}, {expected} are due')]
    problems, unknown = [], set()
    for gpu in gpus:
        for field, text in (
            ('ecc.errors.uncorrected.volatile.total', 'uncorrected ECC errors'), ('remapped_rows.pending', 'rows wait to be remapped'),
            ('remapped_rows.failure', 'row remapping failed'), ('clocks_throttle_reasons.hw_slowdown', 'slowed down by its hardware'),
        ):  # fmt: skip
            if gpu[field] in ('0', 'No', 'Not Active'):
                continue
            if gpu[field].startswith('['):  # [N/A], [Not Supported]: a GPU without ECC
                unknown.add(field)
                continue
            problems.append(f'GPU {gpu["index"]}: {text} ({gpu[field]})')
    results.append(Result('ecc', 'bad' if problems else 'ok', '; '.join(problems) or 'no uncorrected ECC errors, no pending rows'))
    if unknown:
        results.append(Result('ecc', 'skipped', f'not told by these GPUs: {", ".join(sorted(unknown))}'))
    used = {gpu['index']: int(gpu['memory.used']) for gpu in gpus if gpu['memory.used'].isdigit()}
    held = '; '.join(f'GPU {index}: {megabytes} MiB' for index, megabytes in used.items() if megabytes > IN_USE)
    results.append(Result('gpu memory', 'bad' if held else 'ok', f'held by another process: {held}' if held else 'free'))
    return results


def check_xids(now: datetime, since: timedelta) -> Result:
    """Xid errors in the kernel's log, which often only root may read."""
    problems = []
    for command in (['dmesg', '--time-format=iso'], ['journalctl', '--dmesg', '--no-pager', '--output=short-iso-precise']):
        try:
            return judge_xids(run(command), now, since)
        except (Failed, FileNotFoundError) as error:
            problems.append(str(error))
    return Result('xid', 'skipped', f'the kernel log cannot be read: {problems[0]}')


def judge_xids(lines: str, now: datetime, since: timedelta) -> Result:
    """Results from the kernel's log, whose lines begin with a time (ISO 8601 with zone)."""
    found = []
    for line in lines.splitlines():
        match = XID.search(line)
        if match and int(match[2]) in XIDS and now - _time(line, now) <= since:
            found.append(f'{match[1]} Xid {match[2]} ({XIDS[int(match[2])]})')
    hours = since.total_seconds() / 3600
    return Result('xid', 'bad' if found else 'ok', '; '.join(dict.fromkeys(found)) or f'none of the board in {hours:g} h')


def _time(line: str, now: datetime) -> datetime:
    """When a line was logged; one without a readable time counts as new."""
    try:
        return datetime.fromisoformat(line.split()[0].replace(',', '.'))
    except ValueError:
        return now
