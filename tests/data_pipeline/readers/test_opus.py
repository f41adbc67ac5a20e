"""Bitext of every layout: the sample's files against a few independent lines, and broken ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_pipeline.drops import Drops
from data_pipeline.readers import opus
from data_pipeline.records import Pair
from shards.errors import UserError

RAW = Path(__file__).parents[3] / 'sample/raw/opus'


def read(path: Path, threshold: float = 1.04) -> tuple[list[Pair], Drops]:
    (bitext,) = [one for one in opus.files(path.parent) if one.path == path]
    drops = Drops()
    return list(opus.pairs(bitext, threshold, drops)), drops


def moses(path: Path, first: bytes, second: bytes, names: tuple[str, str] = ('X.de-en.de', 'X.de-en.en')) -> Path:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(names[0], first)
        archive.writestr(names[1], second)
        archive.writestr('README', 'none of ours')
    return path


def test_files_and_streams() -> None:
    files = opus.files(RAW)
    assert len(files) == sum(1 for path in RAW.rglob('*') if path.is_file())
    by_pair = {bitext.pair for bitext in files}
    assert {'en-fr', 'cs-en', 'ar-en', 'en-hi', 'en-zh', 'en-he'} <= by_pair
    assert all(bitext.languages == tuple(sorted(bitext.languages)) for bitext in files)


@pytest.mark.parametrize(
    ('name', 'licence'),
    [
        ('WikiMatrix/WikiMatrix.de-en.tsv.gz', 'CC BY-SA (WikiMatrix)'),
        ('OPUS-WikiMatrix/v1/moses/de-en.txt.zip', 'CC BY-SA (WikiMatrix)'),
        ('IITB/parallel.tgz', "CC BY-NC 4.0 (IIT Bombay's: no commercial use)"),
        ('parallel-n.tar.gz', "CC BY-NC 4.0 (IIT Bombay's: no commercial use)"),
        ('OPUS-MultiUN/v1/moses/de-en.txt.zip', opus.OPUS_LICENCE),
        ('en-nl.tmx.gz', opus.OPUS_LICENCE),
    ],
)
def test_licences(tmp_path: Path, name: str, licence: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert [bitext.licence for bitext in opus.files(tmp_path)] == [licence]


@pytest.mark.parametrize('name', ['OPUS-MultiUN/v1/moses/en-fr.txt.zip', 'OPUS-LibreOffice/v1/moses/cs-en.txt.zip'])
def test_moses(name: str) -> None:
    path = RAW / name
    one, two = path.name.partition('.')[0].split('-')
    with zipfile.ZipFile(path) as archive:
        sides = {
            member[-2:]: archive.read(member).decode().split('\n')[:-1]
            for member in archive.namelist()
            if member.endswith((f'.{one}', f'.{two}'))
        }
    pairs, drops = read(path)
    assert [pair.first for pair in pairs] == sides[one]
    assert [pair.second for pair in pairs] == sides[two]
    assert not drops.counts


@pytest.mark.parametrize(
    ('name', 'codes'),
    [
        ('MultiUN_latest_moses_ar-en.txt.zip', ('ar', 'en')),
        ('MultiUN_v1_moses_zh_CN-pt_BR.txt.zip', ('zh_CN', 'pt_BR')),
        ('JRC-Acquis_v3.0_moses_sr_Latn-zh-Hant.txt.zip', ('sr_Latn', 'zh-Hant')),
        ('News-Commentary_latest_tmx_ar-zh_TW.tmx.gz', ('ar', 'zh_TW')),
        ('zh_CN-en.txt.zip', ('zh_CN', 'en')),
        ('zh-Hant-en.tmx', ('zh-Hant', 'en')),
        ('WikiMatrix.de-zh_CN.tsv.gz', ('de', 'zh_CN')),
    ],
)
def test_names(tmp_path: Path, name: str, codes: tuple[str, str]) -> None:
    (tmp_path / name).touch()
    assert [bitext.codes for bitext in opus.files(tmp_path)] == [codes]


def test_what_opus_get_downloads_is_the_same_file_under_another_name(tmp_path: Path) -> None:
    path = RAW / 'OPUS-MultiUN/v1/moses/en-fr.txt.zip'
    (tmp_path / 'MultiUN_latest_moses_en-fr.txt.zip').symlink_to(path)
    pairs, drops = read(tmp_path / 'MultiUN_latest_moses_en-fr.txt.zip')
    assert pairs == read(path)[0] and not drops.counts
    (tmp_path / 'News-Commentary_latest_moses_qqqq-fr.txt.zip').touch()
    with pytest.raises(UserError, match=r"qqqq-fr\.txt\.zip: unknown language code 'qqqq'"):
        opus.files(tmp_path)


def test_moses_splits_at_line_feeds_alone(tmp_path: Path) -> None:
    first = 'a\u2028b\x85c\x0bd\re\tf"\x00'
    pairs, drops = read(moses(tmp_path / 'de-en.txt.zip', f'{first}\nzwei\n'.encode(), b'one\ntwo\n'))
    assert pairs == [Pair(first, 'one'), Pair('zwei', 'two')]
    assert not drops.counts


def test_sides_are_in_the_order_of_the_languages(tmp_path: Path) -> None:
    # iw is he, which comes after en; the name has it the other way round.
    pairs, _ = read(moses(tmp_path / 'en-iw.txt.zip', b'one\n', 'אחת\n'.encode(), ('X.en-iw.en', 'X.en-iw.iw')))
    assert pairs == [Pair('one', 'אחת')]
    pairs, _ = read(moses(tmp_path / 'fr-de.txt.zip', b'un\n', b'eins\n', ('X.fr-de.fr', 'X.fr-de.de')))
    assert pairs == [Pair('eins', 'un')]


def test_invalid_utf8_costs_one_pair_and_keeps_the_alignment(tmp_path: Path) -> None:
    pairs, drops = read(moses(tmp_path / 'de-en.txt.zip', b'eins\n\xff\xfe\ndrei\n', b'one\ntwo\nthree\n'))
    assert pairs == [Pair('eins', 'one'), Pair('drei', 'three')]
    assert drops.counts == {'invalid_utf8': 1}


def test_a_line_that_is_too_long_costs_one_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('data_pipeline.lines.LONGEST_LINE', 8)
    pairs, drops = read(moses(tmp_path / 'de-en.txt.zip', b'eins\n' + b'x' * 30 + b'\ndrei\n1234567\n', b'one\ntwo\nthree\nfour\n'))
    assert pairs == [Pair('eins', 'one'), Pair('drei', 'three'), Pair('1234567', 'four')]
    assert drops.counts == {'line_too_long': 1}


@pytest.mark.parametrize(('first', 'second'), [(b'1\n2\n3\n', b'1\n2\n'), (b'1\n', b'1\n2\n'), (b'', b'1\n')])
def test_unequal_numbers_of_lines(tmp_path: Path, first: bytes, second: bytes) -> None:
    with pytest.raises(UserError, match=r'de-en\.txt\.zip: .* has more lines than .*download it again'):
        read(moses(tmp_path / 'de-en.txt.zip', first, second))


def test_broken_zips(tmp_path: Path) -> None:
    whole = (RAW / 'OPUS-MultiUN/v1/moses/en-fr.txt.zip').read_bytes()
    path = tmp_path / 'en-fr.txt.zip'
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r'en-fr\.txt\.zip is truncated, damaged or no zip'):
        read(path)
    damaged = bytearray(whole)
    damaged[2000] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r'en-fr\.txt\.zip is truncated, damaged or no zip'):
        read(path)
    with pytest.raises(UserError, match=r'has 0 members that end in \.en'):
        read(moses(tmp_path / 'de-en.txt.zip', b'1\n', b'1\n', ('X.de-en.de', 'X.de-en.fr')))


@pytest.mark.parametrize(('local', 'central', 'value'), [(6, 8, 1), (8, 10, 99)], ids=['encrypted', 'another compression'])
def test_a_zip_that_cannot_be_unpacked(tmp_path: Path, local: int, central: int, value: int) -> None:
    """`value` where the headers of every member have its flags, or its compression."""
    path = moses(tmp_path / 'de-en.txt.zip', b'eins\n', b'one\n')
    data = bytearray(path.read_bytes())
    for magic, offset in ((b'PK\x03\x04', local), (b'PK\x01\x02', central)):
        at = data.find(magic)
        while at >= 0:
            data[at + offset : at + offset + 2] = value.to_bytes(2, 'little')
            at = data.find(magic, at + 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r'de-en\.txt\.zip cannot be unpacked \(.*download it again'):
        read(path)


def test_wikimatrix() -> None:
    path = RAW / 'WikiMatrix/WikiMatrix.en-ja.tsv.gz'
    rows = [line.split('\t') for line in gzip.decompress(path.read_bytes()).decode().rstrip('\n').split('\n')]
    good = [row for row in rows if float(row[0]) >= 1.04]
    assert 0 < len(good) < len(rows)
    pairs, drops = read(path)
    assert pairs == [Pair(row[1], row[2]) for row in good]
    assert drops.counts == {'below_threshold': len(rows) - len(good)}
    assert len(read(path, threshold=0)[0]) == len(rows)


def test_wikimatrix_in_another_layout(tmp_path: Path) -> None:
    path = tmp_path / 'WikiMatrix.de-en.tsv.gz'
    path.write_bytes(gzip.compress(b'ein Wurm\ta worm\n'))
    with pytest.raises(UserError, match=r'WikiMatrix\.de-en\.tsv\.gz row 1 is not score<TAB>source<TAB>target'):
        read(path)
    path.write_bytes(gzip.compress(b'1.1\tWurm\tworm\nx\ty\tz\n1.2\tone\n1.3\t"a\tb\n'))
    pairs, drops = read(path)
    assert pairs == [Pair('Wurm', 'worm'), Pair('"a', 'b')]
    assert drops.counts == {'malformed_row': 2}


@pytest.mark.parametrize('content', [b'<html>not found</html>', gzip.compress(b'1.1\tWurm\tworm\n' * 999, mtime=0)[:-20]])
def test_wikimatrix_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'WikiMatrix.de-en.tsv.gz'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'WikiMatrix\.de-en\.tsv\.gz is (truncated|damaged).*download it again'):
        read(path)


def test_iitb(tmp_path: Path) -> None:
    path = RAW / 'IITB/parallel.tgz'
    sides = {}
    with tarfile.open(path) as archive:
        for name in archive.getnames():
            if member := archive.extractfile(name):
                sides[name[-2:]] = member.read().decode().split('\n')[:-1]
    pairs, drops = read(path)
    assert pairs == [Pair(*both) for both in zip(sides['en'], sides['hi'], strict=True)]
    assert not drops.counts
    broken = tmp_path / 'parallel.tgz'
    broken.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r'parallel\.tgz is truncated'):
        read(broken)


def test_member_names_are_not_paths(tmp_path: Path) -> None:
    path = tmp_path / 'parallel.tgz'
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in (('../../escape.en', b'one\n'), ('/tmp/escape.hi', 'एक\n'.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert read(path)[0] == [Pair('one', 'एक')]
    assert sorted(tmp_path.parent.rglob('escape*')) == []


def test_no_bitext(tmp_path: Path) -> None:
    (tmp_path / 'readme.txt').write_text('nothing')
    with pytest.raises(UserError, match='holds no bitext'):
        opus.files(tmp_path)
    moses(tmp_path / 'en-qqqq.txt.zip', b'', b'')
    with pytest.raises(UserError, match=r"en-qqqq\.txt\.zip: unknown language code 'qqqq'"):
        opus.files(tmp_path)
