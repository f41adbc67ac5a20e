"""Tatoeba from the command line to result.json, with a real model on real sentences, against a brute-force ranking."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from downstream.cli import run
from downstream.data.tatoeba import LANGUAGES, read_tatoeba
from downstream.embed import TEXTS_A_CALL
from downstream.paper import by_language, paper_tables
from downstream.tatoeba import embed_pairs, score, show
from pretrain.evaluation import retrieval
from pretrain.evaluation.multi30k import read_split
from pretrain.model.load import embed_texts, load_model
from shards.errors import UserError
from tests.downstream.data.test_tatoeba import write
from tests.support.launch import ROOT, prewarmed, succeed

SAMPLE = Path(__file__).parents[2] / 'sample' / 'evaluation' / 'multi30k_seen'
TATOEBA = SAMPLE.parent / 'tatoeba'
SIZES = {'deu': 40, 'cmn': 23, 'swh': 7}


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The names of the sample's pictures in some languages, as pairs with English, in odd sizes."""
    root = tmp_path_factory.mktemp('tatoeba')
    captions = read_split(SAMPLE, languages=['en', 'de', 'zh', 'sw']).captions
    for code, size in SIZES.items():
        texts = captions[{'deu': 'de', 'cmn': 'zh', 'swh': 'sw'}[code]].texts
        write(root, code, texts[:size], captions['en'].texts[:size])
    return root


@pytest.fixture(scope='module')
def evaluated(export: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp('out')
    assert run(['tatoeba', 'evaluate', '--model', str(export), '--data', str(data), '--out', str(out)]) == 0
    return out, json.loads((out / 'result.json').read_text(encoding='utf8'))


def lines(path: Path) -> list[str]:
    return path.read_text(encoding='utf8').split('\n')[:-1]


def brute_force(queries: NDArray[np.float32], candidates: NDArray[np.float32]) -> float:
    """Expected accuracy, sentence by sentence: one of those with the highest score is taken at random."""
    hits = 0.0
    for row, query in enumerate(queries):
        scores = [float(np.dot(query.astype(np.float64), candidate.astype(np.float64)).round(9)) for candidate in candidates]
        best = [place for place, value in enumerate(scores) if value == max(scores)]
        hits += (row in best) / len(best)
    return hits / len(queries)


def test_saved_embeddings_give_the_result(evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, result = evaluated
    assert list(result['languages']) == ['de', 'sw', 'zh']
    for language, scores in result['languages'].items():
        texts, english = (np.load(out / name, allow_pickle=False) for name in (f'{language}.npy', f'{language}.english.npy'))
        assert texts.shape == english.shape == (scores['sentences'], 8)
        assert scores['to_english'] == pytest.approx(brute_force(texts, english))
        assert scores['from_english'] == pytest.approx(brute_force(english, texts))
        assert scores['mean'] == pytest.approx((scores['to_english'] + scores['from_english']) / 2)
    assert [scores['sentences'] for scores in result['languages'].values()] == [40, 7, 23]
    assert result['mean']['to_english'] == pytest.approx(np.mean([scores['to_english'] for scores in result['languages'].values()]))


def test_result_holds_all_that_it_depends_on(export: Path, evaluated: tuple[Path, dict[str, Any]]) -> None:
    _, result = evaluated
    assert result['model']['sha256'] == load_model(export).sha256
    assert re.fullmatch('[0-9a-f]{64}', result['data']['sha256'])
    assert result['metric'].startswith('accuracy@1|similarity:cosine')
    assert result['mean_36'] is None
    assert len(result['missing']) == 33
    assert 'th' in result['missing']


@pytest.mark.slow
@pytest.mark.launcher
def test_two_ranks_give_the_same_bytes(export: Path, tmp_path: Path) -> None:
    """The sample's sentences of all languages as if they were one, which are more than the model takes at a time."""
    names = [path.name for path in sorted(TATOEBA.glob('*.eng'))]
    english = [line for name in names for line in lines(TATOEBA / name)]
    texts = [line for name in names for line in lines(TATOEBA / name.replace('.eng', f'.{name[8:11]}'))]
    assert len(set(texts)) > 2 * TEXTS_A_CALL
    write(tmp_path, 'deu', texts, english)
    command = ['tatoeba', 'evaluate', '--model', str(export), '--data', str(tmp_path), '--out']
    assert run([*command, str(tmp_path / 'one')]) == 0
    succeed([*prewarmed(2), str(ROOT / 'downstream/run.py'), *command, str(tmp_path / 'two')], tmp_path)
    for name in ('de.npy', 'de.english.npy', 'result.json'):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes(), name
    assert json.loads((tmp_path / 'two/result.json').read_text(encoding='utf8'))['languages']['de']['sentences'] == len(texts)


def test_rows_are_those_of_single_sentences(export: Path, data: Path, evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, _ = evaluated
    sentence = (data / 'tatoeba.cmn-eng.cmn').read_text(encoding='utf8').split('\n')[17]
    np.testing.assert_allclose(embed_texts(load_model(export), [sentence], 'zh').numpy()[0], np.load(out / 'zh.npy')[17], atol=1e-5)


def random_sides(generator: np.random.Generator, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    english = generator.normal(size=(size, 6)).astype(np.float32)
    return (english + generator.normal(size=(size, 6))).astype(np.float32), english


def test_blocks_and_ties_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, english = random_sides(np.random.default_rng(0), 205)
    english[7] = english[150]  # the same English sentence twice: right with probability one half
    whole = score({'jv': (texts, english)})['languages']['jv']
    assert whole['to_english'] == pytest.approx(brute_force(texts, english))
    assert whole['from_english'] == pytest.approx(brute_force(english, texts))
    assert 0.1 < whole['to_english'] < 0.9
    monkeypatch.setattr(retrieval, 'BLOCK_SCORES', 1000)
    assert score({'jv': (texts, english)})['languages']['jv'] == whole


def test_equal_embeddings_are_at_chance() -> None:
    scores = score({'te': (np.ones((234, 4), np.float32), np.ones((234, 4), np.float32))})
    assert scores['mean']['to_english'] == scores['mean']['from_english'] == pytest.approx(1 / 234) == scores['mean']['chance']


def test_table_stands_beside_the_paper() -> None:
    generator = np.random.default_rng(1)
    result = {'data': {'folder': 'x'}, **score({language: random_sides(generator, 9) for language in (*LANGUAGES, 'da')})}
    assert result['missing'] == []
    lines = [line.split() for line in show(result).split('\n')]
    rows = {' '.join(line[:-8]): line[-8:] for line in lines[3:-1] if len(line) > 8}
    paper = by_language(paper_tables()['table8'])['paper']
    assert rows['jv'][-1] == '60.0' == f'{paper["jv"]:.1f}'
    assert len(next(line for line in lines if line[0] == 'da')) == 6  # the paper has no figure for it
    means = [line for line in lines if line[:2] == ['mean', 'of']]
    assert [line[2] for line in means] == ['37', '36']
    assert means[1][-1] == f'{np.mean(list(paper.values())):.1f}' == '93.8'  # Table 1 has 93.82
    assert float(means[1][3]) == pytest.approx(100 * result['mean_36']['to_english'], abs=0.05)


def test_missing_languages_are_named(evaluated: tuple[Path, dict[str, Any]]) -> None:
    printed = show(evaluated[1])
    assert 'not run: af ar' in printed
    assert "the paper's mean over all 36 is 93.8" in printed


def test_language_without_a_code(export: Path, data: Path) -> None:
    """As with the tokenizer of an older version."""
    loaded = load_model(export)
    del loaded.tokenizer.languages['sw']
    with pytest.raises(UserError, match="no code for language 'sw'"):
        embed_pairs(loaded, read_tatoeba(data))
