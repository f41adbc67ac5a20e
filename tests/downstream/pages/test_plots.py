"""What is plotted, and that the drawing says it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from downstream.pages.collect import collect
from downstream.pages.plots import draw, series
from tests.downstream.pages import results


def test_ours_stand_beside_the_paper_and_chance(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'm', ('de', 'jv', 'zh'))
    found = series(collect([str(tmp_path / 'm')])[0])
    assert found == {
        'ours, xx->en': {'de': 4.0, 'jv': 18.0, 'zh': 35.0}, 'chance': {'de': 1.0, 'jv': 1.0, 'zh': 1.0},
        'paper': {'de': 99.7, 'jv': 60.0, 'zh': 96.7},
    }  # fmt: skip


def test_others_have_their_floor(tmp_path: Path) -> None:
    results.xvnli(tmp_path / 'm/a', en=0.5, ar=0.25)
    results.retrieval(tmp_path / 'm/b', en=0.5, cs=0.25)
    results.coco(tmp_path / 'm/c')
    found = {result.task: series(result) for result in collect([str(tmp_path / 'm')])}
    assert found['xvnli'] == {'ours': {'en': 50.0, 'ar': 25.0}, 'commonest label': {'en': 34.0, 'ar': 34.0}, 'paper': {'ar': 74.08}}
    assert found['multi30k-retrieval']['chance'] == {'en': 1.0, 'cs': 1.0}
    assert found['coco'] == {}


def test_drawing(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'm', ('de', 'jv'))
    found = series(collect([str(tmp_path / 'm')])[0])
    text = draw(found, 'a title')
    root = ElementTree.fromstring(text)
    words = [''.join(node.itertext()).strip() for node in root.iter('{http://www.w3.org/2000/svg}text')]
    assert {'de', 'jv', 'paper', 'chance', 'ours, xx->en'} <= set(words)
    assert draw(found, 'a title') == text  # the same picture again: it can be committed
