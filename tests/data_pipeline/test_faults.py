"""Real faults: SIGKILL of a build's whole process tree at many moments, a full disk, Ctrl-C. The end is byte by byte the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shards.schema import MANIFEST
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
    return {path.parent.name for path in out.glob('.build/cc100/*/[!.]*/unit.json')}


def visible_is_whole(out: Path) -> None:
    """Every manifest that can be seen belongs to shards that are all there, in full; every unit that says so is complete."""
    for path in out.glob(f'cc100/**/{MANIFEST}'):
        for shard in json.loads(path.read_text())['shards']:
            assert (path.parent / shard['file']).stat().st_size == shard['bytes']
        assert (path.parent / 'index.json').exists()


def test_killed_again_and_again(build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    """One build with two workers, whose session is killed at many wall-clock moments, and started again each time."""
    folder, out = raw('cc100', *FILES), tmp_path / 'out'
    arguments = command(folder, out, tokenizer, '--workers=2')
    quiet = subprocess.DEVNULL
    kills = 0
    # The first two hit the start; the others so long after the first unit that this run completes, into every stage and `finish`.
    for moment in (0.3, 1.0, 0.0, 0.0, 0.02, 0.1):
        before, leftovers = units(out), set(out.glob('.build/cc100/*/.*.part'))
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=quiet, stderr=quiet, start_new_session=True)
        while kills >= 2 and process.poll() is None and units(out) <= before:
            time.sleep(0.002)
        time.sleep(moment)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        visible_is_whole(out)
        assert len(set(out.glob('.build/cc100/*/.*.part')) - leftovers) <= 2  # lost: one unit a worker at most
        assert before <= units(out) or (out / 'cc100').exists()  # what was done stays done (at the end the early stages are removed)
    assert kills >= 4
    assert subprocess.run(arguments, cwd=ROOT, stdout=quiet, stderr=quiet, check=False).returncode == 0
    build_corpus('cc100', tmp_path / 'unbroken', folder, **SMALL)
    assert tree(out) == tree(tmp_path / 'unbroken')
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
