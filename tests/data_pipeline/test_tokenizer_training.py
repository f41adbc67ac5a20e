"""Texts of all corpora, drawn with balanced languages, the same every time."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from data_pipeline.texts import texts
from data_pipeline.tokenizer_settings import TrainingSettings
from data_pipeline.tokenizer_training import draw, train
from shards.errors import UserError
from shards.tokenizer import DESCRIPTION, MODEL, Tokenizer

SAMPLE = Path(__file__).parents[2] / 'sample/raw'


def test_texts_of_every_corpus() -> None:
    counts = Counter(language for language, _ in texts(SAMPLE))
    own = Counter(path.name.partition('.')[0] for path in (SAMPLE / 'cc100').glob('*.xz'))
    assert len(counts) >= len(own)
    paragraphs = sum(1 for line in lzma.decompress((SAMPLE / 'cc100/th.txt.xz').read_bytes()).split(b'\n') if line.strip())
    wikimatrix = len(gzip.decompress((SAMPLE / 'opus/WikiMatrix/WikiMatrix.en-th.tsv.gz').read_bytes()).split(b'\n')) - 1
    wit = sum(
        1 for path in SAMPLE.glob('wit/*.tsv.gz') for line in gzip.decompress(path.read_bytes()).decode().split('\n') if _is_thai(line)
    )
    assert counts['th'] == paragraphs + wikimatrix + wit
    # CC3M's and CC12M's translations are in these five languages.
    assert all(counts[language] > 2 * 700 for language in ('de', 'fr', 'cs', 'ja', 'zh'))


def _is_thai(line: str) -> bool:
    cells = line.split('\t')
    return cells[0] == 'th' and bool(cells[6].strip()) and cells[9] in ('image/jpeg', 'image/png', 'image/webp')


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='holds none of the folders cc3m cc12m wit cc100 opus'):
        list(texts(tmp_path))


def rows(numbers: dict[str, int]) -> list[tuple[str, str]]:
    return [(language, f'{language} text {i}') for language, number in numbers.items() for i in range(number)]


def drawn(given: Iterator[tuple[str, str]], settings: TrainingSettings) -> tuple[list[str], dict[str, int]]:
    with TemporaryFile() as file:
        sample, kept = draw(given, settings, file)
        return list(sample), kept


def test_languages_are_balanced() -> None:
    sample, kept = drawn(iter(rows({'en': 6400, 'th': 100})), TrainingSettings(alpha=0.5))
    counts = Counter(text[:2] for text in sample)
    assert kept == {'en': 6400, 'th': 100}
    assert counts['en'] == pytest.approx(8 * counts['th'], rel=0.01)  # sqrt(64)
    assert len(sample) == pytest.approx(6500, abs=1)
    assert Counter(sample)['th text 5'] in (7, 8)  # repeated, to make up its share


def test_the_sample_does_not_depend_on_the_order() -> None:
    settings = TrainingSettings(alpha=0.5, sentences=50, per_language=60)
    there = drawn(iter(rows({'en': 500, 'th': 20})), settings)
    assert drawn(iter(reversed(rows({'en': 500, 'th': 20}))), settings) == there
    assert len(there[0]) == 50
    assert there[1] == {'en': 60, 'th': 20}


@pytest.mark.parametrize('most', [1, 50, 3000, 20_000])
def test_the_lowest_hashes_are_kept(most: int) -> None:
    """Whatever comes again, and however often what is kept was looked through before: as if all were sorted at once."""
    given = [('th', f'text {i * i % 9001}') for i in range(12_000)]
    ranked = sorted({text for _, text in given}, key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())
    sample, kept = drawn(iter(given), TrainingSettings(per_language=most))
    assert sample == ranked[:most]
    assert kept == {'th': min(most, len(ranked))}


def test_memory_of_a_text() -> None:
    """It was 400 bytes for one of 150."""
    number = 50_000
    with TemporaryFile() as file:
        tracemalloc.start()
        sample, _ = draw((('en', f'{i:0150}') for i in range(number)), TrainingSettings(), file)
        assert sum(1 for _ in sample) == number
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 160 * number  # 16 each for good, the rest for those that were not yet looked through


def test_no_room_for_the_texts(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'file/x: Not a directory; mend that, or choose another --out'):
        train(SAMPLE, tmp_path / 'file/x', TrainingSettings())


def test_texts_are_normalised_and_long_ones_left_out() -> None:
    sample, _ = drawn(iter([('en', ' a\ud800 \u2028 b '), ('en', '...'), ('en', 'x' * 5000), ('en', 'a b')]), TrainingSettings())
    assert set(sample) == {'a b'}


def test_training_is_repeatable(tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / 'raw/cc100').mkdir(parents=True)
    for code in ('en', 'th'):
        (tmp_path / 'raw/cc100' / f'{code}.txt.xz').symlink_to(SAMPLE / f'cc100/{code}.txt.xz')
    for out in ('one', 'two'):
        train(tmp_path / 'raw', tmp_path / out, TrainingSettings(pieces=500))
    for name in (MODEL, DESCRIPTION):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    origin = json.loads((tmp_path / 'one' / DESCRIPTION).read_text())['origin']
    assert origin['trained']['pieces'] == 500
    assert set(origin['texts']) == {'en', 'th'}
    model = Tokenizer.load(tmp_path / 'one')
    assert model.encode('ｆｉｌｅ') == model.encode('file')
