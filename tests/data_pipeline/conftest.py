"""Shared by the tests of the pipeline: a small tokenizer, and builds in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.build import build
from data_pipeline.job import Job
from data_pipeline.settings import Settings
from data_pipeline.tokenizer_settings import TrainingSettings
from data_pipeline.tokenizer_training import train
from shards.schema import Manifest

SAMPLE = Path(__file__).parents[2] / 'sample'

Builder = Callable[..., list[Manifest]]


@pytest.fixture(scope='session')
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained on a part of the sample."""
    raw = tmp_path_factory.mktemp('raw')
    (raw / 'cc100').mkdir()
    for code in ('en', 'de', 'th', 'zh-Hans'):
        (raw / 'cc100' / f'{code}.txt.xz').symlink_to(SAMPLE / f'raw/cc100/{code}.txt.xz')
    out = tmp_path_factory.mktemp('tokenizer')
    train(raw, out, TrainingSettings(pieces=2500, alpha=0.7))
    return out


@pytest.fixture
def build_corpus(tokenizer: Path) -> Builder:
    """build_corpus(corpus, out, raw=..., images=..., translations=..., **settings): manifests."""

    def run(
        corpus: str, out: Path, raw: Path | None = None, images: Path | None = None, translations: Path | None = None, **settings: Any
    ) -> list[Manifest]:
        job = Job(corpus, raw or SAMPLE / 'raw' / corpus, out, Settings(**settings), images, translations, tokenizer)
        manifests = build(job, workers=1, task=0, tasks=1)
        assert manifests is not None
        return manifests

    return run


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """raw(corpus, *files): a folder with links to those files of the sample's corpus, to be added to or broken."""

    def make(corpus: str, *files: str) -> Path:
        folder = tmp_path / f'raw-{corpus}'
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).symlink_to(SAMPLE / 'raw' / corpus / file)
        folder.mkdir(exist_ok=True)
        return folder

    return make


def samples(stream: Path) -> list[dict[str, Any]]:
    """Every sample of a stream, read by streaming itself."""
    from streaming.base.stream import Stream
    from streaming.base.world import World

    local = Stream(local=str(stream))
    return [shard.get_item(i) for shard in local.get_shards(World.detect(), False) for i in range(shard.samples)]


def tree(folder: Path) -> dict[str, bytes]:
    """Every finished file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and '.build' not in path.parts
    }
