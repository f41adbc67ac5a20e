"""Counts, and examples of bounded number and size whatever the bytes are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.drops import EXAMPLES, Drops, merge_examples


def test_the_first_few() -> None:
    drops = Drops()
    for number in range(20):
        drops.add('empty', 1, f'text {number}')
    drops.add('empty', 7)
    drops.add('length', 1, 'one', 'other')
    drops.add('nothing', 0, 'not counted')
    assert drops.counts == {'empty': 27, 'length': 1}
    assert drops.examples == {'empty': [f'text {number}' for number in range(EXAMPLES)], 'length': ['one ↔ other']}
    merged: dict[str, list[str]] = {'empty': ['first']}
    merge_examples(merged, drops.examples)
    assert merged == {'empty': ['first', *(f'text {number}' for number in range(EXAMPLES - 1))], 'length': ['one ↔ other']}
    assert len(drops.examples['empty']) == EXAMPLES  # untouched


@given(st.text(st.characters()) | st.binary())  # lone surrogates too
def test_any_example_can_be_written(example: str | bytes) -> None:
    drops = Drops()
    drops.add('x', 1, example * 50)
    for kept in drops.examples.get('x', []):
        assert json.loads(json.dumps(kept, ensure_ascii=False).encode()) == kept
        assert len(kept) <= 201
