"""A disk that is full, a shard with a flipped byte, files made by strangers."""

from __future__ import annotations

import pickle
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.engine.checkpoint import checkpoints, newest_valid, step_of
from pretrain.records import EVENTS, METRICS, read_lines
from tests.support.disks import mounted
from tests.support.launch import Started, command, forked, prewarmed, run, steps, succeed

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

ONE_TASK = ['tasks=[mt]', 'data.workers=0', 'eval.tasks=[mt]']


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    with mounted(tmp_path / 'disk', '4m') as disk:
        yield disk


def fill(disk: Path) -> Path:
    """Leave no byte; called again, none of what was given back since."""
    filler = disk / 'filler'
    with filler.open('ab', buffering=0) as file:
        try:
            while True:
                file.write(b'\0' * 4096)
        except OSError:
            return filler


def test_a_full_disk_costs_a_checkpoint_but_not_the_run(home: Path, small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / 'run'
    settings = [*ONE_TASK, 'steps=100000', 'checkpoint.every=20', 'checkpoint.keep=1', 'log.every=1']
    started = Started(command(prewarmed(1), home, out, *settings), tmp_path)
    started.wait_for(lambda: (out / 'checkpoints/step-0000020').exists())
    filler = fill(small_disk)
    started.wait_for(lambda: 'no checkpoint of step' in started.log.read_text() and 'cannot be written to' in started.log.read_text())
    kept = newest_valid(out / 'checkpoints')[0]
    assert kept is not None
    filler.unlink()
    # A newer one is whole, and of the older one, which gives its room back a moment later, nothing is left.
    started.wait_for(lambda: [path.name > kept.name for path in (out / 'checkpoints').iterdir() if path.is_dir()] == [True])

    fill(small_disk)
    before = newest_valid(out / 'checkpoints')[0]
    assert before is not None
    unsaved = step_of(before) + 2
    started.wait_for(lambda: f'step {unsaved}/' in started.log.read_text())
    fill(small_disk)
    started.process.send_signal(signal.SIGTERM)
    code = started.end()
    printed = started.log.read_text()
    assert code == 2 and 'Traceback' not in printed, printed
    assert 'No space left on device' in printed and 'error: ' in printed.splitlines()[-1], printed
    assert 'is not saved; make room in ' in printed.splitlines()[-1] and printed.splitlines()[-1].count('make room') == 1, printed
    survivor = newest_valid(out / 'checkpoints')[0]
    assert survivor is not None and survivor.name >= before.name
    done = [line['step'] for line in read_lines(out / METRICS)]
    assert done == list(range(1, len(done) + 1)), 'no line was lost between'


def test_a_start_on_a_full_disk_ends_in_one_line_on_every_rank(home: Path, small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / 'run'
    forked(2, home, out, *ONE_TASK, 'steps=2')
    with (out / METRICS).open('a') as lines:
        lines.write('{"step": 3}\n')  # of an attempt that died: a start sets it aside
    files = {name: (out / name).read_bytes() for name in ('config.yaml', METRICS)}
    filler = fill(small_disk)
    for _ in range(2):
        done = run(command(prewarmed(2), home, out, *ONE_TASK, 'steps=3'), tmp_path)
        printed = done.stdout + done.stderr
        assert done.returncode == 2 and 'Traceback' not in printed, printed
        (line,) = [line for line in printed.splitlines() if line.startswith('error: ')]
        assert 'No space left on device' in line and f'make room in {out} and start the same command again' in line
        assert {name: (out / name).read_bytes() for name in files} == files
    filler.unlink()
    assert 'resuming after step 2 of 3' in succeed(command(prewarmed(2), home, out, *ONE_TASK, 'steps=3'), tmp_path)
    assert (out / 'metrics.attempt-1.jsonl').read_text() == '{"step": 3}\n'
    assert not list(out.glob('*.attempt-2.jsonl')) and not list(out.glob('.*.jsonl'))


def test_a_flipped_byte_in_a_shard_is_named_and_what_was_done_is_saved(home: Path, tmp_path: Path) -> None:
    """Of two ranks, whichever meets it first."""
    spoilt = tmp_path / 'home'
    shutil.copytree(home, spoilt)
    shards = sorted((spoilt / 'shards/opus/train/de-en').rglob('*.mds'))
    assert len(shards) > 2
    content = bytearray(shards[1].read_bytes())
    content[-5] ^= 1
    shards[1].write_bytes(content)
    out = tmp_path / 'run'
    done = run(command(prewarmed(2), spoilt, out, *ONE_TASK, 'steps=30', 'data.shuffle_shards=1', 'checkpoint.every=1000'), tmp_path)
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert f'error: {shards[1]} cannot be read (its contents do not have the SHA-256 that index.json names)' in printed
    assert f'data_pipeline verify {spoilt}/shards/opus/train/de-en' in printed
    (end,) = [line for line in read_lines(out / EVENTS) if line['event'] == 'end']
    assert end['code'] == 2 and str(shards[1]) in end['problem']
    assert [path.name for path in checkpoints(out / 'checkpoints')] == [f'step-{steps(out):07d}']


class Hostile:
    """What runs when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def test_a_strangers_shard_executes_nothing(home: Path, tmp_path: Path) -> None:
    """Its index says that a column is pickled, and the pickle is hostile."""
    import json

    from streaming import MDSWriter

    marker = tmp_path / 'executed'
    hostile = tmp_path / 'home'
    shutil.copytree(home, hostile)
    folder = hostile / 'shards/opus/train/de-en'
    shutil.rmtree(folder / 'unit-00000')
    with MDSWriter(out=str(folder / 'unit-00000'), columns={'source_ids': 'bytes', 'target_ids': 'bytes'}) as writer:
        for _ in range(20):
            writer.write({'source_ids': pickle.dumps(Hostile(marker)), 'target_ids': pickle.dumps(Hostile(marker))})
    index = json.loads((folder / 'index.json').read_text())
    entry = json.loads((folder / 'unit-00000/index.json').read_text())['shards'][0]
    entry['raw_data']['basename'] = f'unit-00000/{entry["raw_data"]["basename"]}'
    entry['column_encodings'] = ['pkl', 'pkl']
    index['shards'][0] = entry
    (folder / 'index.json').write_text(json.dumps(index))
    done = run(command(prewarmed(1), hostile, tmp_path / 'run', *ONE_TASK, 'steps=20'), tmp_path)
    assert done.returncode == 2 and 'error: ' in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert not marker.exists()
