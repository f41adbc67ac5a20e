"""Picture corpora from the sample's files to shards, against joins of a few lines; and broken input."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from PIL import Image

from shards.errors import UserError
from shards.languages import canonical
from shards.schema import MULTILINGUAL, Manifest
from tests.data_pipeline.conftest import SAMPLE, Builder, samples

Raw = Callable[..., Path]


def read_all(out: Path, corpus: str) -> dict[str, dict[str, Any]]:
    """Records of both splits by URL, after checking that no picture is in both."""
    train, val = (samples(out / corpus / split) for split in ('train', 'val'))
    assert not {sample['image_id'] for sample in train} & {sample['image_id'] for sample in val}
    assert len({sample['image_id'] for sample in train + val}) == len(train + val)
    return {sample['url']: sample for sample in train + val}


def translated(path: Path) -> dict[str, dict[str, list[str]]]:
    rows = [json.loads(line) for line in path.read_text(encoding='utf8').splitlines()]
    return {row['url']: {language: [text] for language, text in row['caption'].items()} for row in rows}


def count_captions(records: dict[str, dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in records.values():
        for language, texts in record['captions'].items():
            counts[language] = counts.get(language, 0) + len(texts)
    return counts


def check_manifests(out: Path, corpus: str, manifests: list[Manifest], records: dict[str, dict[str, Any]]) -> None:
    counted: dict[str, int] = {}
    for manifest in manifests:
        for language, number in manifest.languages.items():
            counted[language] = counted.get(language, 0) + number
        stream = out / corpus / manifest.split
        several = [i for i, sample in enumerate(samples(stream)) if len(sample['captions']) >= 2]
        array = np.load(stream / MULTILINGUAL)
        assert (array.dtype, array.tolist()) == (np.int64, several)
        assert manifest.tokenizer is None
        for source in manifest.sources:
            path = SAMPLE / 'raw' / corpus / source['path']
            if path.is_file():
                data = path.read_bytes()
                # What img2dataset made has a quicker hash than what was published.
                own = path.suffix in ('.tar', '.parquet')
                told = {'xxh3_128': xxhash.xxh3_128_hexdigest(data)} if own else {'sha256': hashlib.sha256(data).hexdigest()}
                assert source == {'path': source['path'], 'bytes': len(data), **told}
    assert counted == count_captions(records)
    assert sum(manifest.samples for manifest in manifests) == len(records)


def test_cc3m(build_corpus: Builder, tmp_path: Path) -> None:
    manifests = build_corpus('cc3m', tmp_path, holdout=0.04)
    raw = SAMPLE / 'raw/cc3m'
    expected = translated(raw / 'translations.jsonl')
    empty = 0
    for line in (raw / 'Train_GCC-training.tsv').read_text(encoding='utf8').rstrip('\n').split('\n'):
        text, url = line.split('\t')
        empty += not text
        if text:
            expected.setdefault(url, {})['en'] = [text]
    with tarfile.open(raw / 'images/00000.tar') as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    pictures = {json.loads(data)['url']: members[name.replace('json', 'jpg')] for name, data in members.items() if name.endswith('.json')}
    records = read_all(tmp_path, 'cc3m')
    assert {url: record['image'] for url, record in records.items()} == pictures
    assert {url: record['captions'] for url, record in records.items()} == {url: expected[url] for url in pictures}
    assert all(record['image_id'] == hashlib.sha256(record['image']).hexdigest()[:16] for record in records.values())
    # The 40 inline pictures are those of the tar; their captions say the same.
    assert manifests[0].dropped == {'failed_to_download': 8, 'empty_caption': empty, 'duplicate_picture': 40}
    assert manifests[1].dropped == {}
    assert [manifest.split for manifest in manifests] == ['train', 'val']
    check_manifests(tmp_path, 'cc3m', manifests, records)
    assert [source['path'] for source in manifests[0].sources] == [
        'Train_GCC-training.tsv',
        'images/00000.parquet',
        'images/00000.tar',
        'translations.jsonl',
        'translations_inline.jsonl',
    ]


def test_cc12m(build_corpus: Builder, tmp_path: Path) -> None:
    manifests = build_corpus('cc12m', tmp_path, holdout=0.04)
    raw = SAMPLE / 'raw/cc12m'
    expected = translated(raw / 'translations.jsonl')
    people = 0
    for line in (raw / 'cc12m.tsv').read_text(encoding='utf8').rstrip('\n').split('\n'):
        url, text = line.split('\t')
        people += '<PERSON>' in text
        expected.setdefault(url, {})['en'] = [text.replace('<PERSON>', 'person')]
    assert people > 0
    rows = pq.read_table(raw / 'images/00000.parquet').to_pylist()
    pictures = {row['url']: row['jpg'] for row in rows if row['status'] == 'success'}
    for path in (raw / 'images_files/00000').glob('*.json'):
        pictures[json.loads(path.read_text())['url']] = path.with_suffix('.jpg').read_bytes()
    records = read_all(tmp_path, 'cc12m')
    assert {url: record['image'] for url, record in records.items()} == pictures
    assert {url: record['captions'] for url, record in records.items()} == {url: expected[url] for url in pictures}
    assert manifests[0].dropped == {'failed_to_download': 143 + 12}
    check_manifests(tmp_path, 'cc12m', manifests, records)


def test_wit(build_corpus: Builder, tmp_path: Path) -> None:
    manifests = build_corpus('wit', tmp_path, holdout=0.04)
    raw = SAMPLE / 'raw/wit'
    expected: dict[str, dict[str, list[str]]] = {}
    for path in sorted(raw.glob('*.tsv.gz')):
        with gzip.open(path, 'rt', encoding='utf8', newline='') as handle:
            for row in csv.DictReader(handle, delimiter='\t'):
                text = row['caption_reference_description'].strip()
                if text and text != '.' and row['mime_type'] in ('image/jpeg', 'image/png', 'image/webp'):
                    texts = expected.setdefault(row['image_url'].partition('://')[2], {}).setdefault(canonical(row['language']), [])
                    texts += [text] if text not in texts else []
    pictures = {}
    for path in raw.glob('image_data_train/image_pixels/*.csv.gz'):
        for line in gzip.decompress(path.read_bytes()).decode().rstrip('\n').split('\n'):
            url, _, data = line.partition('\t')
            pictures[url.partition('://')[2]] = base64.b64decode(data)
    records = {url.partition('://')[2]: record for url, record in read_all(tmp_path, 'wit').items()}
    assert set(records) == set(expected) & set(pictures)
    assert {url: record['captions'] for url, record in records.items()} == {url: expected[url] for url in records}
    # Two are photographs of 2400 x 1800, which are shrunk; an alpha channel that is opaque is no reason to touch a PNG.
    changed = [record['image'] for url, record in records.items() if record['image'] != pictures[url]]
    assert [Image.open(io.BytesIO(image)).size for image in changed] == [(512, 384)] * 2
    assert {len(record['captions']) for record in records.values()} > {1, 2, 3}
    assert {record['licence'] for record in records.values()} == {'CC-BY-SA-3.0'}
    check_manifests(tmp_path, 'wit', manifests, records)


def test_wit_as_kaggle_has_it(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    """Three cells a line, and a folder of embeddings beside the pixels with files of the same names."""
    folder = raw('wit', *(path.name for path in (SAMPLE / 'raw/wit').glob('*.tsv.gz')))
    for path in sorted((SAMPLE / 'raw/wit/image_data_train/image_pixels').glob('*.csv.gz')):
        rows = gzip.decompress(path.read_bytes()).decode().splitlines()
        urls = [row.partition('\t')[0] for row in rows]
        embedding = ','.join(str(i / 2048) for i in range(2048))
        for kind, lines in (('image_pixels', rows), ('resnet_embeddings', [f'{url}\t{embedding}' for url in urls])):
            place = folder / 'image_data_train' / kind / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            text = ''.join(f'{line}\thttps://commons.wikimedia.org/wiki/{i}\n' for i, line in enumerate(lines))
            place.write_bytes(gzip.compress(text.encode()))
    expected = build_corpus('wit', tmp_path / 'two')
    manifests = build_corpus('wit', tmp_path / 'three', folder)
    assert [manifest.shards for manifest in manifests] == [manifest.shards for manifest in expected]
    assert [(manifest.dropped, manifest.warnings) for manifest in manifests] == [(manifest.dropped, []) for manifest in expected]
    assert not any('resnet' in source['path'] for manifest in manifests for source in manifest.sources)


# --- hand-made and broken input -------------------------------------------------------------------------------------------------------


def picture(shade: int, size: int = 40) -> bytes:
    out = io.BytesIO()
    Image.new('L', (size, size), shade).save(out, 'PNG')
    return out.getvalue()


def write_tar(path: Path, rows: list[tuple[str, bytes, str | None]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as archive:
        for number, (url, image, caption) in enumerate(rows):
            record = json.dumps({'caption': caption, 'url': url, 'status': 'success'}).encode()
            for suffix, content in (('jpg', image), ('txt', (caption or '').encode()), ('json', record)):
                member = tarfile.TarInfo(f'{number:09}.{suffix}')
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def test_duplicates_over_shards_are_merged(build_corpus: Builder, tmp_path: Path) -> None:
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    write_tar(raw / 'images/00000.tar', [('http://x/a', picture(1), 'a'), ('http://x/b', picture(2), 'b')])
    write_tar(
        raw / 'images/00001.tar', [('https://x/a', picture(3), 'other'), ('http://x/c', picture(1), 'c'), ('http://x/d', picture(4), 'd')]
    )
    rows = [{'url': f'http://x/{name}', 'caption': {'de': f'{name} de'}} for name in 'acd']
    (raw / 'translations.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    inline = [{'binary': base64.b64encode(picture(shade)).decode(), 'caption': {'fr': f'fr {shade}'}} for shade in (2, 9)]
    (raw / 'translations_inline.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in inline))
    (manifest,) = build_corpus('cc3m', out, raw, holdout=0)
    found = {sample['url']: sample['captions'] for sample in samples(out / 'cc3m/train')}
    assert found == {
        'http://x/a': {'de': ['a de', 'c de'], 'en': ['a', 'other', 'c']},  # the picture of c is that of a
        'http://x/b': {'en': ['b'], 'fr': ['fr 2']},  # inline captions of a picture that is there
        'http://x/d': {'de': ['d de'], 'en': ['d']},
        '': {'fr': ['fr 9']},  # an inline picture that is not
    }
    assert manifest.dropped == {'duplicate_url': 1, 'duplicate_picture': 2}
    assert np.load(out / 'cc3m/train' / MULTILINGUAL).tolist() == [0, 1, 2]


def test_bad_records_are_counted(build_corpus: Builder, tmp_path: Path) -> None:
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    rows = [
        ('http://x/good', picture(1), 'ignored'),
        ('http://x/broken', b'<html>', 'a'),
        ('http://x/short', picture(2, 200)[:-60], 'a'),
        ('http://x/small', picture(3, 8), 'a'),
        ('http://x/null', picture(4), None),
        ('http://x/dot', picture(5), 'ignored'),
        ('http://x/fallback', picture(6), 'img2dataset knows'),
    ]
    write_tar(raw / 'images/00000.tar', rows)
    table = {
        'url': [row[0] for row in rows] + ['http://x/404', 'http://x/big'],
        'status': ['success'] * 7 + ['failed_to_download', 'failed_to_resize'],
    }
    pq.write_table(pa.table(table), raw / 'images/00000.parquet')
    lines = [
        'Good!\thttp://x/good',
        '\thttp://x/null',
        '.\thttp://x/dot',
        'lost\thttp://x/404',
        'nowhere\thttp://x/nowhere',
        'Good!\thttp://x/good',
        'bad',
    ]
    (raw / 'Train_GCC-training.tsv').write_text('\n'.join([*lines, *(f'a\t{url}' for url, _, _ in rows[1:4])]))
    (manifest,) = build_corpus('cc3m', out, raw, holdout=0)
    found = {sample['url']: sample['captions'] for sample in samples(out / 'cc3m/train')}
    assert found['http://x/good'] == {'en': ['Good!']}  # the TSV is the authority; img2dataset's caption serves where it has none
    assert found['http://x/fallback'] == {'en': ['img2dataset knows']}
    assert found['http://x/dot'] == {'en': ['ignored']}
    assert len(found) == 3
    dropped = dict(manifest.dropped)
    assert dropped.pop('picture_truncated', 0) + dropped.pop('picture_not_decodable') == 2
    assert dropped == {
        'picture_too_small': 1,
        'no_caption': 1,
        'empty_caption': 2,
        'no_picture': 1,
        'duplicate_caption': 1,
        'malformed_row': 1,
        'failed_to_download': 1,
        'failed_to_resize': 1,
    }


def test_truncated_tar_is_used_counted_and_told(
    build_corpus: Builder, raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = raw('cc3m', 'Train_GCC-training.tsv', 'translations.jsonl', 'images/00000.parquet')
    whole = (SAMPLE / 'raw/cc3m/images/00000.tar').read_bytes()
    (folder / 'images/00000.tar').write_bytes(whole[: len(whole) // 3])
    manifests = build_corpus('cc3m', tmp_path / 'out', folder, holdout=0.04)
    kept = sum(manifest.samples for manifest in manifests)
    assert 200 < kept < 300
    assert manifests[0].dropped['truncated_tar'] == 727 - kept
    assert 'no_picture' not in manifests[0].dropped, 'counted twice'
    assert (
        sum(manifests[0].dropped.values()) + kept
        == 727 + manifests[0].dropped['failed_to_download'] + manifests[0].dropped['empty_caption']
    )
    (warning,) = manifests[0].warnings
    assert f'00000.tar is truncated: {kept} pictures can be read, {727 - kept} are lost' in warning
    assert f'warning: {warning}' in capsys.readouterr().err


def test_other_places(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder = raw('cc3m', 'Train_GCC-training.tsv')
    with pytest.raises(UserError, match=r'holds no folder images \(img2dataset\); give --images'):
        build_corpus('cc3m', tmp_path / 'out', folder)
    origin = SAMPLE / 'raw/cc3m'
    manifests = build_corpus('cc3m', tmp_path / 'out', folder, images=origin / 'images', translations=origin / 'translations.jsonl')
    assert sum(manifest.samples for manifest in manifests) == 727
    assert [source['path'] for source in manifests[0].sources] == [
        'Train_GCC-training.tsv',
        'images/00000.parquet',
        'images/00000.tar',
        'translations.jsonl',
    ]
    with pytest.raises(UserError, match=r'holds no translations\*\.jsonl'):
        build_corpus('cc3m', tmp_path / 'out', folder, images=origin / 'images', translations=origin / 'images')


def test_wit_from_img2dataset(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder = raw('wit', 'wit_v1.train.all-00000-of-00010.tsv.gz')
    pixels = gzip.decompress((SAMPLE / 'raw/wit/image_data_train/image_pixels/part-00000.csv.gz').read_bytes()).decode()
    urls = [line.partition('\t')[0] for line in pixels.split('\n')[:30]]
    write_tar(folder / 'images/00000.tar', [(url, picture(i), 'in no known language') for i, url in enumerate(urls)])
    (manifest,) = build_corpus('wit', tmp_path / 'out', folder, holdout=0)
    assert 0 < manifest.samples <= 30
    found = samples(tmp_path / 'out/wit/train')
    assert not any('in no known language' in str(sample['captions']) for sample in found)
    assert manifest.samples + manifest.dropped.get('no_caption', 0) == 30


def test_a_file_that_is_no_picture_of_the_web_is_counted(build_corpus: Builder, tmp_path: Path) -> None:
    eps = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).convert('RGB').save(eps, 'EPS')
    write_tar(tmp_path / 'raw/images/00000.tar', [('http://x/a', picture(2), 'a'), ('http://x/b', eps.getvalue(), 'b')])
    (manifest,) = build_corpus('cc3m', tmp_path / 'out', tmp_path / 'raw', holdout=0)
    assert (manifest.samples, manifest.dropped) == (1, {'picture_not_decodable': 1})


def test_nothing_left_says_why(build_corpus: Builder, tmp_path: Path) -> None:
    write_tar(tmp_path / 'raw/images/00000.tar', [('http://x/a', b'<html>', 'a')])
    with pytest.raises(UserError, match=r'nothing is left of this corpus .*picture_not_decodable 1'):
        build_corpus('cc3m', tmp_path / 'out', tmp_path / 'raw')


@pytest.mark.filterwarnings('ignore:unclosed file:ResourceWarning')  # streaming's own
def test_compressed_shards(build_corpus: Builder, tmp_path: Path) -> None:
    build_corpus('cc12m', tmp_path / 'plain', shard_bytes=1 << 18, holdout=0)
    (manifest,) = build_corpus('cc12m', tmp_path / 'zstd', shard_bytes=1 << 18, compression='zstd:3', holdout=0)
    files = [shard['file'] for shard in manifest.shards]
    assert len(files) > 4
    assert all(file.endswith('.mds.zstd') for file in files)
    from streaming.base.stream import Stream
    from streaming.base.world import World

    stream = Stream(local=str(tmp_path / 'zstd/cc12m/train'), validate_hash='sha256', keep_zip=True)
    unpacked = []
    for shard in stream.get_shards(World.detect(), False):
        stream.prepare_shard(shard)
        unpacked += [shard.get_item(i) for i in range(shard.samples)]
    assert unpacked == samples(tmp_path / 'plain/cc12m/train')
