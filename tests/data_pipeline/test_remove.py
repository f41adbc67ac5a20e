"""Take-downs: what is left, what the manifest says, and kills at any moment."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.build import build
from data_pipeline.job import Job
from data_pipeline.readers.cc12m import LICENCE
from data_pipeline.remove import remove
from data_pipeline.settings import Settings
from data_pipeline.verify import verify
from shards.schema import read_manifest
from tests.data_pipeline.conftest import SAMPLE, Builder, samples, tree
from tests.data_pipeline.test_build_pictures import write_tar
from tests.data_pipeline.test_cli import error, run
from tests.data_pipeline.test_references import drawing

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
    done = remove(out, tmp_path / 'urls.txt')
    (removal,) = done.removals
    assert (done.lines, done.not_found) == (6, ['https://nowhere.example.org/x'])
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
    again = remove(out / 'cc12m', tmp_path / 'urls.txt')
    assert (again.removals[0].pictures, again.not_found) == (0, ['https://nowhere.example.org/x'])
    assert tree(out) == whole
    another = next(url for url in before if url not in urls)
    (tmp_path / 'more.txt').write_text(another + '\n')
    assert remove(out, tmp_path / 'more.txt').removals[0].pictures == 1
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
    assert remove(tmp_path, tmp_path / 'urls.txt').removals[0].pictures == len(rest)
    assert not (tmp_path / 'cc12m').exists()
    again = remove(tmp_path, tmp_path / 'urls.txt')
    assert (again.removals[0].pictures, again.not_found) == (0, [])


def test_killed_and_run_again(build_corpus: Builder, tmp_path: Path) -> None:
    """SIGKILL at moments spread over the whole removal: `verify` says what to do, and the end is the same."""
    build_corpus('cc12m', tmp_path / 'whole', **SMALL)
    urls = random.Random(1).sample(sorted(records(tmp_path / 'whole')), 40)
    (tmp_path / 'urls.txt').write_text('\n'.join(urls))
    command = [sys.executable, '-m', 'data_pipeline', 'remove', '--urls', str(tmp_path / 'urls.txt'), str(tmp_path / 'out')]
    build_corpus('cc12m', tmp_path / 'out', **SMALL)
    pending = tmp_path / 'out/.build/removing.json'
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
    assert capsys.readouterr().out == (
        'cc12m: 0 pictures removed, 0 shards written anew\n'
        'urls.txt: 0 of 1 pictures found, now or by an earlier removal; in no shard are:\nhttps://x.example.org/1\n'
    )
    noted = tree(tmp_path / 'out')
    assert noted.pop('cc12m/removed.npy') and noted == whole  # asked for: no later build is to have it


def test_a_list_that_is_not_utf8_removes_nothing(build_corpus: Builder, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    build_corpus('cc12m', tmp_path / 'out', **SMALL)
    whole = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    url = samples(tmp_path / 'out/cc12m/train')[0]['url'].encode()
    list_of = tmp_path / 'urls.txt'
    list_of.write_bytes(url + b'\nhttps://x.example.org/caf\xe9.jpg\n')
    capsys.readouterr()
    assert 'urls.txt row 2 is not UTF-8' in error(capsys, 'remove', '--urls', str(list_of), str(tmp_path / 'out'))
    assert {path: path.read_bytes() for path in whole} == whole


def test_another_url_of_the_same_picture(build_corpus: Builder, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It was dropped as a duplicate, so no shard has that URL."""
    write_tar(tmp_path / 'cc3m/images/00000.tar', [('http://x/first', drawing(1), 'a'), ('http://x/other', drawing(2), 'b')])
    write_tar(tmp_path / 'cc3m/images/00001.tar', [('http://y/again', drawing(1), 'c'), ('http://y/last', drawing(3), 'd')])
    build_corpus('cc3m', tmp_path / 'out', tmp_path / 'cc3m', holdout=0)
    (tmp_path / 'urls.txt').write_text('https://y/again\n')
    shutil.copytree(tmp_path / 'out', tmp_path / 'earlier')
    done = remove(tmp_path / 'out', tmp_path / 'urls.txt')
    assert (done.removals[0].pictures, done.not_found) == (1, [])
    assert sorted(records(tmp_path / 'out', 'cc3m')) == ['http://x/other', 'http://y/last']
    assert verify(tmp_path / 'out').bad == []
    # Neither a lost shard nor a build from nothing brings it back.
    for path in (tmp_path / 'out/cc3m/train').rglob('*.mds'):
        path.unlink()
    build_corpus('cc3m', tmp_path / 'out', tmp_path / 'cc3m', holdout=0)
    assert sorted(records(tmp_path / 'out', 'cc3m')) == ['http://x/other', 'http://y/last']
    build(Job('cc3m', tmp_path / 'cc3m', tmp_path / 'new', Settings(holdout=0), exclude=(tmp_path / 'urls.txt',)), 1, 0, 1)
    assert sorted(records(tmp_path / 'new', 'cc3m')) == ['http://x/other', 'http://y/last']
    # A build of an earlier version does not know the other addresses, and says so.
    for path in (tmp_path / 'earlier/.build').rglob('aliases.npy'):
        path.unlink()
    capsys.readouterr()
    assert run('remove', '--urls', str(tmp_path / 'urls.txt'), str(tmp_path / 'earlier')) == 0
    told = capsys.readouterr().out
    assert '0 of 1 pictures found' in told and 'cc3m did not note further URLs of a picture, so look for its image id' in told


def test_a_picture_without_url(build_corpus: Builder, tmp_path: Path) -> None:
    """Those that came with their captions have none, and are not all the same for that."""
    write_tar(tmp_path / 'cc3m/images/00000.tar', [('http://x/first', drawing(1), 'a')])
    rows = [{'binary': base64.b64encode(drawing(shade)).decode(), 'caption': {'en': str(shade)}} for shade in (5, 6, 7)]
    (tmp_path / 'cc3m/translations.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    build_corpus('cc3m', tmp_path / 'out', tmp_path / 'cc3m', holdout=0)
    names = {sample['captions']['en'][0]: sample['image_id'] for sample in samples(tmp_path / 'out/cc3m/train')}
    assert sorted(names) == ['5', '6', '7', 'a']
    (tmp_path / 'ids.txt').write_text(names['6'])
    assert remove(tmp_path / 'out', tmp_path / 'ids.txt').removals[0].pictures == 1
    assert {sample['captions']['en'][0] for sample in samples(tmp_path / 'out/cc3m/train')} == {'5', '7', 'a'}


@pytest.mark.parametrize('place', ['shards', 'shards/cc3m', 'shards/cc3m/train', 'copy/cc3m', 'copy/cc3m/train'])
def test_what_was_removed_does_not_come_back_by_another_corpus(build_corpus: Builder, tmp_path: Path, place: str) -> None:
    """cc3m is built, a take-down, then cc12m, which has the same picture: by the URL, or, under another URL, by its bytes."""
    out = tmp_path / 'shards'
    write_tar(tmp_path / 'cc3m/images/00000.tar', [('http://x/a', drawing(1), 'a'), ('http://x/b', drawing(2), 'b')])
    build_corpus('cc3m', out, tmp_path / 'cc3m', holdout=0)
    (tmp_path / 'urls.txt').write_text('http://x/a\n')
    remove(out, tmp_path / 'urls.txt')
    shutil.copytree(out, tmp_path / 'copy', ignore=shutil.ignore_patterns('.build'))
    rows: list[tuple[str, bytes, str | None]] = [
        ('https://x/a', drawing(50), 'a'),
        ('http://z/same', drawing(1), 'the same bytes'),
        ('http://x/c', drawing(70), 'c'),
    ]
    write_tar(tmp_path / 'cc12m/images/00000.tar', rows)
    (manifest,) = build(Job('cc12m', tmp_path / 'cc12m', out, Settings(holdout=0), exclude=(tmp_path / place,)), 1, 0, 1) or []
    assert list(records(out)) == ['http://x/c']
    assert manifest.dropped == {'excluded_url': 2} and manifest.examples == {}  # it names no picture that was taken down
    assert manifest.settings['exclude'][0]['removed'] == 2


def test_all_of_the_other_corpus_was_removed(build_corpus: Builder, tmp_path: Path) -> None:
    out = tmp_path / 'shards'
    write_tar(tmp_path / 'cc3m/images/00000.tar', [('http://x/a', drawing(1), 'a')])
    build_corpus('cc3m', out, tmp_path / 'cc3m', holdout=0)
    (tmp_path / 'urls.txt').write_text('http://x/a\n')
    remove(out, tmp_path / 'urls.txt')
    write_tar(tmp_path / 'cc12m/images/00000.tar', [('https://x/a', drawing(50), 'a'), ('http://x/c', drawing(70), 'c')])
    build(Job('cc12m', tmp_path / 'cc12m', out, Settings(holdout=0), exclude=(out,)), 1, 0, 1)
    assert list(records(out)) == ['http://x/c']


def test_another_list_after_a_kill(build_corpus: Builder, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """SIGKILL during list A, at moments spread over it, then list B: A is completed in both corpora, and the manifests tell them apart."""
    out = tmp_path / 'out'
    build_corpus('cc12m', out, **SMALL)
    build_corpus('cc3m', out, **SMALL)
    urls = {corpus: sorted(records(out, corpus)) for corpus in ('cc12m', 'cc3m')}
    lists = {'a': urls['cc12m'][:15] + urls['cc3m'][:10], 'b': urls['cc12m'][15:20]}
    for name, content in lists.items():
        (tmp_path / name).write_text('\n'.join(content))
    digest = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in lists}
    shutil.copytree(out, tmp_path / 'fresh')
    interrupted = 0
    for delay in (0.0, 0.05, 0.15, 0.3):
        shutil.rmtree(out)
        shutil.copytree(tmp_path / 'fresh', out)
        command = [sys.executable, '-m', 'data_pipeline', 'remove', '--urls', str(tmp_path / 'a'), str(out)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / '.build/removing.json').exists():
            time.sleep(0.0005)
        time.sleep(delay)
        process.kill()
        process.wait()
        if not (out / '.build/removing.json').exists():
            continue
        interrupted += 1
        assert any('a removal of pictures was interrupted' in line for line in verify(out / 'cc3m').bad)
        capsys.readouterr()
        assert run('remove', '--urls', str(tmp_path / 'b'), str(out / 'cc12m')) == 0
        told = capsys.readouterr().out
        assert told.count('completes the removal of') == 2 and 'b: 5 of 5 pictures found' in told
        for corpus, expected in (('cc12m', 'ab'), ('cc3m', 'a')):
            numbers = [(digest[name], len(set(lists[name]) & set(urls[corpus]))) for name in expected]
            assert [(one['list'], one['pictures']) for one in read_manifest(out / corpus / 'train').removed] == numbers
            assert not {url for name in expected for url in lists[name]} & set(records(out, corpus))
        assert verify(out).bad == []
    assert interrupted >= 1
