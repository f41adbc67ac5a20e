from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from streaming import MDSWriter

from pretrain.data.streams import Catalog, RecordStream
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import PER_SHARD, TEXTS, Record, write_pictures


@pytest.fixture
def shards(home: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(home / 'shards', tmp_path / 'shards'))


def pictures_of(shards: Path, cache: Path | None = None) -> RecordStream:
    return RecordStream(shards / 'cc3m' / 'train', 'cc3m', 'train', 0, str(cache) if cache else None)


def read_all(stream: RecordStream) -> list[Record]:
    return [stream.record(index) for index in range(len(stream))]


def test_records_are_those_written(home: Path, pictures: list[Record]) -> None:
    stream = pictures_of(home / 'shards')
    assert len(stream) == 130 and stream.sizes == [PER_SHARD] * 6 + [10] and stream.name == 'cc3m/train'
    expected = [record for record in pictures if len(record['captions']) > 1][:130]
    assert [stream.record(index) for index in (129, 0, 20, 19)] == [expected[index] for index in (129, 0, 20, 19)]


def test_a_catalog_finds_all_streams(home: Path, tokenizer: Tokenizer) -> None:
    catalog = Catalog(home / 'shards', tokenizer)
    assert [stream.name for stream in catalog.streams('cc100', 'train')] == [f'cc100/train/{language}' for language in sorted(TEXTS)]
    assert [stream.languages for stream in catalog.streams('opus', 'val')] == [('de', 'en'), ('en', 'sw'), ('en', 'zh')]
    assert catalog.streams('wit', 'test') == []
    assert len(catalog.digests()) == len(TEXTS) + 3


def test_sample_ids_are_unique_and_do_not_depend_on_what_else_is_read(home: Path, tokenizer: Tokenizer) -> None:
    catalog = Catalog(home / 'shards', tokenizer)
    streams = [stream for corpus in ('cc3m', 'wit', 'cc100', 'opus') for stream in catalog.streams(corpus, 'train')]
    ids = [stream.sample_id(index) for stream in streams for index in range(len(stream))]
    assert len(set(ids)) == len(ids) and max(ids) < 1 << 63
    alone = Catalog(home / 'shards', tokenizer).streams('opus', 'train')[1]
    assert alone.sample_id(3) == catalog.streams('opus', 'train')[1].sample_id(3)


def test_languages_of_a_pair_with_more_than_one_dash(shards: Path) -> None:
    folder = shards / 'opus' / 'train' / 'en-zh'
    manifest = json.loads((folder / 'manifest.json').read_text())
    for languages in (['en', 'zh-TW'], ['zh-TW', 'en']):
        renamed = folder.with_name('en-zh-TW')
        manifest['languages'] = dict.fromkeys(languages, 30)
        (folder / 'manifest.json').write_text(json.dumps(manifest))
        folder.rename(renamed)
        assert RecordStream(renamed, 'opus', 'train', 0).languages == ('en', 'zh-TW')
        renamed.rename(folder)
    with pytest.raises(UserError, match=r'en-zh/manifest.json names the languages zh-TW, en, its folder en-zh; build opus again'):
        RecordStream(folder, 'opus', 'train', 0)


def test_another_tokenizer_is_refused(shards: Path, tokenizer: Tokenizer) -> None:
    path = shards / 'cc100' / 'train' / 'tr' / 'manifest.json'
    path.write_text(path.read_text().replace(tokenizer.fingerprint, 'f' * 32))
    message = rf'cc100/train/tr/manifest.json was built with tokenizer f+, this run has {tokenizer.fingerprint}; set data.tokenizer'
    with pytest.raises(UserError, match=message):
        Catalog(shards, tokenizer).streams('cc100', 'train')


def test_an_unfinished_stream_is_refused(shards: Path, tokenizer: Tokenizer) -> None:
    (shards / 'cc100' / 'train' / 'tr' / 'manifest.json').unlink()
    with pytest.raises(UserError, match=r'tr/manifest\.json is missing; build it'):
        Catalog(shards, tokenizer).streams('cc100', 'train')


def test_a_language_without_a_code_is_refused(shards: Path, tokenizer: Tokenizer) -> None:
    path = shards / 'cc3m' / 'train' / 'manifest.json'
    path.write_text(path.read_text().replace('"de"', '"qqq"'))
    with pytest.raises(UserError, match='qqq'):
        Catalog(shards, tokenizer).streams('cc3m', 'train')


@pytest.mark.parametrize('damage', ['missing', 'truncated', 'garbage'])
def test_a_damaged_shard_is_named(shards: Path, damage: str) -> None:
    stream = pictures_of(shards)
    path = shards / 'cc3m' / 'train' / stream.manifest.shards[1]['file']
    whole = path.read_bytes()
    if damage == 'missing':
        path.unlink()
    else:
        path.write_bytes(whole[:-100] if damage == 'truncated' else b'\xff' * len(whole))
    assert stream.record(0)['licence'] == 'test', 'other shards still serve'
    with pytest.raises(UserError, match=rf'{path} cannot be read .*`data_pipeline verify {stream.folder}`') as caught:
        stream.record(PER_SHARD)
    assert '\n' not in str(caught.value)


def test_a_shard_that_vanishes_later_is_named(shards: Path) -> None:
    stream = pictures_of(shards)
    stream.record(0)
    shutil.rmtree(shards / 'cc3m' / 'train' / 'unit-00000')
    with pytest.raises(UserError, match=r'unit-00000/shard.00000.mds cannot be read'):
        stream.record(1)


def test_an_index_of_other_shards_is_named(shards: Path) -> None:
    shutil.copy(shards / 'wit' / 'train' / 'index.json', shards / 'cc3m' / 'train' / 'index.json')
    with pytest.raises(UserError, match=r'cc3m/train/index.json cannot be read \(its shards are not those of manifest.json\)'):
        pictures_of(shards).record(0)


def test_a_pickled_column_is_never_opened(shards: Path) -> None:
    folder = shards / 'cc3m' / 'train'
    with MDSWriter(out=str(folder / 'evil'), columns={'image': 'pkl'}) as writer:
        writer.write({'image': b''})
    (folder / 'index.json').write_text((folder / 'evil' / 'index.json').read_text())
    with pytest.raises(UserError, match='unsafe type'):
        pictures_of(shards).record(0)


@pytest.mark.parametrize('content', [np.array([3, 2]), np.array([0, 130]), np.array([-1, 4]), np.array([0.5]), np.array([[1]]), None])
def test_wrong_multilingual_indices_are_named(shards: Path, content: np.ndarray | None) -> None:
    path = shards / 'cc3m' / 'train' / 'multilingual.npy'
    path.unlink()
    if content is not None:
        np.save(path, content)
    with pytest.raises(UserError, match=r'multilingual.npy cannot be read'):
        pictures_of(shards).multilingual()


def test_a_copy_for_another_process_opens_its_own_files(home: Path) -> None:
    stream = pictures_of(home / 'shards')
    first = stream.record(5)
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301 (what multiprocessing does)
    assert copy._stream is None and copy.record(5) == first


def _read(folder: str, cache: str, results: multiprocessing.Queue[list[str]]) -> None:
    stream = RecordStream(Path(folder), 'wit', 'train', 0, cache)
    results.put([record['image_id'] for record in read_all(stream)])


def test_compressed_shards_are_unpacked_once_into_the_cache(tmp_path: Path, pictures: list[Record]) -> None:
    folder, cache = tmp_path / 'wit' / 'train', tmp_path / 'cache'
    write_pictures(folder, 'wit', pictures[:50], compression='zstd:3')
    before = sorted(path.name for path in folder.rglob('*'))
    context = multiprocessing.get_context('fork')
    results: multiprocessing.Queue[list[str]] = context.Queue()
    readers = [context.Process(target=_read, args=(str(folder), str(cache), results)) for _ in range(3)]
    for reader in readers:
        reader.start()
    read = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert read == [[record['image_id'] for record in pictures[:50]]] * 3
    assert sorted(path.name for path in folder.rglob('*')) == before, 'the shards themselves are only read'
    assert sorted(path.name for path in cache.rglob('*.mds*')) == ['shard.00000.mds'] * 3


@pytest.mark.filterwarnings('ignore::ResourceWarning:streaming')
@pytest.mark.parametrize('damage', ['missing', 'truncated'])
def test_a_damaged_compressed_shard_is_named(tmp_path: Path, pictures: list[Record], damage: str) -> None:
    folder = tmp_path / 'wit' / 'train'
    write_pictures(folder, 'wit', pictures[:30], compression='zstd:3')
    stream = RecordStream(folder, 'wit', 'train', 0, str(tmp_path / 'cache'))
    path = folder / stream.manifest.shards[1]['file']
    assert path.suffix == '.zstd'
    content = path.read_bytes()
    path.unlink()
    if damage == 'truncated':
        path.write_bytes(content[:-100])
    stream.record(0)
    with pytest.raises(UserError, match=f'{path} cannot be read'):
        stream.record(25)
