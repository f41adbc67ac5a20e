"""The demo's tables from the files that its steps write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ridge_floor import floor
from downstream.embed import Embeddings
from downstream.multi30k_retrieval import score
from downstream.quickstart import results
from pretrain.evaluation.multi30k import read_split

SAMPLE = Path(__file__).parents[3] / 'sample'
DATA = SAMPLE / 'evaluation' / 'multi30k_seen'


@pytest.fixture(scope='module')
def found() -> dict[str, Any]:
    """The set with a perfect model, whose scores are the real ones of `downstream`."""
    split = read_split(DATA, languages=['en', 'de', 'fr', 'cs', 'ta'])
    images = np.eye(len(split.names), dtype=np.float32)
    result = {'data': {'pictures': len(split.names)}, **score(split, Embeddings(images, dict.fromkeys(split.captions, images)))}
    return results.retrieval(result, floor(SAMPLE / 'raw', DATA))


def test_recalls_stand_beside_floor_and_chance(found: dict[str, Any]) -> None:
    english = found['languages']['en']['text_to_image']
    assert english['ours'] == [1, 1, 1]
    assert [round(value, 3) for value in english['floor']] == [0.197, 0.388, 0.514]
    assert english['chance'] == pytest.approx([1 / 183, 5 / 183, 10 / 183])
    assert found['mean_paper']['text_to_image']['floor'][2] == pytest.approx(0.495, abs=5e-4)


def test_table(found: dict[str, Any]) -> None:
    lines = results.retrieval_table('multi30k_seen', found, {'en', 'de', 'fr', 'cs'}).split('\n')
    assert 'among the 183 pictures of multi30k_seen' in lines[0]
    assert lines[1].split() == ['text->image', 'floor', 'image->text', 'floor']
    assert lines[2].split() == ['language', *['R@1', 'R@5', 'R@10'] * 4]
    rows = {line.split('  ')[0]: line.split() for line in lines[4:]}
    assert rows['en'][1:7] == ['100.0', '100.0', '100.0', '19.7', '38.8', '51.4']
    assert rows['chance'][1:4] == ['0.5', '2.7', '5.5']
    assert 'mean en de fr cs' in rows
    assert 'ta *' in rows
    assert lines[-1].startswith('* never seen with a picture')
    assert len({len(line) for line in lines[2:-1]}) == 1


def test_a_whole_demo_that_learns_too_little_says_so(found: dict[str, Any]) -> None:
    assert results.too_low(found) is None
    floor = {'ours': [0.1, 0.2, 0.2994], 'floor': [0, 0, 0], 'chance': [0, 0, 0]}
    assert 'R@10 of 29.9 is less than 30.0' in (results.too_low({'mean_paper': {'text_to_image': floor}}) or '')


def evaluation(step: int, loss: float | None) -> dict[str, Any]:
    languages = {} if loss is None else {'de': loss - 0.5, 'en': loss + 0.5}
    return {
        'step': step,
        'heldout': {
            'mt': {'mean': loss, 'languages': languages},
            'itm': {'mean': 0.7, 'languages': {'en': 0.7}, 'accuracy': 0.5 + step / 1000},
        },
    }


def test_losses_before_and_after() -> None:
    heldout = results.losses([evaluation(0, 9.0), evaluation(100, 5.0), evaluation(200, 4.0)])
    assert heldout['steps'] == [0, 200]
    assert heldout['tasks']['mt'] == {'before': 9.0, 'after': 4.0, 'languages': {'de': [8.5, 3.5], 'en': [9.5, 4.5]}}
    lines = results.loss_table(heldout).split('\n')
    assert lines[1].split() == ['task', 'step', '0', 'step', '200']
    assert lines[3].split() == ['mt', '9.000', '4.000']
    assert lines[-1].split() == ['itm,', 'accuracy', '0.500', '0.700']
    assert results.loss_table(results.losses([evaluation(0, None)])).split('\n')[3].split() == ['mt', '-', '-']


def test_summary(found: dict[str, Any]) -> None:
    heldout = results.losses([evaluation(0, 9.0)])
    text = results.text({'multi30k_seen': found}, heldout, {'en'}, 'multi30k_seen')
    assert text.split('\n')[-1] == 'text->image R@10, mean over en de fr cs: 100.0 (ridge floor 49.5, chance 5.5)'
