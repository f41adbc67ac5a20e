"""Documents -> sequences."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.packing import encoded
from data_pipeline.packing import pack as pack_arrays
from shards.tokenizer import Tokenizer


def pack(paragraphs: list[list[int]], most: int) -> list[list[int]]:
    return [ids.tolist() for ids in pack_arrays([np.array(paragraph, np.int32) for paragraph in paragraphs], most)]


def test_whole_paragraphs_where_they_fit() -> None:
    assert list(pack([[1] * 4, [2] * 4, [3] * 4, [4]], 8)) == [[1] * 4 + [2] * 4, [3] * 4 + [4]]


def test_a_long_paragraph_is_cut_and_its_rest_filled() -> None:
    assert list(pack([[1] * 3, [2] * 11, [3] * 2, [4] * 4], 5)) == [[1] * 3, [2] * 5, [2] * 5, [2] + [3] * 2, [4] * 4]
    assert list(pack([], 5)) == list(pack([[]], 5)) == []


@given(st.lists(st.lists(st.integers(0, 9), max_size=40)), st.integers(1, 20))
def test_every_id_once_in_order(paragraphs: list[list[int]], most: int) -> None:
    sequences = list(pack(paragraphs, most))
    assert list(chain(*sequences)) == list(chain(*paragraphs))
    assert all(0 < len(sequence) <= most for sequence in sequences)
    if all(len(paragraph) <= most for paragraph in paragraphs):
        starts = [sum(map(len, sequences[:i])) for i in range(len(sequences))]
        bounds = [sum(map(len, paragraphs[:i])) for i in range(len(paragraphs) + 1)]
        assert set(starts) <= set(bounds)  # none was cut


def test_encoded_as_one_by_one(tokenizer: Path) -> None:
    """Batches of documents give the ids of each text alone, unknown letters included."""
    model = Tokenizer.load(tokenizer)
    documents = [['ein Hund', 'zwei \U00013000 Katzen'], [], ['', 'x' * 9000], *([f'a dog {i}'] * (i % 3) for i in range(90_000))]
    found = list(encoded(documents, model))
    assert len(found) == len(documents)
    for document, ids in list(zip(documents, found, strict=True))[:: len(documents) // 400] + list(zip(documents, found, strict=True))[:4]:
        assert [array.tolist() for array in ids] == [model.encode(text) for text in document]
        assert all(array.dtype == np.int32 for array in ids)
    assert model.unk in found[0][1]
