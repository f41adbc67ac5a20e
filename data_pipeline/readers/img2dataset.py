"""Pictures as img2dataset leaves them: `NNNNN.tar` (webdataset), `NNNNN/` (files), `NNNNN.parquet` with a binary column (parquet).

The first two have a parquet beside them with all rows, of which the failed ones have no picture: they are counted under their status.
Members of a tar are read in place; their names serve as keys and never become paths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.drops import Drops
from data_pipeline.pictures import LARGEST_FILE
from data_pipeline.readers import tar
from data_pipeline.readers.captions import is_unicode
from data_pipeline.records import Picture
from data_pipeline.source_hash import HashedFile
from shards.errors import UserError
from shards.pictures import SUFFIXES

_IMAGE_COLUMNS = tuple(suffix.removeprefix('.') for suffix in SUFFIXES)  # of a parquet
_LARGEST_JSON = 1 << 20
_ROWS = 64  # of a parquet with pictures, in memory at a time


@dataclass(frozen=True)
class Shard:
    """One shard: `path` is the tar, the folder or the parquet that holds the pictures."""

    path: Path
    mode: str  # tar, files, parquet

    @property
    def table(self) -> Path:
        """The parquet with all rows."""
        return self.path.with_name(self.path.name.removesuffix('.tar') + '.parquet') if self.mode != 'parquet' else self.path

    @property
    def files(self) -> list[Path]:
        """What the shard consists of (its statistics apart)."""
        return [self.path] if self.mode == 'parquet' or not self.table.exists() else [self.path, self.table]


def shards(folder: Path) -> list[Shard]:
    """Shards below a folder, by path. Raises UserError when there is none."""
    found = [Shard(path, 'tar') for path in folder.rglob('*.tar')]
    tables = set(folder.rglob('*.parquet'))
    for table in tables:
        stem = table.with_suffix('')
        if stem.is_dir():
            found.append(Shard(stem, 'files'))
        elif not stem.with_suffix('.tar').exists() and _image_column(table):
            found.append(Shard(table, 'parquet'))
    # A folder whose parquet is missing: img2dataset was stopped in the middle of it.
    found += [Shard(path, 'files') for path in _loose_folders(folder) if path.with_suffix('.parquet') not in tables]
    if not found:
        raise UserError(f'{folder} holds no img2dataset shard (NNNNN.tar, NNNNN/ or NNNNN.parquet with pictures); give --images its output')
    return sorted(found, key=lambda shard: shard.path.as_posix())


def _loose_folders(folder: Path) -> list[Path]:
    return [path for path in folder.rglob('*') if path.is_dir() and path.name.isdecimal() and next(path.glob('*.json'), None) is not None]


def _image_column(table: Path) -> str | None:
    return next((name for name in _IMAGE_COLUMNS if name in _open(table).schema_arrow.names), None)


def _open(table: Path) -> Any:
    try:
        return pq.ParquetFile(table)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f'{table} is truncated, damaged or no parquet ({reason}); let img2dataset make this shard again') from None


def failures(shard: Shard, drops: Drops) -> tuple[list[str], int | None]:
    """URLs that have no picture, counted under their status, and the number of rows that have one (None: there is no table)."""
    if not shard.table.exists():
        return [], None
    failed = []
    successes = 0
    for rows in _batches(shard.table, ['url', 'status'], 4096):
        if 'status' not in rows.schema.names:
            successes += rows.num_rows
            continue
        fine = pc.fill_null(pc.equal(rows['status'], 'success'), False)
        successes += fine.true_count
        for row in rows.filter(pc.invert(fine)).to_pylist():
            drops.add(str(row['status'] or 'no_status'), 1, str(row['url']))
            failed.append(str(row['url']))
    return failed, successes


def lost(shard: Shard, read: set[str]) -> list[str]:
    """URLs whose picture was downloaded and is not among those that can be read: the tar breaks off before it. None without a table."""
    if not shard.table.exists():
        return []
    missing = []
    for rows in _batches(shard.table, ['url', 'status'], 4096):
        fine = rows.filter(pc.equal(rows['status'], 'success')) if 'status' in rows.schema.names else rows
        missing += [url for url in map(str, fine['url'].to_pylist()) if url not in read]
    return missing


def pictures(shard: Shard, licence: str, drops: Drops, hashes: dict[Path, str] | None = None) -> Iterator[Picture]:
    """Pictures of a shard in the order that it has them.

    A truncated tar gives those before the damage; the rest is counted as `truncated_tar`. In `hashes` the XXH3-128 of a tar is noted, which
    is hashed as it is read, when all of its pictures were taken.
    """
    if shard.mode == 'tar':
        with HashedFile(shard.path) as file:
            reader = file.buffered()  # which closes the file when it is let go
            yield from _tar(shard, reader, licence, drops)
            if hashes is not None:
                hashes[shard.path] = file.xxh3()
    else:
        yield from (_files if shard.mode == 'files' else _parquet)(shard, licence, drops)


def _tar(shard: Shard, file: BinaryIO, licence: str, drops: Drops) -> Iterator[Picture]:
    key, parts, places = '', dict[str, bytes](), dict[str, int]()
    read = 0
    truncated = False
    try:
        for name, content, place in tar.members(file, LARGEST_FILE):
            stem, dot, suffix = name.rpartition('.')
            if stem != key:
                if parts:
                    read += 1
                    yield from _picture(parts, licence, drops, places)
                key, parts, places = stem, {}, {}
            if content is None:
                drops.add('picture_file_too_large', 1, f'{name} of {shard.path.name}')
            else:
                suffix = dot + suffix.lower()
                parts[suffix], places[suffix] = content, place
    except tar.Truncated:
        truncated = True
    if parts and not (truncated and '.json' not in parts):
        read += 1
        yield from _picture(parts, licence, drops, places)
    if truncated:
        _, successes = failures(shard, Drops())
        lost = 1 if successes is None else successes - read  # without the parquet nobody knows how many
        if lost <= 0:
            return  # only the end mark is missing
        drops.add('truncated_tar', lost)
        told = 'an unknown number' if successes is None else lost
        what = 'is truncated' if read else 'is truncated or no tar'
        drops.warn(f'{shard.path} {what}: {read} pictures can be read, {told} are lost; let img2dataset make it again to have them')


def _picture(parts: dict[str, bytes], licence: str, drops: Drops, places: Mapping[str, int] = MappingProxyType({})) -> Iterator[Picture]:
    """The picture of one key from its members by suffix, if they are all there. `places` are where in a tar they begin."""
    kind = next((suffix for suffix in SUFFIXES if suffix in parts), None)
    record = _json(parts.get('.json', b''))
    url = None if record is None else record.get('url')
    if kind is None or record is None or not isinstance(url, str) or not is_unicode(url):
        drops.add('incomplete_record')
        return
    # A null caption is an empty .txt.
    yield Picture(url, parts[kind], str(record.get('caption') or ''), licence, places.get(kind, -1))


def at(shard: Shard, found: Iterable[tuple[str, int, int]], licence: str) -> Iterator[Picture]:
    """`pictures`, without captions, that an earlier pass over the same tar has found: (URL, place, bytes) of each."""
    with open(shard.path, 'rb', buffering=0) as file:
        for url, place, size in found:
            yield Picture(url, os.pread(file.fileno(), size, place), '', licence, place)


def _json(data: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(data.decode()) if len(data) <= _LARGEST_JSON else None
    except (ValueError, RecursionError):  # RecursionError: nested too deeply
        return None
    return record if isinstance(record, dict) else None


def _files(shard: Shard, licence: str, drops: Drops) -> Iterator[Picture]:
    stems: dict[str, dict[str, Path]] = {}
    for path in sorted(shard.path.iterdir()):
        if path.is_file() and not path.name.startswith('.'):
            stems.setdefault(path.stem, {})[path.suffix.lower()] = path
    for paths in stems.values():
        sizes = [path.stat().st_size for path in paths.values()]
        if max(sizes) > LARGEST_FILE:
            drops.add('picture_file_too_large', 1, next(iter(paths.values())).name)
            continue
        yield from _picture({suffix: path.read_bytes() for suffix, path in paths.items()}, licence, drops)


def _parquet(shard: Shard, licence: str, drops: Drops) -> Iterator[Picture]:
    column = _image_column(shard.path)
    assert column is not None  # `shards` chose it for that
    for row in _rows(shard.path, ['url', 'caption', 'status', column], _ROWS):
        if row.get('status', 'success') != 'success':
            continue  # counted by `failures`
        if not row[column] or not row['url']:
            drops.add('incomplete_record')
        else:
            yield Picture(row['url'], row[column], row.get('caption') or '', licence)


def _rows(table: Path, columns: list[str], batch: int) -> Iterator[dict[str, Any]]:
    for rows in _batches(table, columns, batch):
        yield from rows.to_pylist()


def _batches(table: Path, columns: list[str], batch: int) -> Iterator[pa.RecordBatch]:
    file = _open(table)
    if 'url' not in file.schema_arrow.names:
        raise UserError(f"{table} has no column `url`: it is not img2dataset's; remove it from the folder")
    present = [name for name in columns if name in file.schema_arrow.names]
    for name in present:
        _check_type(table, name, file.schema_arrow.field(name).type)
    try:
        yield from file.iter_batches(batch_size=batch, columns=present, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f'{table} is damaged ({str(error).splitlines()[0]}); let img2dataset make this shard again') from None


def _check_type(table: Path, column: str, kind: Any) -> None:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_null(value):
        return  # a column without any value
    wanted, types = (
        ('binary', (pa.binary(), pa.large_binary())) if column in _IMAGE_COLUMNS else ('string', (pa.string(), pa.large_string()))
    )
    if value not in types:
        raise UserError(f"{table}: column `{column}` is {kind}, not {wanted}: it is not img2dataset's; remove it from the folder")
