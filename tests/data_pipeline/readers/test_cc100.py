"""CC100: the sample's files against lzma, and broken ones."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from data_pipeline.drops import Drops
from data_pipeline.readers import cc100
from shards.errors import UserError

RAW = Path(__file__).parents[3] / 'sample/raw/cc100'


def test_files_and_languages() -> None:
    files = cc100.files(RAW)
    assert len(files) == 23
    assert cc100.language(RAW / 'zh-Hans.txt.xz') == 'zh'
    assert cc100.language(RAW / 'zh-Hant.txt.xz') == 'zh-TW'


@pytest.mark.parametrize('code', ['de', 'th', 'zh-Hans'])
def test_documents(code: str) -> None:
    text = lzma.decompress((RAW / f'{code}.txt.xz').read_bytes()).decode()
    expected = [document.strip('\n') for document in text.strip('\n').split('\n\n')]
    drops = Drops()
    documents = list(cc100.documents(RAW / f'{code}.txt.xz', drops))
    assert documents == expected
    assert len(documents) > 10
    assert not drops.counts


def test_odd_characters_come_through(tmp_path: Path) -> None:
    first = 'a\u2028b\x85c\x00d\re'
    path = tmp_path / 'en.txt.xz'
    path.write_bytes(lzma.compress(f'\n\n{first}\n \t\n\nsecond\nstill second'.encode() + b'\nb\xffad\nend'))
    drops = Drops()
    assert list(cc100.documents(path, drops)) == [first, 'second\nstill second\nend']
    assert drops.counts == {'invalid_utf8': 1}


def test_blank_lines() -> None:
    """White space is what `str.isspace` says, of every character below U+10000."""
    for code in set(range(0x10000)) - {10, *range(0xD800, 0xE000)}:
        assert bool(cc100._BLANK.fullmatch(f'\n{chr(code)}'.encode())) == chr(code).isspace()


def test_a_document_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('data_pipeline.readers.cc100._LONGEST_DOCUMENT', 10)
    (tmp_path / 'en.txt').write_text('12345\n12345\n12345\n\nx\n')
    assert list(cc100.documents(tmp_path / 'en.txt', Drops())) == ['12345\n12345', '12345', 'x']


def test_broken(tmp_path: Path) -> None:
    whole = (RAW / 'de.txt.xz').read_bytes()
    path = tmp_path / 'de.txt.xz'
    for content in (whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r'de\.txt\.xz is truncated.*download it again'):
            list(cc100.documents(path, Drops()))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    for content in (bytes(damaged), b'<html>not found</html>'):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r'de\.txt\.xz is damaged or not in the format'):
            list(cc100.documents(path, Drops()))


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'holds no <code>\.txt\.xz'):
        cc100.files(tmp_path)
    (tmp_path / 'readme.txt').write_text('x')
    with pytest.raises(UserError, match=r"readme\.txt: unknown language code 'readme'"):
        cc100.files(tmp_path)
