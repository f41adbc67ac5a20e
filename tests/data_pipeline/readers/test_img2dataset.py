"""img2dataset's three modes: the sample's shards against tarfile, pyarrow and the files themselves, and broken ones."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.drops import Drops
from data_pipeline.readers import img2dataset
from data_pipeline.records import Picture
from shards.errors import UserError

RAW = Path(__file__).parents[3] / 'sample/raw'
TAR = RAW / 'cc3m/images/00000.tar'


def shard(path: Path) -> img2dataset.Shard:
    (found,) = [one for one in img2dataset.shards(path.parent) if one.path == path]
    return found


def read(path: Path) -> tuple[list[Picture], Drops]:
    drops = Drops()
    return list(img2dataset.pictures(shard(path), 'L', drops)), drops


def test_tar() -> None:
    members: dict[str, bytes] = {}
    with tarfile.open(TAR) as archive:
        for member in archive:
            handle = archive.extractfile(member)
            assert handle is not None
            members[member.name] = handle.read()
    keys = [name.removesuffix('.json') for name in members if name.endswith('.json')]
    records = {key: json.loads(members[f'{key}.json']) for key in keys}
    pictures, drops = read(TAR)
    assert [(p.url, p.image, p.caption) for p in pictures] == [
        (records[k]['url'], members[f'{k}.jpg'], records[k]['caption'] or '') for k in keys
    ]
    assert len(pictures) == 727
    assert not drops.counts
    table = pq.read_table(TAR.with_suffix('.parquet'))
    failed = [url for url, status in zip(table['url'].to_pylist(), table['status'].to_pylist(), strict=True) if status != 'success']
    assert img2dataset.failures(shard(TAR), drops) == (failed, 727)
    assert drops.counts == {'failed_to_download': 8}
    assert '' in {p.caption for p in pictures}  # img2dataset's null


def test_parquet() -> None:
    path = RAW / 'cc12m/images/00000.parquet'
    rows = [row for row in pq.read_table(path).to_pylist() if row['status'] == 'success']
    pictures, drops = read(path)
    assert [(p.url, p.image, p.caption) for p in pictures] == [(row['url'], row['jpg'], row['caption']) for row in rows]
    assert len(img2dataset.failures(shard(path), drops)[0]) == 143
    assert drops.counts == {'failed_to_download': 143}


def test_files() -> None:
    folder = RAW / 'cc12m/images_files/00000'
    keys = sorted(path.stem for path in folder.glob('*.json'))
    pictures, drops = read(folder)
    assert [(p.url, p.image) for p in pictures] == [
        (json.loads((folder / f'{key}.json').read_text())['url'], (folder / f'{key}.jpg').read_bytes()) for key in keys
    ]
    assert img2dataset.failures(shard(folder), drops)[1] == len(keys) == 48
    assert drops.counts == {'failed_to_download': 12}


@pytest.mark.parametrize('table', [True, False])
def test_truncated_tar(tmp_path: Path, table: bool) -> None:
    whole = TAR.read_bytes()
    if table:
        shutil.copy(TAR.with_suffix('.parquet'), tmp_path)
    path = tmp_path / '00000.tar'
    expected, _ = read(TAR)
    with tarfile.open(TAR) as archive:
        header = archive.getmembers()[600].offset  # 3 members a picture: the first of the 201st
    damaged = bytearray(whole)
    damaged[header] ^= 255
    for content, number in (
        (whole[: header + 512 + 100], 200),  # ends within a member
        (whole[: header + 100], 200),  # within a header
        (whole[:header], 200),  # between two members
        (whole[: header + 1024 + 100], 200),
        (damaged, 200),
    ):
        path.write_bytes(content)
        pictures, drops = read(path)
        assert pictures == expected[:number]
        assert drops.counts == {'truncated_tar': 727 - number if table else 1}
        (warning,) = drops.warnings
        assert (
            f'00000.tar is truncated: {number} pictures can be read, {727 - number if table else "an unknown number"} are lost' in warning
        )


def test_what_is_no_tar(tmp_path: Path) -> None:
    path = tmp_path / '00000.tar'
    shutil.copy(TAR.with_suffix('.parquet'), tmp_path)
    for content in (b'', gzip.compress(TAR.read_bytes(), 1)):
        path.write_bytes(content)
        pictures, drops = read(path)
        assert not pictures and drops.counts == {'truncated_tar': 727}
        assert drops.warnings[0].startswith(f'{path} is truncated or no tar: 0 pictures can be read, 727 are lost')


def test_tar_without_end_mark_lost_nothing(tmp_path: Path) -> None:
    shutil.copy(TAR.with_suffix('.parquet'), tmp_path)
    with tarfile.open(TAR) as archive:
        last = archive.getmembers()[-1]
    (tmp_path / '00000.tar').write_bytes(TAR.read_bytes()[: last.offset_data + (last.size + 511) // 512 * 512])
    pictures, drops = read(tmp_path / '00000.tar')
    assert (len(pictures), dict(drops.counts), drops.warnings) == (727, {}, [])


def add(archive: tarfile.TarFile, name: str, content: bytes, size: int | None = None) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content) if size is None else size
    archive.addfile(member, io.BytesIO(content))


def test_odd_members(tmp_path: Path) -> None:
    record = json.dumps({'url': 'http://x/1', 'caption': None}).encode()
    with tarfile.open(tmp_path / '00000.tar', 'w') as archive:
        add(archive, '../../../escape.jpg', b'picture')
        add(archive, '../../../escape.json', record)
        link = tarfile.TarInfo('000000001.jpg')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        archive.addfile(link)
        add(archive, '000000001.json', record)
        add(archive, '000000002.jpg', b'no record')
        add(archive, '000000003.jpg', b'picture')
        add(archive, '000000003.json', b'not json')
        add(archive, '000000005.jpg', b'picture')
        add(archive, '000000005.json', b'{"url": "http://x/\\ud83d"}')  # valid JSON, but no text that UTF-8 can spell
        add(archive, '000000006.jpg', b'picture')
        add(archive, '000000006.json', b'[' * 100_000 + b']' * 100_000)
        add(archive, '000000004.webp', b'picture')
        add(archive, '000000004.json', json.dumps({'url': 'http://x/4', 'caption': 'c'}).encode())
    pictures, drops = read(tmp_path / '00000.tar')
    assert [picture[:4] for picture in pictures] == [('http://x/1', b'picture', '', 'L'), ('http://x/4', b'picture', 'c', 'L')]
    found = [(one.url, one.place, len(one.image)) for one in pictures]
    again = img2dataset.at(img2dataset.Shard(tmp_path / '00000.tar', 'tar'), found, 'L')
    assert list(again) == [one._replace(caption='') for one in pictures]
    assert drops.counts == {'incomplete_record': 5}
    assert sorted(tmp_path.parent.rglob('escape*')) == []


def test_huge_member_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(img2dataset, 'LARGEST_FILE', 1000)
    with tarfile.open(tmp_path / '00000.tar', 'w') as archive:
        add(archive, '000000001.jpg', b'x' * 2000)
        add(archive, '000000001.json', b'{"url": "http://x/1"}')
    pictures, drops = read(tmp_path / '00000.tar')
    assert pictures == []
    assert drops.counts == {'picture_file_too_large': 1, 'incomplete_record': 1}


def test_broken_tables(tmp_path: Path) -> None:
    whole = (RAW / 'cc12m/images/00000.parquet').read_bytes()
    path = tmp_path / '00000.parquet'
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r'00000\.parquet is truncated, damaged or no parquet'):
        img2dataset.shards(tmp_path)
    damaged = bytearray(whole)
    begin = pq.ParquetFile(RAW / 'cc12m/images/00000.parquet').metadata.row_group(0).column(0).dictionary_page_offset
    damaged[begin : begin + 1000] = b'\xff' * 1000  # the header of the first page of captions, and what follows
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r'00000\.parquet is damaged .*; let img2dataset make this shard again'):
        read(path)


@pytest.mark.parametrize(
    ('column', 'values', 'message'),
    [
        ('url', pa.array([1, 2]), 'int64, not string'),
        ('caption', pa.array([1, 2]), 'int64, not string'),
        ('status', pa.array([200, 404]), 'int64, not string'),
        ('jpg', pa.array(['a', 'b']), 'string, not binary'),
    ],
)
def test_columns_of_another_type(tmp_path: Path, column: str, values: pa.Array, message: str) -> None:
    columns = {
        'url': pa.array(['http://x/1', 'http://x/2'], pa.large_string()),
        'caption': pa.nulls(2),
        'status': pa.array(['success', 'failed']).dictionary_encode(),
        'jpg': pa.array([b'a', b'b']),
    }
    path = tmp_path / '00000.parquet'
    pq.write_table(pa.table(columns), path)
    pictures, drops = read(path)
    assert pictures == [Picture('http://x/1', b'a', '', 'L')]
    assert img2dataset.failures(shard(path), drops) == (['http://x/2'], 1)
    pq.write_table(pa.table(columns | {column: values}), path)
    with pytest.raises(UserError, match=rf'00000\.parquet: column `{column}` is {message}'):
        read(path)


def test_no_shards(tmp_path: Path) -> None:
    shutil.copy(TAR.with_suffix('.parquet'), tmp_path)  # rows, but no pictures
    with pytest.raises(UserError, match=r'holds no img2dataset shard.*give --images'):
        img2dataset.shards(tmp_path)


def test_folder_of_a_stopped_download(tmp_path: Path) -> None:
    shutil.copytree(RAW / 'cc12m/images_files/00000', tmp_path / '00000')
    (tmp_path / '00000/.DS_Store').write_bytes(b'')
    (tmp_path / '00000/000000001.txt').unlink()
    (tmp_path / '00000/000000002.json').unlink()
    pictures, drops = read(tmp_path / '00000')
    assert len(pictures) == 47
    assert drops.counts == {'incomplete_record': 1}
    assert img2dataset.failures(shard(tmp_path / '00000'), drops) == ([], None)
