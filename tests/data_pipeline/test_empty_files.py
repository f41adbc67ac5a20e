"""A file of nothing beside good ones, as an interrupted download leaves it, is named: on the terminal once, and in the manifest."""

from __future__ import annotations

import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data_pipeline.conftest import Builder

Raw = Callable[..., Path]


def moses(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        for code in ('de', 'fr'):
            archive.writestr(f'MultiUN.de-fr.{code}', '')


EMPTY: dict[str, tuple[str, list[str], Callable[[Path], object]]] = {
    'sv.txt': ('cc100', ['de.txt.xz'], lambda path: path.write_bytes(b'')),
    'fi.txt.xz': ('cc100', ['de.txt.xz'], lambda path: path.write_bytes(lzma.compress(b''))),
    'de-fr.txt.zip': ('opus', ['WikiMatrix/WikiMatrix.de-en.tsv.gz'], moses),
    'WikiMatrix.en-fr.tsv.gz': ('opus', ['WikiMatrix/WikiMatrix.de-en.tsv.gz'], lambda path: path.write_bytes(gzip.compress(b''))),
    'translations_more.jsonl': (
        'cc12m', ['cc12m.tsv', 'images/00000.parquet'], lambda path: path.write_bytes(b''),
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', EMPTY)
def test_an_empty_file_is_named(name: str, raw: Raw, build_corpus: Builder, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    corpus, beside, make = EMPTY[name]
    folder = raw(corpus, *beside)
    make(folder / name)
    manifests = build_corpus(corpus, tmp_path / 'out', folder)
    warning = f'{folder / name} is empty; download it again, or move it out of the folder'
    assert [line for line in capfd.readouterr().err.splitlines() if 'is empty' in line] == [f'warning: {warning}']
    assert [told for manifest in manifests for told in manifest.warnings] == [warning]


def test_a_file_whose_rows_are_all_dropped_is_not_empty(raw: Raw, build_corpus: Builder, tmp_path: Path) -> None:
    folder = raw('opus', 'WikiMatrix/WikiMatrix.de-en.tsv.gz')
    (folder / 'WikiMatrix.en-fr.tsv.gz').write_bytes(gzip.compress(b'0.1\tone\tun\n'))  # below the threshold of the score
    assert not [told for manifest in build_corpus('opus', tmp_path / 'out', folder) for told in manifest.warnings]
