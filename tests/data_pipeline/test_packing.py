"""Documents -> sequences."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.packing import pack


def test_whole_paragraphs_where_they_fit() -> None:
    assert list(pack([[1] * 4, [2] * 4, [3] * 4, [4]], 8)) == [[1] * 4 + [2] * 4, [3] * 4 + [4]]


def test_a_long_paragraph_is_cut_and_its_rest_filled() -> None:
    assert list(pack([[1] * 3, [2] * 11, [3] * 2, [4] * 4], 5)) == [[1] * 3, [2] * 5, [2] * 5, [2] + [3] * 2, [4] * 4]
    assert list(pack([], 5)) == list(pack([[]], 5)) == []


@given(st.lists(st.lists(st.integers(), max_size=40)), st.integers(1, 20))
def test_every_id_once_in_order(paragraphs: list[list[int]], most: int) -> None:
    sequences = list(pack(paragraphs, most))
    assert list(chain(*sequences)) == list(chain(*paragraphs))
    assert all(0 < len(sequence) <= most for sequence in sequences)
    if all(len(paragraph) <= most for paragraph in paragraphs):
        starts = [sum(map(len, sequences[:i])) for i in range(len(sequences))]
        bounds = [sum(map(len, paragraphs[:i])) for i in range(len(paragraphs) + 1)]
        assert set(starts) <= set(bounds)  # none was cut
