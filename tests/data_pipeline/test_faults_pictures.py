"""SIGKILL of builds of pictures inside every stage: scan, the captions' grouping beside the duplicates, build, and `finish`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

import pytest

from tests.data_pipeline.conftest import SAMPLE, tree
from tests.data_pipeline.test_faults import ROOT, Raw, started_build, visible_is_whole

SHARES = (0.0, 0.4)  # of a stage's time, when it is killed; the first is sure to be inside the stage
TRIES = 8
# What is there while a stage works; names of other processes' temporary folders begin with a dot.
STAGES = {
    'scan': '.build/{corpus}/scan/.*.part',
    'group': '.build/{corpus}/group/.duplicates.*.part',
    'build': '.build/{corpus}/build/.*.part',
    'finish': '{corpus}/*',
}


@dataclass
class Killed:
    """A build that is killed and started again; `arguments` is its command but for --out."""

    corpus: str
    arguments: list[str]
    out: Path
    lasts: dict[str, float] = field(default_factory=dict)  # seconds of each stage, undisturbed

    def command(self, out: Path) -> list[str]:
        return [sys.executable, '-m', 'data_pipeline', 'build', self.corpus, *self.arguments, f'--out={out}', '--workers=2']

    def working(self, out: Path, stage: str) -> set[str]:
        return set(glob(STAGES[stage].format(corpus=self.corpus), root_dir=out))  # pathlib's glob fails when a folder vanishes meanwhile

    def measure(self, out: Path) -> None:
        """Build without a break."""
        process = started_build(self.command(out))
        began: dict[str, float] = {}
        while process.poll() is None:
            for stage in STAGES:
                if stage not in began and self.working(out, stage):
                    began[stage] = time.monotonic()
            time.sleep(0.001)
        assert process.returncode == 0
        order = [stage for stage in STAGES if stage in began]  # one that is over at once may be missed
        times = [*(began[stage] for stage in order), time.monotonic()]
        self.lasts = dict.fromkeys(STAGES, 0.0) | {
            stage: end - begin for stage, begin, end in zip(order, times[:-1], times[1:], strict=True)
        }

    def kill(self, stage: str, share: float) -> str | None:
        """Start it, and kill its process group when so much of a stage's time is over. Returns the stage inside which it died, '' when
        it did between two, None when it came to its end.
        """
        before = {name: self.working(self.out, name) for name in STAGES}
        process = started_build(self.command(self.out))
        while process.poll() is None and self.working(self.out, stage) <= before[stage]:
            time.sleep(0.001)
        time.sleep(share * self.lasts[stage])
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            assert process.returncode == 0
            return None
        visible_is_whole(self.out)
        return next((name for name in reversed(STAGES) if self.working(self.out, name) - before[name]), '')

    def is_past(self, stage: str) -> bool:
        """Whether a stage behind this one has begun."""
        behind = list(STAGES)[list(STAGES).index(stage) + 1 :]
        return any(self.working(self.out, name) for name in behind)

    def complete(self, unbroken: dict[str, bytes]) -> None:
        """To its end, and back to the beginning."""
        subprocess.run(self.command(self.out), cwd=ROOT, check=True, capture_output=True)
        assert tree(self.out) == unbroken
        assert not list(self.out.rglob('*.part'))
        shutil.rmtree(self.out)


def flags(corpus: str, raw: Raw, tmp_path: Path) -> list[str]:
    """Of CC3M three shards with the same pictures, translations, some with the picture inline, and URLs to exclude; WIT as it is."""
    small = ['--holdout=0.04', '--shard-bytes=200000']
    if corpus == 'wit':
        return [f'--raw={SAMPLE / "raw/wit"}', *small]
    folder = raw('cc3m', 'Train_GCC-training.tsv', 'translations.jsonl', 'translations_inline.jsonl')
    for suffix in ('tar', 'parquet'):
        for number in range(3):
            link = folder / f'images/{number:05}.{suffix}'
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(SAMPLE / f'raw/cc3m/images/00000.{suffix}')
    rows = (SAMPLE / 'raw/cc3m/Train_GCC-training.tsv').read_text().split('\n')
    (tmp_path / 'exclude.tsv').write_text('\n'.join(rows[:50]))
    return [f'--raw={folder}', f'--exclude={tmp_path / "exclude.tsv"}', *small]


@pytest.mark.parametrize('corpus', ['cc3m', 'wit'])
def test_killed_inside_every_stage(raw: Raw, tmp_path: Path, corpus: str) -> None:
    """Two workers; the moments are when each stage has begun, and later, by what it takes on this machine. What is killed goes on from
    there, and is killed in the next stage; the end is byte by byte that of an unbroken build, each time.
    """
    build = Killed(corpus, flags(corpus, raw, tmp_path), tmp_path / 'out')
    build.measure(tmp_path / 'unbroken')
    unbroken = tree(tmp_path / 'unbroken')
    if corpus == 'cc3m':
        assert {'duplicate_url', 'duplicate_picture', 'excluded_url'} <= json.loads(unbroken['cc3m/train/manifest.json'])['dropped'].keys()
    for share in SHARES:
        for stage in STAGES:
            for _ in range(TRIES):
                if build.is_past(stage):
                    build.complete(unbroken)
                died = build.kill(stage, share)
                if died == stage or (share and died is not None):
                    break
                build.complete(unbroken)  # the kill came too late
            assert died == stage or share, f'no kill came while {stage} worked'
    build.complete(unbroken)
