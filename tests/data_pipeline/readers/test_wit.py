"""WIT: the sample's files against the csv module and base64, and odd or broken ones."""

from __future__ import annotations

import base64
import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from data_pipeline.drops import Drops
from data_pipeline.readers import wit
from data_pipeline.records import Caption
from shards.errors import UserError

RAW = Path(__file__).parents[3] / 'sample/raw/wit'
FILES = sorted(RAW.glob('*.tsv.gz'))
PIXELS = sorted(RAW.glob('image_data_train/image_pixels/*.csv.gz'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_captions(path: Path) -> None:
    with gzip.open(path, 'rt', encoding='utf8', newline='') as handle:
        rows = list(csv.DictReader(handle, delimiter='\t'))
    usable = [row for row in rows if row['mime_type'] in ('image/jpeg', 'image/png', 'image/webp')]
    expected = [(row['image_url'], row['caption_reference_description']) for row in usable if row['caption_reference_description'].strip()]
    drops = Drops()
    captions = list(wit.captions(path, drops))
    assert [(caption.key, caption.text) for caption in captions] == expected
    assert drops.counts == {'mime_type': len(rows) - len(usable), 'empty_caption': len(usable) - len(expected)}
    assert {caption.language for caption in captions} >= {'he', 'tl', 'zh-TW'}  # spelt iw, fil, zh-TW


def test_pixels() -> None:
    for path in PIXELS:
        rows = [line.split(b'\t') for line in gzip.decompress(path.read_bytes()).rstrip(b'\n').split(b'\n')]
        pictures = list(wit.pixels(path, drops := Drops()))
        assert [(p.url, p.image, p.caption) for p in pictures] == [(url.decode(), base64.b64decode(data), '') for url, data in rows]
        assert not drops.counts


def test_the_third_cell_of_kaggles_pixels_is_no_part_of_the_picture(tmp_path: Path) -> None:
    rows = gzip.decompress(PIXELS[0].read_bytes()).rstrip(b'\n').split(b'\n')
    path = tmp_path / 'train_image_pixels_part-00000.csv.gz'
    path.write_bytes(gzip.compress(b''.join(row + b'\thttps://commons.wikimedia.org/wiki/File:%d.jpg\n' % i for i, row in enumerate(rows))))
    assert list(wit.pixels(path, drops := Drops())) == list(wit.pixels(PIXELS[0], Drops()))
    assert not drops.counts


def test_embeddings_are_no_pixels(tmp_path: Path) -> None:
    for folder in ('image_pixels', 'resnet_embeddings', 'deep/resnet_embeddings/x'):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / 'part-00000.csv.gz').touch()
    assert wit.pixel_files(tmp_path) == [tmp_path / 'image_pixels/part-00000.csv.gz']
    renamed = tmp_path / 'image_pixels/part-00000.csv.gz'
    renamed.write_bytes(gzip.compress(b'http://x/a.jpg\t' + b','.join([b'0.25'] * 2048) + b'\thttp://x/a\n'))
    with pytest.raises(UserError, match=r'row 1 is not image_url<TAB>base64: .*image_pixels/\*\.csv\.gz\?'):
        list(wit.pixels(renamed, Drops()))


def row(text: str, language: str = 'de', url: str = 'http://x.example/a.jpg', mime: str = 'image/jpeg') -> list[str]:
    cells = [''] * 17
    cells[0], cells[2], cells[6], cells[9] = language, url, text, mime
    return cells


def write(path: Path, rows: list[list[str]]) -> Path:
    with gzip.open(path, 'wt', encoding='utf8', newline='') as handle:
        csv.writer(handle, delimiter='\t').writerows([list(wit.COLUMNS), *rows])
    return path


def test_quoting(tmp_path: Path) -> None:
    texts = ['a\tb', 'say "hello"', 'two\nlines', 'three\r\nlines', 'a\u2028b', 'a\x85b', '""', "it's", 'x' * 200_000]
    path = write(tmp_path / 'wit_v1.train.all-00000-of-00010.tsv.gz', [row(text) for text in texts])
    drops = Drops()
    assert [caption.text for caption in wit.captions(path, drops)] == texts
    assert not drops.counts


def test_bad_rows_are_counted_and_do_not_shift_others(tmp_path: Path) -> None:
    path = tmp_path / 'wit.tsv.gz'
    good = '\t'.join(row('good')).encode()
    lines = [
        '\t'.join(wit.COLUMNS).encode(),
        good,
        b'\t'.join([b'de', b'only', b'four', b'cells']),
        '\t'.join(row('text', url='ftp://x')).encode(),
        '\t'.join(row('text', mime='image/svg+xml')).encode(),
        '\t'.join(row(' ')).encode(),
        '\t'.join(row('text', language='qqqq')).encode(),
        good.replace(b'good', b'b\xffd'),
        good.replace(b'good', b'lone\rreturn'),
        good,
    ]
    path.write_bytes(gzip.compress(b'\n'.join(lines) + b'\n'))
    drops = Drops()
    assert [caption.text for caption in wit.captions(path, drops)] == ['good', 'lone\rreturn', 'good']
    assert drops.counts == {'malformed_row': 2, 'mime_type': 1, 'empty_caption': 1, 'unknown_language': 1, 'invalid_utf8': 1}


def test_a_quote_that_is_never_closed_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('data_pipeline.readers.wit._FIELD_LIMIT', 1000)
    broken = '\t'.join(row('before')) + '\n' + '\t'.join(row('"open')) + '\n' + ('\t'.join(row('swallowed')) + '\n') * 100
    path = tmp_path / 'wit.tsv.gz'
    path.write_bytes(gzip.compress(('\t'.join(wit.COLUMNS) + '\n' + broken).encode()))
    drops = Drops()
    counts = Counter(caption.text for caption in wit.captions(path, drops))
    assert counts['before'] == 1
    assert counts['swallowed'] > 50
    assert drops.counts['malformed_row'] > 0


def test_other_layouts(tmp_path: Path) -> None:
    path = tmp_path / 'wit.tsv.gz'
    path.write_bytes(gzip.compress(b'<html>\n'))
    with pytest.raises(UserError, match=r"wit\.tsv\.gz row 1 is not WIT's header of 17 columns"):
        list(wit.captions(path, Drops()))
    path.write_bytes(gzip.compress(b''))
    with pytest.raises(UserError, match=r"is not WIT's header"):
        list(wit.captions(path, Drops()))
    path.write_bytes(FILES[0].read_bytes()[:-1000])
    with pytest.raises(UserError, match=r'wit\.tsv\.gz is truncated'):
        list(wit.captions(path, Drops()))
    path.write_bytes(b'<html>')
    with pytest.raises(UserError, match=r'wit\.tsv\.gz is damaged or not in the format'):
        list(wit.captions(path, Drops()))
    with pytest.raises(UserError, match='holds no WIT file'):
        wit.caption_files(tmp_path / 'empty')


def test_bad_pixels(tmp_path: Path) -> None:
    path = tmp_path / 'part-00000.csv.gz'
    path.write_bytes(gzip.compress(b'http://x/a\tAAAA\nhttp://x/b\t!!!\nno url\nhttp://x/c\tAAAA\n'))
    drops = Drops()
    assert [picture.url for picture in wit.pixels(path, drops)] == ['http://x/a', 'http://x/c']
    assert drops.counts == {'broken_base64': 1, 'malformed_row': 1}
    path.write_bytes(gzip.compress(b'image_url,base64\n'))
    with pytest.raises(UserError, match=r'part-00000\.csv\.gz row 1 is not image_url<TAB>base64'):
        list(wit.pixels(path, Drops()))


def test_which_files(tmp_path: Path) -> None:
    names = ['wit_v1.train.all-00000-of-00010.tsv.gz', 'wit_v1.train.all-1percent_sample.tsv.gz', 'wit_v1.val.all-00000-of-00005.tsv.gz']
    for name in names:
        write(tmp_path / name, [])
    assert [path.name for path in wit.caption_files(tmp_path)] == names[:1]
    (tmp_path / names[0]).unlink()
    assert [path.name for path in wit.caption_files(tmp_path)] == names[1:2]
    assert list(wit.captions(tmp_path / names[1], Drops())) == list[Caption]()
