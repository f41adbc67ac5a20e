"""Files that no reader takes: each is named on stderr and in one manifest, and the sample has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data_pipeline.build import BUILDERS
from data_pipeline.job import Job
from data_pipeline.settings import Settings
from data_pipeline.unread import warnings_of
from tests.data_pipeline.conftest import SAMPLE, Builder

Raw = Callable[..., Path]
TSV = 'wit_v1.train.all-00000-of-00010.tsv.gz'


def warnings(corpus: str, raw: Path, tokenizer: Path, images: Path | None = None, translations: Path | None = None) -> list[str]:
    job = Job(corpus, raw, raw / 'out', Settings(), images, translations, tokenizer)
    return warnings_of(job, BUILDERS[job.kind].check(job), BUILDERS[job.kind].names(job))


@pytest.mark.parametrize('corpus', ['cc3m', 'cc12m', 'wit', 'cc100', 'opus'])
def test_the_sample_is_read_as_a_whole(tokenizer: Path, corpus: str) -> None:
    assert warnings(corpus, SAMPLE / 'raw' / corpus, tokenizer) == []


def test_what_an_option_replaces_is_no_mistake(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = SAMPLE / 'raw/cc12m'
    monkeypatch.chdir(raw)
    assert warnings('cc12m', raw, tokenizer, Path('images'), Path('translations.jsonl')) == []
    assert warnings('cc12m', raw, tokenizer, raw / 'images_files', SAMPLE / 'raw/cc3m/translations.jsonl') == []


@pytest.mark.parametrize(
    ('corpus', 'good', 'missed', 'wanted'),
    [
        (
            'cc3m',
            ['images/00000.tar', 'images/00000.parquet', 'images/00000_stats.json'],
            ['Train_GCC-training.tsv.gz', 'cc3m_translations.jsonl', 'images/00001.parquet.part', 'images/00001.tar.gz'],
            r'none of Train_GCC-training.tsv, translations*.jsonl or .tsv (also .gz), image*/**/NNNNN.tar',
        ),
        ('wit', [TSV, 'image_data_train/image_pixels/part-00000.csv.gz'], ['image_data_train/part-1.csv'], 'none of wit_v1.train.*.tsv.gz'),
        ('cc100', ['de.txt.xz'], ['de.xz', 'fr.txt.gz', 'more/fr.txt.xz'], 'none of <code>.txt.xz or <code>.txt, directly in the folder'),
        ('opus', ['IITB/parallel.tgz'], ['WikiMatrix.de-en.tsv', 'x/de-fr.zip'], 'none of xx-yy.txt.zip, WikiMatrix.xx-yy.tsv.gz'),
    ],
)
def test_names_that_are_not_quite_right(raw: Raw, tokenizer: Path, corpus: str, good: list[str], missed: list[str], wanted: str) -> None:
    folder = raw(corpus, *good)
    side = ['LICENSE', 'x/README.md', 'NOTICE', 'IITB/dev_test.tgz', '.cache/a.tsv', '.DS_Store', 'wit_v1.val.all-00000-of-00005.tsv.gz']
    side += ['wit_v1.train.all-1percent_sample.tsv.gz', 'out/shard.mds']
    for name in missed + side:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'')
    told = warnings(corpus, folder, tokenizer)
    assert [line.partition(' is not read: its name is ')[0] for line in told] == [str(folder / name) for name in missed]
    assert all(wanted in line for line in told)


def test_many_are_counted(raw: Raw, tokenizer: Path) -> None:
    folder = raw('cc100', 'de.txt.xz')
    for i in range(100):
        (folder / f'{i:03}.jpg').write_bytes(b'')
    told = warnings('cc100', folder, tokenizer)
    assert len(told) == 21
    assert told[-1] == f'80 more files are not read, such as {folder / "020.jpg"}'


def test_a_build_tells_it_once(build_corpus: Builder, raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = raw('cc100', 'de.txt.xz', 'th.txt.xz')
    (folder / 'fr.txt.gz').write_bytes(b'')
    manifests = build_corpus('cc100', tmp_path / 'out', folder)
    (warning,) = [warning for manifest in manifests for warning in manifest.warnings]
    assert warning.startswith(f'{folder}/fr.txt.gz is not read')
    assert capsys.readouterr().err.count(f'warning: {warning}\n') == 1
