"""Take-downs: what is left, what the manifest says, and kills at any moment."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.readers.cc12m import LICENCE
from data_pipeline.remove import remove
from data_pipeline.verify import verify
from shards.schema import read_manifest
from tests.data_pipeline.conftest import SAMPLE, Builder, samples, tree
from tests.data_pipeline.test_cli import error, run

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {'holdout': 0.1, 'shard_bytes': 60_000}


def records(out: Path, corpus: str = 'cc12m') -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for split in ('train', 'val'):
        if (out / corpus / split).exists():
            found |= {sample['url']: sample for sample in samples(out / corpus / split)}
    return found


@pytest.mark.parametrize('compression', ['none', 'zstd:1'])
@pytest.mark.filterwarnings('ignore:unclosed file:ResourceWarning')  # streaming's own
def test_only_what_is_asked_for(build_corpus: Builder, tmp_path: Path, compression: str) -> None:
    out = tmp_path / 'out'
    build_corpus('cc12m', tmp_path / 'plain', **SMALL)
    build_corpus('cc12m', out, **SMALL, compression=compression)
    before, inodes = records(tmp_path / 'plain'), {path: path.stat().st_ino for path in out.rglob('shard*')}
    urls = random.Random(0).sample(sorted(before), 5)
    by_id = before[urls[4]]['image_id']
    other_scheme = urls[3].replace('https://', 'http://') if urls[3].startswith('https') else urls[3].replace('http://', 'https://')
    (tmp_path / 'urls.txt').write_text('\n'.join([*urls[:3], other_scheme, by_id, 'https://nowhere.example.org/x', '']))
    (removal,) = remove(out, tmp_path / 'urls.txt')
    assert (removal.corpus, removal.pictures) == ('cc12m', 5)
    assert 1 <= removal.shards <= 5
    assert verify(out).bad == []
    manifests = [read_manifest(out / 'cc12m' / split) for split in ('train', 'val')]
    assert sum(manifest.samples for manifest in manifests) == len(before) - 5
    assert manifests[0].dropped['removed'] == 5
    assert [manifest.licences for manifest in manifests] == [{LICENCE: manifest.samples} for manifest in manifests]
    assert [(one['pictures'], one['urls']) for one in manifests[0].removed] == [(5, 6)]
    assert sum(path.stat().st_ino == inode for path, inode in inodes.items() if path.exists()) >= len(inodes) - removal.shards
    if compression == 'none':
        left = records(out)
        assert left == {url: sample for url, sample in before.items() if url not in urls}
    # Again there is nothing to do; a second list adds to the first.
    whole = tree(out)
    assert remove(out / 'cc12m', tmp_path / 'urls.txt')[0].pictures == 0
    assert tree(out) == whole
    another = next(url for url in before if url not in urls)
    (tmp_path / 'more.txt').write_text(another + '\n')
    assert remove(out, tmp_path / 'more.txt')[0].pictures == 1
    assert [one['pictures'] for one in read_manifest(out / 'cc12m/train').removed] == [5, 1]
    assert verify(out).bad == []


def test_a_lost_shard_comes_back_without_them(build_corpus: Builder, tmp_path: Path) -> None:
    build_corpus('cc12m', tmp_path, **SMALL)
    before = records(tmp_path)
    shard = sorted(tmp_path.glob('cc12m/train/*/*.mds'))[0]
    url = samples(tmp_path / 'cc12m/train')[0]['url']
    (tmp_path / 'urls.txt').write_text(url)
    remove(tmp_path, tmp_path / 'urls.txt')
    assert not shard.exists()
    next(shard.parent.glob('*.mds')).unlink()
    build_corpus('cc12m', tmp_path, **SMALL)
    assert records(tmp_path) == {key: sample for key, sample in before.items() if key != url}
    assert verify(tmp_path).bad == []
    assert read_manifest(tmp_path / 'cc12m/train').dropped['removed'] == 1


def test_examples_name_no_removed_picture(build_corpus: Builder, tmp_path: Path) -> None:
    build_corpus('cc12m', tmp_path, **SMALL)
    examples = read_manifest(tmp_path / 'cc12m/train').examples['failed_to_download']
    (tmp_path / 'urls.txt').write_text('\n'.join([*examples[:2], samples(tmp_path / 'cc12m/train')[0]['url']]))
    remove(tmp_path, tmp_path / 'urls.txt')
    assert read_manifest(tmp_path / 'cc12m/train').examples['failed_to_download'] == examples[2:]


def test_all_of_a_split(build_corpus: Builder, tmp_path: Path) -> None:
    build_corpus('cc12m', tmp_path, **SMALL)
    val = [sample['url'] for sample in samples(tmp_path / 'cc12m/val')]
    (tmp_path / 'urls.txt').write_text('\n'.join(val))
    remove(tmp_path, tmp_path / 'urls.txt')
    assert not (tmp_path / 'cc12m/val').exists()
    assert verify(tmp_path).bad == []
    rest = [sample['url'] for sample in samples(tmp_path / 'cc12m/train')]
    (tmp_path / 'urls.txt').write_text('\n'.join(rest))
    assert remove(tmp_path, tmp_path / 'urls.txt')[0].pictures == len(rest)
    assert not (tmp_path / 'cc12m').exists()


def test_killed_and_run_again(build_corpus: Builder, tmp_path: Path) -> None:
    """SIGKILL at moments spread over the whole removal: `verify` says what to do, and the end is the same."""
    build_corpus('cc12m', tmp_path / 'whole', **SMALL)
    urls = random.Random(1).sample(sorted(records(tmp_path / 'whole')), 40)
    (tmp_path / 'urls.txt').write_text('\n'.join(urls))
    command = [sys.executable, '-m', 'data_pipeline', 'remove', '--urls', str(tmp_path / 'urls.txt'), str(tmp_path / 'out')]
    build_corpus('cc12m', tmp_path / 'out', **SMALL)
    pending = tmp_path / 'out/.build/cc12m/removing.json'
    interrupted = 0
    for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not pending.exists():
            time.sleep(0.0005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if pending.exists():
            interrupted += 1
            assert any('a removal of pictures was interrupted; run `data_pipeline remove`' in line for line in verify(tmp_path / 'out').bad)
    assert interrupted >= 1
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert verify(tmp_path / 'out').bad == []
    remove(tmp_path / 'whole', tmp_path / 'urls.txt')
    assert tree(tmp_path / 'out') == tree(tmp_path / 'whole')
    assert not set(urls) & set(records(tmp_path / 'out'))


def test_mistakes(
    build_corpus: Builder, tokenizer: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build_corpus('cc12m', tmp_path / 'out', **SMALL)
    capsys.readouterr()
    whole = tree(tmp_path / 'out')
    for content, message in (('no address\n', 'urls.txt row 1 is not a URL or an image id'), ('\n', 'urls.txt holds no URL')):
        Path('urls.txt').write_text(content)
        assert message in error(capsys, 'remove', '--urls', 'urls.txt', 'out')
    Path('urls.txt').write_text(json.dumps('https://x') + '\n')
    assert 'nothing was removed' in error(capsys, 'remove', '--urls', 'urls.txt', 'out')
    Path('urls.txt').write_text('https://x.example.org/1\n')
    assert 'which tells what was built from what' in error(capsys, 'remove', '--urls', 'urls.txt', str(SAMPLE))
    assert 'missing.txt' in error(capsys, 'remove', '--urls', 'missing.txt', 'out')
    assert run('remove', '--urls', 'urls.txt', 'out') == 0
    assert capsys.readouterr().out == 'cc12m: 0 pictures removed, 0 shards written anew\n'
    assert tree(tmp_path / 'out') == whole
