"""Shards in an object store, over HTTP: built, interrupted, verified, counted, shown and read by the training's loader."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_pipeline.cli import main
from pretrain.data.streams import Catalog
from shards.errors import UserError
from shards.storage import Remote, location
from shards.tokenizer import Tokenizer
from tests.data_pipeline.conftest import SAMPLE, Builder, samples, tree
from tests.support.s3 import s3_server

ROOT = Path(__file__).parents[2]
Raw = Callable[..., Path]


@pytest.fixture(scope='module')
def store() -> Iterator[str]:
    with s3_server() as url:
        yield url


def objects(place: Remote) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob('*')}


def test_build_verify_stats_read(store: str, build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path, capsys: object) -> None:
    folder, out, scratch = raw('opus', 'WikiMatrix/WikiMatrix.de-en.tsv.gz'), f'{store}/one', tmp_path / 'scratch'
    flags = [f'--out={out}', f'--scratch={scratch}', '--holdout=0.04']
    assert main(['build', 'opus', f'--raw={folder}', f'--tokenizer={tokenizer}', *flags]) == 0
    assert main(['build', 'cc12m', f'--raw={SAMPLE / "raw/cc12m"}', '--compression=zstd', *flags]) == 0
    assert main(['build', 'cc12m', f'--raw={SAMPLE / "raw/cc12m"}', '--compression=zstd', *flags]) == 0  # again: nothing to do
    build_corpus('opus', tmp_path / 'local', folder, holdout=0.04)
    build_corpus('cc12m', tmp_path / 'local', holdout=0.04, compression='zstd')
    place = location(out)
    assert isinstance(place, Remote)
    assert objects(place) == tree(tmp_path / 'local')
    assert not list(scratch.rglob('*.mds'))
    assert main(['verify', out]) == 0
    assert main(['stats', out, '--json']) == 0
    _loader_reads_the_same(out, tmp_path, Tokenizer.load(tokenizer))
    # Damage is found there too, and mended by the same command.
    shard = next(path for path in place.rglob('*') if path.name.startswith('shard') and 'opus' in path.parts)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert main(['verify', out]) == 1
    shard.unlink()
    assert main(['verify', out]) == 1
    assert main(['build', 'opus', f'--raw={folder}', f'--tokenizer={tokenizer}', *flags]) == 0
    assert shard.read_bytes() == whole
    shutil.rmtree(scratch)
    with pytest.raises(UserError, match=r'knows nothing of them; choose another --out'):
        from data_pipeline.build import build
        from data_pipeline.job import Job
        from data_pipeline.settings import Settings

        build(Job('opus', folder, place, Settings(), tokenizer=tokenizer, scratch=scratch), 1, 0, 1)


def _loader_reads_the_same(out: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    near, far = Catalog(tmp_path / 'local', tokenizer), Catalog(out, tokenizer, str(tmp_path / 'cache'))
    for corpus in ('opus', 'cc12m'):
        for split in ('train', 'val'):
            (one,), (other,) = near.streams(corpus, split), far.streams(corpus, split)
            assert len(one) == len(other) > 0
            assert one.digest == other.digest
            for index in range(0, len(one), 37):
                assert str(one.record(index)) == str(other.record(index))
    assert (one.multilingual() == other.multilingual()).all()


def test_tasks_and_a_kill(store: str, build_corpus: Builder, raw: Raw, tokenizer: Path, tmp_path: Path) -> None:
    """An array job of two tasks that share a scratch folder; the first is killed while it works."""
    folder = raw('cc100', 'de.txt.xz', 'th.txt.xz')
    settings = {'chunk_bytes': 10_000, 'holdout': 0.04}
    out, scratch = f'{store}/two', tmp_path / 'scratch'
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in settings.items()]
    flags += [f'--raw={folder}', f'--out={out}', f'--tokenizer={tokenizer}']
    command = [sys.executable, '-m', 'data_pipeline', 'build', 'cc100', *flags]
    alone = subprocess.run([*command, '--tasks=2'], cwd=ROOT, capture_output=True, text=True)
    assert alone.returncode == 2
    assert 'give --scratch' in alone.stderr
    command += [f'--scratch={scratch}', '--tasks=2']
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*command, '--task=0'], cwd=ROOT, stderr=quiet, stdout=quiet, start_new_session=True)
    while not list(scratch.glob('*/cc100/build/*/unit.json')) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    place = location(out)
    assert isinstance(place, Remote)
    assert not list(place.rglob('manifest.json'))
    for task in ('--task=1', '--task=0'):
        subprocess.run([*command, task], cwd=ROOT, check=True, capture_output=True)
    assert main(['finish', f'--out={out}', f'--scratch={scratch}']) == 0
    build_corpus('cc100', tmp_path / 'local', folder, **settings)
    assert objects(place) == tree(tmp_path / 'local')


def test_a_removal_and_a_kill(store: str, build_corpus: Builder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same shards are left as of a removal from a folder, also when it is killed and run again."""
    settings = {'holdout': 0.1, 'shard_bytes': 60_000}
    out, scratch, local = f'{store}/three', tmp_path / 'scratch', tmp_path / 'local'
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in settings.items()]
    assert main(['build', 'cc12m', f'--raw={SAMPLE / "raw/cc12m"}', f'--out={out}', f'--scratch={scratch}', *flags]) == 0
    build_corpus('cc12m', local, **settings)
    urls = [sample['url'] for split in ('train', 'val') for sample in samples(local / 'cc12m' / split)[::9]]
    (tmp_path / 'urls.txt').write_text('\n'.join(urls))
    place = location(out)
    assert isinstance(place, Remote)
    before = objects(place)
    assert main(['remove', f'--urls={tmp_path / "urls.txt"}', out]) == 2  # nothing is known of it without the scratch
    assert 'give --out of a build (and its --scratch, if it had one)' in capsys.readouterr().err
    assert objects(place) == before
    command = ['remove', f'--urls={tmp_path / "urls.txt"}', f'--scratch={scratch}', out]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, '-m', 'data_pipeline', *command], cwd=ROOT, stderr=quiet, stdout=quiet)
    while process.poll() is None and set(objects(place)) == set(before):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(scratch.glob('*/removing.json'))
    assert set(objects(place)) > set(before)  # new shards beside the old ones
    assert main(['verify', out + '/cc12m', f'--scratch={scratch}']) == 1
    assert f'{out}/cc12m: a removal of pictures was interrupted' in capsys.readouterr().out
    assert main(command) == 0
    assert main(['remove', f'--urls={tmp_path / "urls.txt"}', str(local)]) == 0
    assert objects(place) == tree(local)
    assert main(['verify', out]) == 0
    # All that is left of a split, then of the corpus.
    rest = [sample['url'] for split in ('val', 'train') for sample in samples(local / 'cc12m' / split)]
    (tmp_path / 'urls.txt').write_text('\n'.join(rest))
    assert main(command) == 0
    assert objects(place) == {}


@pytest.mark.parametrize('compression', ['none', 'zstd'])
def test_excluding_what_shards_in_a_store_hold(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], compression: str) -> None:
    """CC12M against CC3M's shards there: the same is left as against the same shards in a folder. Two workers read them."""
    place = f'{store}/four-{compression}'
    build = ['build', 'cc3m', f'--raw={SAMPLE / "raw/cc3m"}', '--holdout=0.04', f'--compression={compression}']
    assert main([*build, f'--out={place}', f'--scratch={tmp_path / "scratch"}']) == 0
    assert main([*build, f'--out={tmp_path / "near"}']) == 0
    found: dict[str, dict[str, bytes]] = {}
    for shards in (f'{place}/cc3m', f'{tmp_path / "near"}/cc3m'):
        out = tmp_path / f'out-{len(found)}'
        flags = [f'--raw={SAMPLE / "raw/cc12m"}', f'--out={out}', f'--exclude={shards}', '--holdout=0', '--workers=2']
        for _ in range(2):  # again: nothing to do
            assert main(['build', 'cc12m', *flags]) == 0
        found[shards] = tree(out)
        manifest = json.loads(found[shards].pop('cc12m/train/manifest.json'))
        (exclude,) = manifest['settings']['exclude']
        assert exclude.pop('path') == shards and manifest.pop('digest')
        assert exclude['urls'] > 700 and manifest['dropped']['excluded_url'] == 31
        found[shards]['manifest'] = json.dumps(manifest).encode()
    first, second = found.values()
    assert first == second
    capsys.readouterr()
    assert main(['build', 'cc12m', f'--raw={SAMPLE / "raw/cc12m"}', f'--out={tmp_path / "none"}', f'--exclude={store}/nothing']) == 2
    assert f'{store}/nothing, given to --exclude or --decontaminate, does not exist as a folder of shards' in capsys.readouterr().err


@pytest.mark.parametrize(('place', 'message'), [('s4://x/y', 'is neither a folder nor s3://'), ('s3://', 'is neither a folder nor s3://')])
def test_unknown_places(place: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        location(place)


def test_nothing_there_and_no_server(store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['verify', f'{store}/nothing']) == 2
    assert 'is no folder; give --out of a build' in capsys.readouterr().err
    missing = location(f'{store}/nothing/manifest.json')
    with pytest.raises(FileNotFoundError):
        missing.read_bytes()
    assert json.dumps(str(missing)) == '"s3://shards/nothing/manifest.json"'
