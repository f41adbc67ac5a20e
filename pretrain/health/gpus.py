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
# nvidia-smi --help-query-gpu. All drivers know these; the faults below are asked for one by one, under each name in turn: a driver that
# does not know one answers nothing at all.
FIELDS = ('index', 'name', 'memory.used')
PENDING = 'remapped_rows.pending'
FAULTS = {
    'uncorrected ECC errors': ('ecc.errors.uncorrected.volatile.total',),
    'rows wait to be remapped': (PENDING,),
    'row remapping failed': ('remapped_rows.failure',),
    'slowed down by its hardware': ('clocks_event_reasons.hw_slowdown', 'clocks_throttle_reasons.hw_slowdown'),  # the name until driver 535
}
SOUND = ('0', 'No', 'Not Active')
# A GPU without ECC, a user who may not know, a field of old. Anything else in brackets is a fault: [GPU requires reset], [Unknown Error].
NOT_TOLD = ('[N/A]', '[Not Supported]', '[Insufficient Permissions]', '[Requested functionality has been deprecated]')
UNKNOWN = 'not a valid field'  # nvidia-smi's words for a field that the driver does not know
# NVIDIA's "XID errors" manual: those that tell of the board, its memory or links. Others (13, 31, 43, 45 …)
# are mostly a program's fault.
XIDS = {
    48: 'double-bit ECC error', 62: 'internal micro-controller halt', 63: 'row remapping', 64: 'row remapping failed', 74: 'NVLink error',
    79: 'fallen off the bus', 92: 'many single-bit ECC errors', 94: 'contained ECC error', 95: 'uncontained ECC error', 119: 'GSP timeout',
    120: 'GSP error', 140: 'unrecovered ECC error', 154: 'the board asks for a reset or repair',
}  # fmt: skip
REMAPPED = 63  # a record of what is mended at the next reset: as long as it is not, remapped_rows.pending says so
HEALED = 'to 0x0 (None)'  # Xid 154 tells of the end of the need as well
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
        gpus, odd = query(FIELDS)
        faults, unknown, more = find_faults()
    except Failed as error:
        return [Result('gpu', 'bad', str(error))]
    results = judge_gpus(gpus, expected)
    results += [Result('gpu', 'bad', f'nvidia-smi says: {line}') for line in dict.fromkeys(odd + more)]
    results.append(Result('ecc', 'bad' if faults else 'ok', '; '.join(faults) or 'no uncorrected ECC errors, no pending rows'))
    if unknown:
        results.append(Result('ecc', 'skipped', f'not told by these GPUs: {", ".join(sorted(unknown))}'))
    return [*results, check_xids(now, since, frozenset() if PENDING in unknown else frozenset({REMAPPED}))]


def query(fields: tuple[str, ...]) -> tuple[list[dict[str, str]], list[str]]:
    """{field: value} of each GPU, and lines that are something else, such as a warning of a corrupted infoROM. Raises Failed."""
    gpus, odd = [], []
    for line in run(['nvidia-smi', f'--query-gpu={",".join(fields)}', '--format=csv,noheader,nounits']).splitlines():
        values = [value.strip() for value in line.split(',')]
        if len(values) == len(fields):
            gpus.append(dict(zip(fields, values, strict=True)))
        elif line.strip():
            odd.append(line.strip())
    return gpus, odd


def find_faults() -> tuple[list[str], set[str], list[str]]:
    """Faults of GPUs, fields that nobody told, and lines that are something else. Raises Failed."""
    faults: list[str] = []
    unknown: set[str] = set()
    odd: list[str] = []
    for text, names in FAULTS.items():
        for name in names:
            try:
                gpus, lines = query(('index', name))
            except Failed as error:
                if UNKNOWN not in str(error):
                    raise
                continue
            odd += lines
            faults += [f'GPU {gpu["index"]}: {text} ({gpu[name]})' for gpu in gpus if gpu[name] not in (*SOUND, *NOT_TOLD)]
            if any(gpu[name] in NOT_TOLD for gpu in gpus):
                unknown.add(name)
            break
        else:
            unknown.add(names[0])
    return faults, unknown, odd


def judge_gpus(gpus: list[dict[str, str]], expected: int) -> list[Result]:
    """How many there are, and whether they are free."""
    names = sorted({gpu['name'] for gpu in gpus})
    found = f'{len(gpus)} GPUs ({", ".join(names)})'
    results = [Result('gpu', 'ok' if len(gpus) >= expected else 'bad', found if len(gpus) >= expected else f'{found}, {expected} are due')]
    used = {gpu['index']: gpu['memory.used'] for gpu in gpus if gpu['memory.used'] not in NOT_TOLD}
    lost = '; '.join(f'GPU {index}: {value}' for index, value in used.items() if not value.isdigit())
    held = '; '.join(f'GPU {index}: {value} MiB' for index, value in used.items() if value.isdigit() and int(value) > IN_USE)
    problem = lost or (f'held by another process: {held}' if held else '')
    return [*results, Result('gpu memory', 'bad' if problem else 'ok', problem or 'free')]


def check_xids(now: datetime, since: timedelta, covered: frozenset[int]) -> Result:
    """Xid errors in the kernel's log, which often only root may read; but those that are `covered` by another check."""
    problems = []
    for command in (['dmesg', '--time-format=iso'], ['journalctl', '--dmesg', '--no-pager', '--output=short-iso-precise']):
        try:
            lines = [line for line in run(command).splitlines() if line.strip() and not line.startswith('-- ')]
        except (Failed, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        if lines:
            return judge_xids(lines, now, since, covered)
        problems.append(f'{command[0]} shows no line of it')  # `-- No entries --`: to those who may not read it
    return Result('xid', 'skipped', f'the kernel log cannot be read: {problems[0]}')


def judge_xids(lines: list[str], now: datetime, since: timedelta, covered: frozenset[int] = frozenset()) -> Result:
    """Results from the kernel's log, whose lines begin with a time (ISO 8601 with zone)."""
    found = []
    for line in lines:
        match = XID.search(line)
        number = int(match[2]) if match else 0
        if match and number in XIDS and number not in covered and HEALED not in line and now - _time(line, now) <= since:
            found.append(f'{match[1]} Xid {number} ({XIDS[number]})')
    hours = since.total_seconds() / 3600
    return Result('xid', 'bad' if found else 'ok', '; '.join(dict.fromkeys(found)) or f'none of the board in {hours:g} h')


def _time(line: str, now: datetime) -> datetime:
    """When a line was logged; one without a readable time counts as new."""
    try:
        return datetime.fromisoformat(line.split()[0].replace(',', '.'))
    except ValueError:
        return now
