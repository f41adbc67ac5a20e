"""Accuracy, its denominators and floors, and the table beside the paper's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from downstream.accuracy import above_floor, paper_figures, score, show
from downstream.data.labelled import Labelled, Target
from downstream.xvnli import XVNLI

A, B, HALF = ((0, 1.0),), ((1, 1.0),), ((2, 0.6), (0, 0.3))


def rows(language: str, *targets: Target | None) -> Labelled:
    labelled = Labelled(language, f'{language}/test.jsonl')
    for number, target in enumerate(targets):
        labelled.add(str(number), 'a text', 'a.jpg', target)
    return labelled


def test_denominators() -> None:
    """Without a label: not counted, or counted as wrong. Without a class: wrong. Half true: half right."""
    tests = {'en': rows('en', A, B, None, ()), 'de': rows('de', HALF, HALF, B, A)}
    scores = score(tests, {'en': np.array([0, 0, 0, 0]), 'de': np.array([2, 0, 2, 0])})['languages']
    assert scores['en'] == {
        'rows': 3, 'rows_all': 4, 'accuracy': pytest.approx(1 / 3), 'accuracy_all': 0.25, 'majority': pytest.approx(1 / 3),
        'standard_error': pytest.approx(math.sqrt(2 / 27)),
    }  # fmt: skip
    assert scores['de']['accuracy'] == pytest.approx((0.6 + 0.3 + 0 + 1) / 4)
    assert scores['de']['majority'] == pytest.approx((0.3 + 0.3 + 1) / 4)  # class 0 throughout


def test_mean_is_over_languages_without_english() -> None:
    choices = {'en': np.array([0]), 'de': np.array([1]), 'fr': np.array([0])}
    result = score({language: rows(language, A) for language in choices}, choices)
    assert result['mean'] == {'languages': ['de', 'fr'], 'accuracy': 0.5, 'accuracy_all': 0.5, 'majority': 1.0}
    assert score({'en': rows('en', A)}, {'en': np.array([0])})['mean'] is None


def test_a_constant_answer_is_at_the_floor() -> None:
    tests = {'en': rows('en', *[A] * 40, *[B] * 60)}
    assert not above_floor(score(tests, {'en': np.full(100, 1)})['languages']['en'])
    right = np.array([0] * 40 + [1] * 60)
    assert above_floor(score(tests, {'en': right})['languages']['en'])
    lucky = right.copy()
    lucky[:35] = 1  # 65 %, of which the commonest label gives 60
    assert not above_floor(score(tests, {'en': lucky})['languages']['en'])


def table(languages: tuple[str, ...]) -> dict[str, list[str]]:
    tests = {language: rows(language, A, A, B, None) for language in languages}
    scores: dict[str, Any] = score(tests, {language: np.array([0, 0, 0, 0]) for language in languages})
    lines = show(XVNLI, {'data': {'folder': 'x'}, 'setting': 'fine-tuned on en', 'set': 'test', 'also': {}, **scores}).split('\n')
    assert 'at floor: less than 2 standard errors above the commonest label' in lines
    return {line.split()[0]: line.split() for line in lines if line.strip()}


def test_table_stands_beside_the_paper() -> None:
    lines = table(('en', 'ar', 'es', 'fr', 'ru'))
    assert lines['en'] == ['en', '3', '66.7', '50.0', '66.7', 'at', 'floor', '76.4', '75.8', '76.4', '76.9', '87.7']
    assert lines['ru'][-5:] == ['51.7', '59.7', '64.9', '62.5', '75.7']
    assert lines['mean'][-5:] == ['53.7', '58.5', '62.0', '58.2', '77.4']


def test_a_mean_over_other_languages_has_none_of_the_paper_beside_it() -> None:
    assert table(('en', 'ar', 'es'))['mean'] == ['mean', 'but', 'en', '66.7', '50.0', '66.7']
    assert table(('en', 'de'))['de'] == ['de', '3', '66.7', '50.0', '66.7', 'at', 'floor']


def test_figures_of_the_paper() -> None:
    figures = paper_figures(XVNLI)
    assert figures['paper'] == {'en': 87.73, 'ar': 74.08, 'es': 78.86, 'fr': 81.04, 'ru': 75.73, 'mean': 77.42}
    assert np.mean([figures['paper'][language] for language in ('ar', 'es', 'fr', 'ru')]) == pytest.approx(77.42, abs=0.01)
