"""Floors from texts alone: on data where the answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.parts import text_floors
from downstream.metrics.bleu import sacre_bleu
from downstream.metrics.captions import bleu4, score_captions
from downstream.metrics.tokens import words
from downstream.xvnli import XVNLI
from pretrain.evaluation.multi30k import read_split
from tests.support.launch import ROOT
from tests.support.toy_benchmarks import write_lines, xvnli_row


def test_the_floor_of_captions_is_the_best_single_one(tmp_path: Path) -> None:
    lines = [{'references': ['a red ball']}, {'references': ['a red ball', 'a round red ball']}, {'references': ['the green tree']}]
    (tmp_path / 'captions.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    tokens = text_floors.Tokens('words', words)
    references = [line['references'] for line in lines]
    scores = {text: text_floors.cider([text] * 3, references, tokens) for text in ('a red ball', 'a round red ball', 'the green tree')}
    assert text_floors.one_caption(tmp_path, words) == pytest.approx(max(scores.values())) == scores['a red ball'] > 0


def test_the_floor_by_bleu_is_another_caption(tmp_path: Path) -> None:
    """CIDEr prefers what few references have; BLEU-4 wants four words in a row."""
    lines = [{'references': ['a']}, {'references': ['a']}, {'references': ['the green tree over there']}]
    (tmp_path / 'captions.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    tokens, references = text_floors.Tokens('words', words), [line['references'] for line in lines]
    best = text_floors.one_caption(tmp_path, words, bleu4)
    assert best == pytest.approx(bleu4(['the green tree over there'] * 3, references, tokens)) and best > 0.1
    assert bleu4(['a'] * 3, references, tokens) < 0.01
    scored = score_captions(['the green tree over there'] * 3, references, tokens, spice=False)
    assert scored['BLEU-4'] == best, 'as the results have it'


def test_the_floor_of_translation_is_the_best_single_text() -> None:
    data = ROOT / 'sample/evaluation/multi30k_seen'
    texts = read_split(data, languages=['de'], pictures=False).captions['de'].texts
    scores = [sacre_bleu([text] * len(texts), texts, 'de')['score'] for text in texts]
    assert text_floors.one_translation(data, 'de') == max(scores) > min(scores)


def test_the_floor_of_tatoeba_finds_shared_words(tmp_path: Path) -> None:
    (tmp_path / 'tatoeba.deu-eng.deu').write_text('Anna wohnt in Berlin.\nTom ist 42.\nSie schläft.\n')
    (tmp_path / 'tatoeba.deu-eng.eng').write_text('Anna lives in Berlin.\nTom is 42.\nShe sleeps.\n')
    (tmp_path / 'tatoeba.rus-eng.rus').write_text('Она спит.\nУ него есть собака.\n')
    (tmp_path / 'tatoeba.rus-eng.eng').write_text('He has a dog.\nShe sleeps.\n')
    found = text_floors.ngram_accuracy(tmp_path)
    assert found['de'] >= 2 / 3 and found['ru'] <= 1 / 2


def test_a_label_that_the_text_gives_away_is_in_the_floor(tmp_path: Path) -> None:
    """Neutral sentences have words of their own; of the other two only a picture tells which is which."""
    said = {'neutral': 'Somebody bought it {}.', 'entailment': 'A thing of {} kinds.', 'contradiction': 'A thing of {} kinds.'}
    for language, name, numbers in (
        ('en', 'train', range(40)),
        ('en', 'dev', range(3)),
        ('en', 'test', range(50, 60)),
        ('ru', 'test', range(9)),
    ):
        rows = [
            xvnli_row(str(number), f'{number}{gold}', text.format(number) if language == 'en' else f'совсем другое {number}', gold)
            for number in numbers
            for gold, text in said.items()
        ]
        (tmp_path / language).mkdir(exist_ok=True)
        write_lines(tmp_path / language / f'{name}.jsonl', rows)
    found = text_floors.text_only(XVNLI, tmp_path)
    assert found['en'] == pytest.approx(2 / 3) and found['ru'] == pytest.approx(1 / 3)
