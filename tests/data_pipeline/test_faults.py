"""Real faults: SIGKILL of a build's whole process tree at many moments, a full disk, Ctrl-C. The end is byte by byte the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from glob import glob
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from shards.schema import INDEX, MANIFEST, MULTILINGUAL
from tests.data_pipeline.conftest import SAMPLE, Builder, tree

ROOT = Path(__file__).parents[2]
Raw = Callable[..., Path]
FILES = sorted(path.name for path in (SAMPLE / 'raw/cc100').glob('*.xz'))[::3]
SMALL: dict[str, Any] = {'chunk_bytes': 5_000, 'holdout': 0.04, 'shard_bytes': 8192}


def command(raw: Path, out: Path, tokenizer: Path, *more: str) -> list[str]:
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in SMALL.items()]
    paths = [f'--raw={raw}', f'--out={out}', f'--tokenizer={tokenizer}']
    return [sys.executable, '-m', 'data_pipeline', 'build', 'cc100', *paths, *flags, *more]


def units(out: Path) -> set[str]:
    return set(glob('.build/cc100/*/*/unit.json', root_dir=out))  # pathlib's glob fails when a folder vanishes meanwhile


def visible_is_whole(out: Path) -> None:
    """Every manifest that can be seen belongs to shards that are all there, in full; every unit that says so is complete."""
    for path in out.glob(f'*/**/{MANIFEST}'):
        manifest = json.loads(path.read_text())
        for shard in manifest['shards']:
            assert (path.parent / shard['file']).stat().st_size == shard['bytes']
        assert (path.parent / INDEX).exists()
        assert (path.parent / MULTILINGUAL).exists() == (manifest['kind'] == 'pictures')


KILLS = 6


def measured(arguments: list[str], out: Path) -> tuple[float, float]:
    """Build without a break; returns the seconds to the first unit, and from there to the end."""
    started = time.monotonic()
    process = started_build(arguments)
    while process.poll() is None and not units(out):
        time.sleep(0.002)
    first = time.monotonic()
    assert process.wait() == 0
    return first - started, time.monotonic() - first


def started_build(arguments: list[str]) -> subprocess.Popen[bytes]:
    """A build in a session of its own, as a terminal or Slurm gives it."""
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def killed(arguments: list[str], out: Path, delay: float, working: bool) -> bool:
    """SIGKILL to a whole build, `delay` seconds after it started or, `working`, after the first unit that this start completes.
    Returns whether the build was still there; what is left must be consistent in any case.
    """
    before, leftovers = units(out), set(out.glob('.build/cc100/*/.*.part'))
    process = started_build(arguments)
    while working and process.poll() is None and units(out) <= before:
        time.sleep(0.002)
    time.sleep(delay)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    assert killed or process.returncode == 0
    visible_is_whole(out)
    assert len(set(out.glob('.build/cc100/*/.*.part')) - leftovers) <= 2  # lost: one unit a worker at most
    assert before <= units(out) or (out / 'cc100').exists()  # what was done stays done (at the end the early stages are removed)
    return killed


def test_killed_again_and_again(raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    """Builds with two workers, whose session is killed at many wall-clock moments, and started again each time, to the end.

    The moments are fractions of what a build takes on this machine. One that ends before its kill is complete: the next begins anew.
    """
    folder, out, unbroken = raw('cc100', *FILES), tmp_path / 'out', tmp_path / 'unbroken'
    start, work = measured(command(folder, unbroken, tokenizer, '--workers=2'), unbroken)
    arguments = command(folder, out, tokenizer, '--workers=2')
    # While it starts; then so long after the first unit that this start completes, into every stage and `finish`.
    moments = cycle([(0.5 * start, False), (0.0, True), (0.9 * work, True), (0.3 * work, True), (0.1 * work, True), (0.0, True)])
    kills = 0
    for delay, working in islice(moments, 5 * KILLS):
        if killed(arguments, out, delay, working):
            kills += 1
        else:
            assert tree(out) == tree(unbroken)
            shutil.rmtree(out)
        if kills == KILLS:
            break
    assert kills == KILLS
    assert subprocess.run(arguments, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert tree(out) == tree(unbroken)
    assert not list(out.rglob('*.part'))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; where nobody may mount one, none (then the limit of a file's size stands for it)."""
    place = tmp_path / 'disk'
    place.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(place)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield place
    if mounted:
        subprocess.run(['umount', '-l', str(place)], check=True)


def test_full_disk(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path, small_disk: Path) -> None:
    """One line that names the place and the remedy; with room again, the same command completes the build."""
    folder, out = raw('cc100', *FILES), small_disk / 'out'
    mounted = os.path.ismount(small_disk)
    filler = small_disk / 'filler'
    limit = ['prlimit', '--fsize=20000'] if not mounted else []
    if mounted:
        filler.write_bytes(bytes(700 << 10))
    run = subprocess.run([*limit, *command(folder, out, tokenizer)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.startswith('error: ')]
    assert ('No space left on device' if mounted else 'File too large') in line
    assert line.endswith('mend that and run the same command again')
    assert 'Traceback' not in run.stderr
    visible_is_whole(out)
    filler.unlink(missing_ok=True)
    if mounted:
        subprocess.run(['mount', '-o', 'remount,size=64m', str(small_disk)], check=True)
    subprocess.run(command(folder, out, tokenizer), cwd=ROOT, check=True, capture_output=True)
    build_corpus('cc100', tmp_path / 'unbroken', folder, **SMALL)
    assert tree(out) == tree(tmp_path / 'unbroken')


def test_interrupted(raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    """Ctrl-C: exit code 130, one line, nobody left behind, nothing half-written."""
    folder, out = raw('cc100', *FILES), tmp_path / 'out'
    arguments = command(folder, out, tokenizer, '--workers=2')
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True)
    while not units(out) and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert 'interrupted; run the same command again to continue' in errors
    assert 'Traceback' not in errors
    visible_is_whole(out)
    deadline = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
