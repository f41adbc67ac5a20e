"""Bombs are refused in bounded memory; what is no bomb is read as gzip and lzma read it."""

from __future__ import annotations

import gzip
import io
import lzma
import resource
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_pipeline.decompression import open_compressed
from data_pipeline.drops import Drops
from data_pipeline.lines import text_lines
from data_pipeline.readers import opus, tmx
from shards.errors import UserError


def read(path: Path) -> list[bytes]:
    with open_compressed(path) as handle:
        return list(handle)


@pytest.mark.parametrize(('suffix', 'compress', 'decompress'), [('gz', gzip.compress, gzip.open), ('xz', lzma.compress, lzma.open)])
def test_as_the_library_reads_it(tmp_path: Path, suffix: str, compress: object, decompress: object) -> None:
    path = tmp_path / f'text.{suffix}'
    parts = [b'one\ntwo', b'', b'\x00' * 100_000 + b'\n', b'end']
    data = b''.join(compress(part) for part in parts)  # type: ignore[operator]
    path.write_bytes(data)  # several streams
    with decompress(path) as handle:  # type: ignore[operator]
        lines = list(handle)
    assert read(path) == lines
    path.write_bytes(data + b'\x00' * 8)  # with padding, which the xz format allows and Python's lzma does not
    assert read(path) == lines
    for content in (b'', data[:-5], data[: len(data) // 3], b'\xff' + data[1:]):
        path.write_bytes(content)
        errors: list[type[BaseException] | None] = []
        for attempt in (lambda: read(path), lambda: list(decompress(path))):  # type: ignore[operator]
            try:
                attempt()
                errors.append(None)
            except (EOFError, OSError, lzma.LZMAError) as error:
                errors.append(type(error))
        assert errors[0] is errors[1] or content == b''


@pytest.mark.parametrize(('suffix', 'compress'), [('gz', gzip.compress), ('xz', lzma.compress)])
def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, compress: object) -> None:
    monkeypatch.setattr('data_pipeline.decompression.FLOOR', 1 << 20)
    monkeypatch.setattr('data_pipeline.decompression.RATIO', 100)
    path = tmp_path / f'bomb.{suffix}'
    for line in (b'\0' * 1023, b'.'):
        path.write_bytes(compress((line + b'\n') * (8 << 20 >> len(line).bit_length())))  # type: ignore[operator]
        with pytest.raises(UserError, match=rf'bomb\.{suffix} unpacks to more than 100 times its size'):
            list(text_lines(path, Drops()))
    tmx_path = tmp_path / f'de-en.tmx.{suffix}'
    tmx_path.write_bytes(compress(b'<tmx><body>' + b'<tu></tu>' * 2_000_000))  # type: ignore[operator]
    with pytest.raises(UserError, match='refused as a decompression bomb'):
        list(tmx.units(tmx_path, Drops()))


def test_a_dictionary_that_takes_the_memory(tmp_path: Path) -> None:
    path = tmp_path / 'de.txt.xz'
    path.write_bytes(lzma.compress(b'text\n', filters=[{'id': lzma.FILTER_LZMA2, 'preset': 0, 'dict_size': 1 << 29}]))
    with pytest.raises(UserError, match=r'is damaged or not in the format that its name says .*[Mm]emory'):
        list(text_lines(path, Drops()))


def test_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, 'FLOOR', 1 << 20)
    monkeypatch.setattr(opus, 'RATIO', 100)
    path = tmp_path / 'de-en.txt.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('../../X.de-en.de', b'\0' * (4 << 20))
        archive.writestr('/X.de-en.en', b'one\n')
    with pytest.raises(UserError, match=r'X\.de-en\.de says that it unpacks to 4,194,304 bytes; refused as a decompression bomb'):
        list(opus.pairs(opus.files(tmp_path)[0], 0, Drops()))


def test_zip_members_are_not_paths(tmp_path: Path) -> None:
    folder = tmp_path / 'raw'
    folder.mkdir()
    with zipfile.ZipFile(folder / 'de-en.txt.zip', 'w') as archive:
        archive.writestr('../../escape.de', 'eins\n')
        archive.writestr('/tmp/escape.en', 'one\n')
    assert list(opus.pairs(opus.files(folder)[0], 0, Drops())) == [('eins', 'one')]
    assert sorted(tmp_path.parent.rglob('escape*')) == []


def test_tar_header_that_takes_the_memory(tmp_path: Path) -> None:
    """tarfile reads an extended header in one piece, whatever its size: here 600 MB of zeros, which gzip packs into 600 KB."""
    path = tmp_path / 'parallel.tgz'
    header = tarfile.TarInfo('header')
    header.type, header.size = tarfile.XHDTYPE, 600 << 20
    with gzip.open(path, 'wb', compresslevel=1) as file:
        file.write(header.tobuf())
        for _ in range(600):
            file.write(bytes(1 << 20))
    code = (
        'import sys; from pathlib import Path; from data_pipeline.readers import opus; from data_pipeline.drops import Drops\n'
        'list(opus.pairs(opus.files(Path(sys.argv[1]))[0], 0, Drops()))'
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))

    run = subprocess.run([sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, preexec_fn=limit, check=False)
    assert 'is truncated, damaged or no tar (a header of ' in run.stderr
    assert 'MemoryError' not in run.stderr


def test_links_in_a_tar_stay_inside(tmp_path: Path) -> None:
    (tmp_path / 'secret').write_text('secret\n')
    with tarfile.open(tmp_path / 'parallel.tgz', 'w:gz') as archive:
        link = tarfile.TarInfo('IITB.en-hi.en')
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / 'secret')
        archive.addfile(link)
        member = tarfile.TarInfo('IITB.en-hi.hi')
        member.size = 5
        archive.addfile(member, io.BytesIO(b'abcd\n'))
    with pytest.raises(UserError, match=r'parallel\.tgz is truncated, damaged or no tar'):
        list(opus.pairs(opus.files(tmp_path)[0], 0, Drops()))
