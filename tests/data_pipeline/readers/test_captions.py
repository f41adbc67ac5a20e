"""Caption files of CC3M and CC12M and translations: the sample's files, and odd or broken ones."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path

import pytest

from data_pipeline.drops import Drops
from data_pipeline.readers import captions, cc3m, cc12m
from data_pipeline.records import Caption
from shards.errors import UserError

RAW = Path(__file__).parents[3] / 'sample/raw'


def test_cc3m() -> None:
    (path,) = cc3m.caption_files(RAW / 'cc3m')
    rows = [line.split('\t') for line in path.read_bytes().decode().rstrip('\n').split('\n')]
    drops = Drops()
    assert list(cc3m.captions(path, drops)) == [Caption(url, 'en', text) for text, url in rows]
    assert not drops.counts


def test_the_validation_file_of_cc3m_is_no_training_file(tmp_path: Path) -> None:
    train, validation = tmp_path / 'Train_GCC-training.tsv', tmp_path / 'Validation_GCC-1.1.0-Validation.tsv'
    validation.touch()
    assert cc3m.caption_files(tmp_path) == [validation], 'alone it is what the user wants built'
    train.touch()
    assert cc3m.caption_files(tmp_path) == [train]


def test_cc12m_is_the_other_way_round() -> None:
    (path,) = cc12m.caption_files(RAW / 'cc12m')
    rows = [line.split('\t') for line in path.read_bytes().decode().rstrip('\n').split('\n')]
    assert list(cc12m.captions(path, Drops())) == [Caption(url, 'en', text) for url, text in rows]
    with pytest.raises(UserError, match=r'cc12m\.tsv row 1 is not caption<TAB>url.*`build cc12m`'):
        list(cc3m.captions(path, Drops()))
    (other,) = cc3m.caption_files(RAW / 'cc3m')
    with pytest.raises(UserError, match=r'Train_GCC-training\.tsv row 1 is not url<TAB>caption.*`build cc3m`'):
        list(cc12m.captions(other, Drops()))


def test_odd_rows(tmp_path: Path) -> None:
    path = tmp_path / 'Train_GCC-training.tsv'
    odd = 'a "quote\u2028and\x85more'
    path.write_bytes(
        f'{odd}\thttp://x/1\nno url\n\thttp://x/2\r\nthree\tcells\thttp://x/3\nlast\thttps://x/4'.encode() + b'\nb\xff\thttp://x/5\n'
    )
    drops = Drops()
    assert list(cc3m.captions(path, drops)) == [
        Caption('http://x/1', 'en', odd),
        Caption('http://x/2', 'en', ''),
        Caption('https://x/4', 'en', 'last'),
    ]
    assert drops.counts == {'malformed_row': 2, 'invalid_utf8': 1}


@pytest.mark.parametrize(('content', 'message'), [(b'<!DOCTYPE html>\n<html>\n', r'row 1 is not caption<TAB>url'), (b'', 'is empty')])
def test_another_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / 'Train_GCC-training.tsv'
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf'Train_GCC-training\.tsv {message}'):
        list(cc3m.captions(path, Drops()))


@pytest.mark.parametrize('corpus', ['cc3m', 'cc12m'])
def test_translations_by_url(corpus: str) -> None:
    path = RAW / corpus / 'translations.jsonl'
    rows = [json.loads(line) for line in path.read_bytes().split(b'\n') if line]
    expected = [Caption(row['url'], language, text) for row in rows for language, text in row['caption'].items()]
    assert list(captions.translations(path, Drops())) == expected
    assert {caption.language for caption in expected} == {'de', 'fr', 'cs', 'ja', 'zh'}
    assert not captions.has_inline_pictures(path)


def test_translations_with_pictures() -> None:
    path = RAW / 'cc3m/translations_inline.jsonl'
    rows = [json.loads(line) for line in path.read_bytes().split(b'\n') if line]
    images = [base64.b64decode(row['binary']) for row in rows]
    assert captions.has_inline_pictures(path)
    assert [(p.url, p.image, p.licence) for p in captions.inline_pictures(path, 'L', Drops())] == [('', image, 'L') for image in images]
    keys = [f'picture:{hashlib.sha256(image).hexdigest()[:16]}' for image in images]
    expected = [Caption(key, language, text) for key, row in zip(keys, rows, strict=True) for language, text in row['caption'].items()]
    assert list(captions.translations(path, Drops())) == expected


def test_translations_as_tsv(tmp_path: Path) -> None:
    wide = tmp_path / 'translations.tsv.gz'
    wide.write_bytes(gzip.compress('url\tde\tzh-Hans\nhttp://x/1\tein Hund\t一只狗\nhttp://x/2\tKatze\t\nhttp://x/3\tzu wenig\n'.encode()))
    drops = Drops()
    assert list(captions.translations(wide, drops)) == [
        Caption('http://x/1', 'de', 'ein Hund'),
        Caption('http://x/1', 'zh', '一只狗'),
        Caption('http://x/2', 'de', 'Katze'),
    ]
    assert drops.counts == {'malformed_row': 1}
    long = tmp_path / 'translations.tsv'
    long.write_text('http://x/1\tiw\tכלב\nhttp://x/1\tde\tHund\n', encoding='utf8')
    assert list(captions.translations(long, Drops())) == [Caption('http://x/1', 'he', 'כלב'), Caption('http://x/1', 'de', 'Hund')]
    assert captions.translation_files(tmp_path) == [long, wide]


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('translations.jsonl', b'<html>', r'translations\.jsonl row 1 is not a JSON object'),
        ('translations.jsonl', b'{"url": "http://x/1", "de": "Hund"}', r'row 1 has no "caption"'),
        ('translations.jsonl', b'{"caption": {"de": "Hund"}}', r'row 1 has neither "url" nor "binary"'),
        ('translations.jsonl', b'{"url": "http://x/1", "caption": {"klingon": "x"}}', r"row 1: unknown language code 'klingon'"),
        ('translations.tsv', b'http://x/1\tHund\n', r'translations\.tsv row 1 is not url<TAB>language<TAB>text'),
        ('translations.jsonl.gz', gzip.compress(b'{"url": "http://x/1", "caption": {"de": "Hund"}}\n' * 99, mtime=0)[:-9], 'is truncated'),
    ],
)
def test_broken_translations(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(captions.translations(tmp_path / name, Drops()))


def test_bad_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / 'translations.jsonl'
    path.write_text('{"url": "http://x/1", "caption": {"de": "Hund", "fr": null}}\n\nnot json\n{"binary": "?", "caption": {"de": "x"}}\n')
    drops = Drops()
    assert list(captions.translations(path, drops)) == [Caption('http://x/1', 'de', 'Hund')]
    assert drops.counts == {'malformed_row': 2, 'broken_base64': 1}


def test_a_lone_surrogate_is_no_url(tmp_path: Path) -> None:
    path = tmp_path / 'translations.jsonl'
    lone, pair = r'{"url": "http://x/\ud83d", "caption": {"de": "Hund"}}', r'{"url": "http://x/\ud83d\ude00", "caption": {"de": "Katze"}}'
    path.write_text(f'{lone}\n{pair}\n')
    drops = Drops()
    assert list(captions.translations(path, drops)) == [Caption('http://x/\U0001f600', 'de', 'Katze')]
    assert drops.counts == {'malformed_row': 1}
    assert drops.examples['malformed_row'] == [r"'http://x/\ud83d'"]


def test_a_deeply_nested_row_is_counted(tmp_path: Path) -> None:
    path = tmp_path / 'translations.jsonl'
    deep = '[' * 100_000 + ']' * 100_000
    path.write_text(f'{{"url": "http://x/1", "caption": {{"de": "Hund"}}}}\n{{"url": {deep}}}\n')
    drops = Drops()
    assert list(captions.translations(path, drops)) == [Caption('http://x/1', 'de', 'Hund')]
    assert drops.counts == {'malformed_row': 1}
    path.write_text(deep)
    with pytest.raises(UserError, match=r'row 1 is not a JSON object'):
        list(captions.translations(path, Drops()))
