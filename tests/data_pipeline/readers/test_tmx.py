"""TMX: the sample's file, broken ones, hostile ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from xml.etree import ElementTree

import pytest

from data_pipeline.drops import Drops
from data_pipeline.readers import opus, tmx
from shards.errors import UserError

SAMPLE = Path(__file__).parents[3] / 'sample/raw/opus/OPUS-LibreOffice/v1/tmx/en-nl.tmx.gz'
XML_LANG = '{http://www.w3.org/XML/1998/namespace}lang'


def test_sample() -> None:
    root = ElementTree.fromstring(gzip.decompress(SAMPLE.read_bytes()))
    expected = [{tuv.get(XML_LANG) or tuv.get('lang'): tuv.findtext('seg') for tuv in unit.iter('tuv')} for unit in root.iter('tu')]
    assert {'lang', XML_LANG} == {key for tuv in root.iter('tuv') for key in tuv.keys()}  # noqa: SIM118  (an element's attributes)
    assert list(tmx.units(SAMPLE, Drops())) == expected
    (bitext,) = opus.files(SAMPLE.parent)
    assert list(opus.pairs(bitext, 0, Drops())) == [(unit['en'], unit['nl']) for unit in expected]


def write(path: Path, body: str, head: str = '') -> Path:
    path.write_text(f'<?xml version="1.0"?>{head}<tmx version="1.4"><body>{body}</body></tmx>', encoding='utf8')
    return path


def test_missing_side_and_escapes(tmp_path: Path) -> None:
    body = (
        '<tu><tuv xml:lang="EN-us"><seg>a &lt;b&gt; &amp; c\u2028d</seg></tuv><tuv lang="nl"><seg>x</seg></tuv></tu>'
        '<tu><tuv xml:lang="en"><seg>alone</seg></tuv></tu>'
    )
    (bitext,) = opus.files(write(tmp_path / 'en-nl.tmx', body).parent)
    drops = Drops()
    assert list(opus.pairs(bitext, 0, drops)) == [('a <b> & c\u2028d', 'x')]
    assert drops.counts == {'missing_side': 1}


def test_entity_expansion_is_refused(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    path = write(tmp_path / 'en-nl.tmx', '<tu><tuv lang="en"><seg>&b;</seg></tuv></tu>', laughs)
    with pytest.raises(UserError, match=r'en-nl\.tmx declares a document type .* refused as unsafe'):
        list(tmx.units(path, Drops()))
    outside = write(
        tmp_path / 'en-nl.tmx', '<tu><tuv lang="en"><seg>&x;</seg></tuv></tu>', '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    )
    with pytest.raises(UserError, match='refused as unsafe'):
        list(tmx.units(outside, Drops()))


def test_endless_unit_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('data_pipeline.readers.tmx._LONGEST_UNIT', 100)
    body = ''.join(f'<tu><tuv lang="en"><seg>{text}</seg></tuv></tu>' for text in ('x' * 500, 'short'))
    drops = Drops()
    assert list(tmx.units(write(tmp_path / 'en-nl.tmx', body), drops)) == [{'en': 'short'}]
    assert drops.counts == {'line_too_long': 1}


def test_broken(tmp_path: Path) -> None:
    whole = SAMPLE.read_bytes()
    path = tmp_path / 'en-nl.tmx.gz'
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r'en-nl\.tmx\.gz is truncated or damaged'):
        list(tmx.units(path, Drops()))
    path.write_bytes(b'<html>')
    with pytest.raises(UserError, match=r'en-nl\.tmx\.gz is truncated or damaged'):
        list(tmx.units(path, Drops()))
    with pytest.raises(UserError, match='is not well-formed TMX'):
        list(tmx.units(write(tmp_path / 'en-nl.tmx', '<tu>'), Drops()))
    with pytest.raises(UserError, match='without xml:lang or lang'):
        list(tmx.units(write(tmp_path / 'en-nl.tmx', '<tu><tuv><seg>x</seg></tuv></tu>'), Drops()))
