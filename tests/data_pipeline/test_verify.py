"""`verify` finds every kind of damage and says where; `stats` adds up."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.build import build
from data_pipeline.cli import main
from data_pipeline.finish import finish
from data_pipeline.job import Job
from data_pipeline.readers import cc12m
from data_pipeline.remove import remove
from data_pipeline.settings import Settings
from data_pipeline.stats import as_json, tables
from data_pipeline.verify import verify
from shards.errors import UserError
from shards.schema import INDEX, MANIFEST, MULTILINGUAL, is_intact, read_manifest
from tests.data_pipeline.conftest import SAMPLE, Builder, samples
from tests.data_pipeline.test_build_pictures import write_tar
from tests.data_pipeline.test_references import drawing

FILES = ['WikiMatrix/WikiMatrix.de-en.tsv.gz', 'OPUS-LibreOffice/v1/moses/de-en.txt.zip']


@pytest.fixture(scope='module')
def built(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of cc12m, a language of cc100, a pair of opus."""
    raw, out = tmp_path_factory.mktemp('raw'), tmp_path_factory.mktemp('built')
    for corpus, files in (('cc100', ['th.txt.xz']), ('opus', FILES)):
        for file in files:
            (raw / corpus / file).parent.mkdir(parents=True, exist_ok=True)
            (raw / corpus / file).symlink_to(SAMPLE / 'raw' / corpus / file)
    for corpus, folder in (('cc12m', SAMPLE / 'raw/cc12m'), ('cc100', raw / 'cc100'), ('opus', raw / 'opus')):
        build(Job(corpus, folder, out, Settings(holdout=0.04), tokenizer=tokenizer), 1, 0, 1)
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / 'out')
    return tmp_path / 'out'


def test_whole(built: Path) -> None:
    report = verify(built)
    assert report.bad == []
    counts = [json.loads(path.read_text())['samples'] for path in built.rglob(MANIFEST)]
    assert (report.streams, report.samples) == (len(counts), sum(counts)) and len(counts) >= 4
    assert verify(built / 'opus/train/de-en').streams == 1


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


SHARD = 'cc12m/train/images-00000/shard.00000.mds'
TEXT = 'opus/train/de-en'


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda out: flip(out / SHARD), rf'{SHARD} is damaged \(its SHA-256'),
        (lambda out: (out / SHARD).write_bytes((out / SHARD).read_bytes()[:-1]), rf'{SHARD} has \d+ bytes instead of'),
        (lambda out: (out / SHARD).unlink(), rf'{SHARD} is missing; run the build again'),
        (lambda out: (out / TEXT / 'index.json').unlink(), r'de-en/index\.json is missing; run `data_pipeline finish`'),
        (lambda out: (out / TEXT / 'index.json').write_text('{'), r'de-en/index\.json is damaged'),
        (
            lambda out: edit(out / TEXT / 'index.json', lambda c: c['shards'].pop()),
            r'index\.json disagrees with manifest\.json about the shards',
        ),
        (lambda out: edit(out / TEXT / 'index.json', lambda c: c['shards'][0]['column_names'].pop()), 'damaged'),
        (lambda out: (out / TEXT / MANIFEST).unlink(), r'de-en/manifest\.json is missing'),
        (lambda out: (out / TEXT / MANIFEST).write_text('[]'), r'de-en/manifest\.json has schema version None'),
        (lambda out: edit(out / TEXT / MANIFEST, lambda c: c.update(samples=7)), r'manifest\.json says samples 7, the shards hold \d+'),
        (lambda out: edit(out / TEXT / MANIFEST, lambda c: c['tokens'].update(de=1)), r'manifest\.json says tokens'),
        (
            lambda out: edit(out / TEXT / MANIFEST, lambda c: c['settings'].update(pieces=1000)),
            r'sample \d+: .* allowed are 250 of 3 to 1000',
        ),
        (lambda out: (out / TEXT / 'extra.mds').write_bytes(b'x'), r'de-en/extra\.mds belongs to no manifest'),
        (lambda out: (out / 'cc12m/train' / MULTILINGUAL).unlink(), r'multilingual\.npy is missing, or not the list'),
        (lambda out: np.save(out / 'cc12m/train' / MULTILINGUAL, np.arange(3)), r'multilingual\.npy is missing, or not the list'),
    ],
    ids=[
        'flip',
        'truncate',
        'missing',
        'no-index',
        'bad-index',
        'short-index',
        'columns',
        'no-manifest',
        'bad-manifest',
        'samples',
        'tokens',
        'pieces',
        'extra',
        'no-array',
        'array',
    ],
)
def test_damage(out: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(out)
    bad = verify(out).bad
    assert any(re.search(message, line) for line in bad), bad


@pytest.fixture
def stream(build_corpus: Builder, tmp_path: Path) -> Path:
    """A small stream of pictures, with several languages."""
    write_tar(tmp_path / 'raw/images/00000.tar', [(f'http://x/{shade}', drawing(shade), f'words {shade}') for shade in range(3)])
    (tmp_path / 'raw/translations.tsv').write_text('url\tde\nhttp://x/0\tWorte\nhttp://x/2\tWorte\n')
    build_corpus('cc3m', tmp_path / 'small', tmp_path / 'raw', holdout=0)
    stream = tmp_path / 'small/cc3m/train'
    assert verify(stream).bad == [] and np.load(stream / MULTILINGUAL).tolist() == [0, 2]
    return stream


def test_no_bit_of_a_manifest_may_flip(stream: Path) -> None:
    content = (stream / MANIFEST).read_bytes()
    assert is_intact(content) is True
    for place in range(len(content)):
        for bit in range(8):
            assert is_intact(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]) is not True


@pytest.mark.parametrize('name', [MANIFEST, INDEX, MULTILINGUAL, 'images-00000/shard.00000.mds'])
def test_flipped_bits_are_found(stream: Path, name: str) -> None:
    """In every file of a stream; in a manifest and an index at every field, in an array at every byte."""
    path = stream / name
    content = path.read_bytes()
    ends = [match.end() for match in re.finditer(rb'": ?"?', content)] if path.suffix == '.json' else []
    places = sorted({place for end in ends for place in (end - 4, end)}) or range(0, len(content), 1 + len(content) // 150)
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        assert any(name in line for line in verify(stream).bad), (place, content[place - 20 : place + 20])
    path.write_bytes(content)
    assert verify(stream).bad == []


def test_manifests_of_an_earlier_version(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are accepted, which is said. Damage in them that is seen at all is a line, never a stack trace."""
    edit(stream / MANIFEST, lambda content: [content.pop(name) for name in ('digest', 'files')])
    capsys.readouterr()
    assert main(['verify', str(stream)]) == 0
    assert 'manifest.json: by an earlier version, without a digest of its own' in capsys.readouterr().out
    content = (stream / MANIFEST).read_bytes()
    for place in range(0, len(content), 5):
        (stream / MANIFEST).write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        verify(stream)


def test_another_rule_that_begins_with_length(out: Path) -> None:
    settings = {'without': 'length_ratio', 'max_length': 1}
    edit(out / TEXT / MANIFEST, lambda content: content['settings'].update(settings))
    assert any('allowed are 1 of' in line for line in verify(out / TEXT).bad)
    edit(out / TEXT / MANIFEST, lambda content: content['settings'].update(without='person, length'))
    assert not any('allowed are' in line for line in verify(out / TEXT).bad)


def test_unfinished_build(out: Path) -> None:
    (out / '.build/opus/build/WikiMatrix-WikiMatrix.de-en-00000/unit.json').unlink()
    for place in (out, out / 'opus', out / TEXT):
        assert any('is not complete, unit WikiMatrix-WikiMatrix.de-en-00000 is missing' in line for line in verify(place).bad)
    assert verify(out / 'cc12m').bad == []


def test_undecodable_picture(out: Path) -> None:
    """A picture that is broken although every checksum agrees: the whole shard was written wrong."""
    from data_pipeline.writer import UnitWriter

    folder = out / 'written'
    writer = UnitWriter(folder, 'pictures', Settings(holdout=0))
    captions = {'en': ['x']}
    writer.add({'image': b'<html>', 'captions': captions, 'url': 'http://x', 'licence': '', 'image_id': '0'}, b'key', {'en': 1}, {})
    writer.add({'image': b'', 'captions': {'xx': []}, 'url': 'http://y', 'licence': '', 'image_id': '1'}, b'other', {'en': 1}, {})
    said = writer.finish()['train']
    stream = out / 'cc12m/train'
    (entry,) = said['shards']
    (folder / 'shards/train/shard.00000.mds').replace(stream / 'shard.00000.mds')
    shutil.rmtree(folder)
    edit(stream / 'index.json', lambda content: content['shards'].append(entry))
    shard = {'file': 'shard.00000.mds', 'bytes': entry['raw_data']['bytes'], 'sha256': entry['raw_data']['hashes']['sha256'], 'samples': 2}
    edit(stream / MANIFEST, lambda content: content['shards'].append(shard))
    bad = verify(stream).bad
    assert any('sample 0: the picture of http://x does not open' in line for line in bad)
    assert any('sample 1: captions "{\'xx\': []}" are not' in line for line in bad)


def test_licences(out: Path) -> None:
    """Every sample is counted under one; those of pictures are the records' own."""
    for path in out.rglob(MANIFEST):
        manifest = read_manifest(path.parent)
        assert sum(manifest.licences.values()) == manifest.samples and '' not in manifest.licences
    edit(out / 'cc12m/train' / MANIFEST, lambda content: content.update(licences={'CC0': content['samples']}))
    assert any('says licences' in line for line in verify(out / 'cc12m').bad)


def test_a_build_of_an_earlier_version_is_finished_as_it_was(out: Path) -> None:
    """It has no licences and no digests: its manifests, whose hashes are in checkpoints, stay the same to the byte."""
    edit(out / '.build/cc12m/plan.json', lambda content: content.pop('digests'))
    for path in (out / '.build/cc12m/build').glob('*/unit.json'):
        edit(path, lambda content: [stream.pop('licences') for stream in content['streams'].values()])
    path = out / 'cc12m/train' / MANIFEST
    content = json.loads(path.read_text())
    for name in ('licences', 'digest', 'files'):
        del content[name]
    before = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + '\n'
    path.write_text(before)
    finish(out)
    assert path.read_text() == before
    assert read_manifest(out / 'cc12m/train').licences == {} and verify(out / 'cc12m').bad == []
    assert 'licences: not recorded' in tables(out / 'cc12m/train')
    next((out / 'cc12m/train').rglob('*.mds')).unlink()
    build(Job('cc12m', SAMPLE / 'raw/cc12m', out, Settings(holdout=0.04)), 1, 0, 1)
    assert {name for name in json.loads(path.read_text()) if name not in content} <= {'licences'}  # of the shard that is new
    # A take-down changes them in any case.
    (out / 'urls.txt').write_text(samples(out / 'cc12m/train')[0]['url'])
    remove(out / 'cc12m', out / 'urls.txt')
    assert is_intact(path.read_bytes()) and is_intact((out / 'cc12m/val' / MANIFEST).read_bytes())


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='holds no stream'):
        verify(tmp_path)
    with pytest.raises(UserError, match='is no folder'):
        verify(tmp_path / 'missing')


def test_stats(built: Path) -> None:
    told = json.loads(as_json(built))
    manifests = [json.loads(path.read_text()) for path in built.rglob(MANIFEST)]
    assert set(told) == {'cc12m', 'cc100', 'opus'}
    for corpus, said in told.items():
        mine = [manifest for manifest in manifests if manifest['corpus'] == corpus]
        for split, numbers in said['splits'].items():
            streams = [manifest for manifest in mine if manifest['split'] == split]
            assert numbers['samples'] == sum(manifest['samples'] for manifest in streams)
            assert numbers['bytes'] == sum(path.stat().st_size for path in (built / corpus / split).rglob('*.mds'))
            assert numbers['tokens'] == {language: number for manifest in streams for language, number in manifest['tokens'].items()}
    assert told['cc12m']['dropped'] == {'failed_to_download': 155}
    assert told['cc12m']['licences'] == {cc12m.LICENCE: sum(split['samples'] for split in told['cc12m']['splits'].values())}
    text = tables(built)
    assert f'licences: {cc12m.LICENCE} {told["cc12m"]["licences"][cc12m.LICENCE]:,}\n  dropped: failed_to_download 155' in text
    assert f'train: {told["opus"]["splits"]["train"]["samples"]:,} samples in 1 stream' in text
