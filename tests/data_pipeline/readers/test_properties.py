"""Whatever a text holds (Unicode's line ends, NUL, lone CR, tabs, quotes, bad UTF-8), readers give it unchanged, or count it."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.drops import Drops
from data_pipeline.readers import captions, cc100, opus, tar, tmx, wit
from data_pipeline.records import Caption
from shards.errors import UserError

# Any character but surrogates and \n, the one line end; the odd ones often.
ODD = ['\u2028', '\u2029', '\u0085', '\0', '\r', '\t', '"', '""', '\x0b', '\x0c', '\x1c', '\x1e', '\ufeff', '\xa0', '\U0001f415', '\\']
CHARACTER = st.characters(exclude_categories=['Cs'], exclude_characters=['\n'])
LINE = st.lists(st.one_of(st.sampled_from(ODD), CHARACTER), max_size=12).map(''.join)
CELL = LINE.map(lambda text: text.replace('\t', ' '))
BROKEN = st.binary(min_size=1, max_size=6).filter(lambda data: b'\n' not in data and not _valid(data))


CHECK = settings(max_examples=50)


def _valid(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def in_folder(check: Callable[[Path], None]) -> None:
    with TemporaryDirectory() as name:
        check(Path(name))


@CHECK
@given(st.lists(st.one_of(LINE, BROKEN)))
def test_cc100(lines: list[str | bytes]) -> None:
    """Paragraphs of documents: lines of nothing but white space end one, lines that are not UTF-8 are counted."""

    def check(folder: Path) -> None:
        path = folder / 'en.txt.xz'
        path.write_bytes(lzma.compress(b''.join(_bytes(line) + b'\n' for line in lines), preset=0))
        drops = Drops()
        found = list(cc100.documents(path, drops))
        texts = [line for line in lines if isinstance(line, str)]
        assert [paragraph for document in found for paragraph in document.split('\n')] == [line for line in texts if line.strip()]
        assert drops.counts.total() == drops.counts['invalid_utf8'] == len(lines) - len(texts)
        groups = ''.join('x' if line.strip() else ' ' for line in texts).split()
        assert [document.count('\n') + 1 for document in found] == [len(group) for group in groups]

    in_folder(check)


@CHECK
@given(st.lists(st.tuples(st.one_of(LINE, BROKEN), st.one_of(LINE, BROKEN))), st.sampled_from(['moses', 'iitb']))
def test_pairs_of_aligned_files(rows: list[tuple[str | bytes, str | bytes]], layout: str) -> None:
    def check(folder: Path) -> None:
        sides = [b''.join(_bytes(row[i]) + b'\n' for row in rows) for i in (0, 1)]
        if layout == 'moses':
            path = folder / 'en-hi.txt.zip'
            with zipfile.ZipFile(path, 'w') as archive:
                for code, side in zip(('en', 'hi'), sides, strict=True):
                    archive.writestr(f'X.en-hi.{code}', side)
        else:
            path = folder / 'parallel.tgz'
            with tarfile.open(path, 'w:gz', compresslevel=1) as tgz:
                for code, side in zip(('en', 'hi'), sides, strict=True):
                    info = tarfile.TarInfo(f'parallel/IITB.en-hi.{code}')
                    info.size = len(side)
                    tgz.addfile(info, io.BytesIO(side))
        drops = Drops()
        (bitext,) = opus.files(folder)
        good = [row for row in rows if isinstance(row[0], str) and isinstance(row[1], str)]
        assert list(opus.pairs(bitext, 0, drops)) == good
        assert drops.counts.total() == drops.counts['invalid_utf8'] == len(rows) - len(good)

    in_folder(check)


@CHECK
@given(st.lists(st.tuples(CELL, CELL.filter(lambda cell: not cell.endswith('\r'))), min_size=1), st.integers(0, 3))
def test_scored_pairs(rows: list[tuple[str, str]], odd: int) -> None:
    """Rows with too many cells are counted, never cut."""

    def check(folder: Path) -> None:
        lines = [f'1.1\t{first}\t{second}' for first, second in rows] + ['1.2\ta\tb\tc'] * odd
        path = folder / 'WikiMatrix.de-en.tsv.gz'
        path.write_bytes(gzip.compress('\n'.join(lines).encode(), 1))
        drops = Drops()
        (bitext,) = opus.files(folder)
        assert list(opus.pairs(bitext, 1.04, drops)) == rows
        assert drops.counts.total() == drops.counts['malformed_row'] == odd

    in_folder(check)


@CHECK
@given(st.lists(st.tuples(LINE, st.booleans())))
def test_wit(rows: list[tuple[str, bool]]) -> None:
    r"""Tabs, quotes and line ends inside a quoted field come through, \n too; rows without a caption are counted."""

    def check(folder: Path) -> None:
        path = folder / 'wit_v1.train.all-00000-of-00010.tsv.gz'
        texts = [text + '\n"x"' if extra else text for text, extra in rows]
        out = io.StringIO(newline='')
        writer = csv.writer(out, delimiter='\t', lineterminator='\n')
        writer.writerow(wit.COLUMNS)
        for number, text in enumerate(texts):
            row = ['x\ty'] * len(wit.COLUMNS)
            row[0], row[2], row[6], row[9] = 'en', f'http://e/{number}.jpg', text, 'image/jpeg'
            writer.writerow(row)
        path.write_bytes(gzip.compress(out.getvalue().encode(), 1))
        drops = Drops()
        found = list(wit.captions(path, drops))
        expected = [Caption(f'http://e/{number}.jpg', 'en', text) for number, text in enumerate(texts) if text.strip()]
        assert found == expected
        assert drops.counts.total() == drops.counts['empty_caption'] == len(texts) - len(expected)

    in_folder(check)


@CHECK
@given(st.lists(st.tuples(CELL, st.one_of(st.none(), BROKEN)), min_size=1))
def test_two_column_files_and_translations(rows: list[tuple[str, bytes | None]]) -> None:
    def check(folder: Path) -> None:
        path = folder / 'Train_GCC-training.tsv'
        lines = [text.encode() + (bad or b'') + f'\thttp://e/{number}'.encode() for number, (text, bad) in enumerate(rows)]
        path.write_bytes(b'\n'.join(lines) + b'\n')
        drops = Drops()
        good = [Caption(f'http://e/{number}', 'en', text) for number, (text, bad) in enumerate(rows) if bad is None]
        assert list(captions.tsv_captions(path, 1, drops)) == good
        assert drops.counts.total() == drops.counts['invalid_utf8'] == len(rows) - len(good)
        path = folder / 'translations.jsonl'
        rows_of = (json.dumps({'url': row.key, 'caption': {'de': row.text}}, ensure_ascii=False) for row in good)
        path.write_text('\n'.join(rows_of), newline='')
        assert [row.text for row in captions.translations(path, Drops())] == [row.text for row in good]

    in_folder(check)


@CHECK
@given(
    st.lists(st.tuples(st.text('abü狗. ', max_size=150).map('a/b{}c'.format), st.binary(max_size=1500)), max_size=6),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.booleans(),
    st.integers(0, 20_000),
)
def test_tar(files: list[tuple[str, bytes]], kind: int, times: bool, cut: int) -> None:
    """As tarfile reads it, long names and extended headers included; one that is cut off gives what is whole, and says so."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=kind) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1.5 if times else 1
            try:
                archive.addfile(info, io.BytesIO(content))
            except ValueError:
                continue  # ustar has no room for the name
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        regular = [member for member in archive if member.isreg()]
        expected = [(member.name, handle.read()) for member in regular if (handle := archive.extractfile(member))]
    members = list(tar.members(io.BytesIO(out.getvalue()), 1000))
    assert [(name, content) for name, content, _ in members] == [(name, data if len(data) <= 1000 else None) for name, data in expected]
    assert [out.getvalue()[place:][: len(data)] for (_, data), (*_, place) in zip(expected, members, strict=True)] == [
        data for _, data in expected
    ]
    found: list[tuple[str, bytes]] = []
    try:
        for name, whole, _ in tar.members(io.BytesIO(out.getvalue()[:cut]), 2000):
            assert whole is not None
            found.append((name, whole))
    except tar.Truncated:
        assert cut < len(out.getvalue())
    assert found == expected[: len(found)]
    if cut >= len(out.getvalue()):
        assert found == expected


# What XML 1.0 can hold, written as OPUS does: a carriage return as a reference, since XML reads a bare one as a line feed.
XML_ODD = [odd for odd in ODD if odd in '\t\r' or odd[0] > '\x1f'] + ['\n', '<', '>', '&', "'", ']]>', '&amp;']
XML_CHARACTER = st.characters(exclude_categories=['Cs', 'Cc'], exclude_characters='\ufffe\uffff')
XML_TEXT = st.lists(st.one_of(st.sampled_from(XML_ODD), XML_CHARACTER), max_size=12).map(''.join)


def _xml(text: str) -> str:
    return escape(text, {'\r': '&#13;', '"': '&quot;'})


@CHECK
@given(st.lists(st.tuples(XML_TEXT, st.one_of(st.none(), XML_TEXT))), st.sampled_from(['utf-8', 'utf-16']), st.integers(1, 40))
def test_tmx(rows: list[tuple[str, str | None]], encoding: str, chunk: int) -> None:
    """References, quotes and Unicode's line ends come through, wherever a chunk of the file ends; units without a side are counted."""

    def check(folder: Path) -> None:
        units = [
            f'<tu><tuv xml:lang="en"><seg>{_xml(first)}</seg></tuv>'
            + ('' if second is None else f'<tuv lang="nl"><seg>{_xml(second)}</seg></tuv>')
            + '</tu>'
            for first, second in rows
        ]
        path = folder / 'en-nl.tmx.gz'
        body = f'<?xml version="1.0" encoding="{encoding}"?><tmx version="1.4"><body>{"".join(units)}</body></tmx>'
        path.write_bytes(gzip.compress(body.encode(encoding), 1))
        drops = Drops()
        (bitext,) = opus.files(folder)
        with patch.object(tmx, '_CHUNK', chunk):
            assert list(opus.pairs(bitext, 0, drops)) == [row for row in rows if row[1] is not None]
        assert drops.counts.total() == drops.counts['missing_side'] == sum(second is None for _, second in rows)

    in_folder(check)


@CHECK
@given(XML_TEXT, st.one_of(BROKEN.filter(lambda data: b'<' not in data), st.sampled_from([b'\0', b'\x0b', b'\x1c', b'\xef\xbf\xbe'])))
def test_tmx_that_is_no_xml(text: str, bad: bytes) -> None:
    """What XML cannot hold is refused as a whole, with the name of the file: never read as something else."""

    def check(folder: Path) -> None:
        path = folder / 'en-nl.tmx'
        units = [f'<tu><tuv lang="en"><seg>{_xml(text)}'.encode(), b'</seg></tuv></tu>']
        path.write_bytes(b'<tmx><body>' + bad.join(units) + b'</body></tmx>')
        with pytest.raises(UserError, match=r'en-nl\.tmx is not well-formed TMX'):
            list(tmx.units(path, Drops()))

    in_folder(check)


TAIL = LINE.map(lambda text: text.replace('\t', ' ').rstrip('\r'))
NO_BASE64 = st.sampled_from([odd for odd in ODD if odd != '\t'] + ['狗', '=', '-', 'A']).map('AA{}AA'.format)
PIXELS = st.one_of(
    st.tuples(st.just('good'), TAIL, st.binary(max_size=20)),
    st.tuples(st.just('broken_base64'), TAIL, NO_BASE64),
    st.tuples(st.just('malformed_row'), st.one_of(TAIL, TAIL.map('{}\tAAAA'.format))),
    st.tuples(st.just('invalid_utf8'), BROKEN),
)


@CHECK
@given(st.lists(PIXELS), st.sampled_from(['\n', '\r\n']))
def test_pixels_of_wit(rows: list[tuple[Any, ...]], end: str) -> None:
    """Whatever stands in a URL. What is no URL, no base64 or not UTF-8 is counted, and shifts no other row."""

    def line(kind: str, *cells: Any) -> bytes:
        if kind == 'good':
            return f'http://e/{cells[0]}\t{base64.b64encode(cells[1]).decode()}'.encode()
        if kind == 'broken_base64':
            return f'http://e/{cells[0]}\t{cells[1]}'.encode()
        return cells[0].encode() if kind == 'malformed_row' else b'http://e/' + cells[0] + b'\tAAAA'

    def check(folder: Path) -> None:
        path = folder / 'part-00000.csv.gz'
        every = [('good', 'first', b'1'), *rows]  # a file that begins otherwise is refused
        path.write_bytes(gzip.compress(b''.join(line(*row) + end.encode() for row in every), 1))
        drops = Drops()
        found = [(picture.url, picture.image) for picture in wit.pixels(path, drops)]
        assert found == [(f'http://e/{row[1]}', row[2]) for row in every if row[0] == 'good']
        assert drops.counts == Counter(kind for kind, *_ in rows if kind != 'good')

    in_folder(check)


@CHECK
@given(st.lists(st.one_of(st.tuples(TAIL, TAIL, TAIL), st.sampled_from(['malformed_row', 'invalid_utf8']))), st.booleans(), BROKEN)
def test_translations_in_tsv(rows: list[tuple[str, str, str] | str], header: bool, bad: bytes) -> None:
    """Both layouts, a text a row and a URL a row, where an empty cell is a missing translation."""
    wrong = {'malformed_row': b'http://e/\ta\tb\tc\td', 'invalid_utf8': b'http://e/\tde\t' + bad}

    def check(folder: Path) -> None:
        lines = [b'URL\tde\tzh-Hant'] if header else []
        expected = []
        for tail, *texts in [('first', 'a', 'b'), *(row for row in rows if not isinstance(row, str))]:
            url = f'http://e/{tail}'
            captions_of = [Caption(url, code, text) for code, text in zip(('de', 'zh-TW'), texts, strict=True)]
            expected += [caption for caption in captions_of if caption.text or not header]
            lines += (
                ['\t'.join([url, *texts]).encode()] if header else [f'{url}\t{one.language}\t{one.text}'.encode() for one in captions_of]
            )
        lines += [wrong[row] for row in rows if isinstance(row, str)]
        path = folder / 'translations.tsv'
        path.write_bytes(b'\n'.join(lines) + b'\n')
        drops = Drops()
        assert list(captions.translations(path, drops)) == expected
        assert drops.counts == Counter(row for row in rows if isinstance(row, str))

    in_folder(check)
