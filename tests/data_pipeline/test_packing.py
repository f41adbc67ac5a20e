"""Documents -> sequences."""

from __future__ import annotations

from itertools import accumulate, chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.clean_documents import Batch
from data_pipeline.packing import cuts, packed
from shards.tokenizer import Tokenizer


def pack(paragraphs: list[list[int]], most: int) -> list[list[int]]:
    ids = list(chain(*paragraphs))
    ends = cuts(list(accumulate(map(len, paragraphs))), 0, most)
    return [ids[begin:end] for begin, end in pairwise([0, *ends])]


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


@given(st.lists(st.integers(0, 30)), st.integers(1, 20), st.integers(0, 5), st.integers(0, 5))
def test_paragraph_by_paragraph(lengths: list[int], most: int, before: int, after: int) -> None:
    """The paragraphs of a document, which others of its batch stand around."""
    ends = list(accumulate([7] * before + lengths + [7] * after))
    start = ends[before - 1] if before else 0
    expected, here, begin = [], start, start
    for end in ends[before : before + len(lengths)]:
        if end - begin > most:
            if here > begin:
                expected.append(here)
                begin = here
            while end - begin > most:
                begin += most
                expected.append(begin)
        here = end
    assert cuts(ends, start, most, before, before + len(lengths)) == expected + [here] * (here > begin)


def sequences(batches: list[Batch], model: Tokenizer, most: int, cross: bool) -> list[list[int]]:
    found = []
    for ids, ends in packed(batches, model, most, cross):
        assert ids.dtype == np.int32 and ends[-1:] == [len(ids)][: len(ends)]
        found += [ids[begin:end].tolist() for begin, end in pairwise([0, *ends])]
    return found


@pytest.mark.parametrize('few', [0, 20, 1000])
def test_batches_of_documents(tokenizer: Path, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document as if it were alone, or all of them as one; paragraphs by the ids that each has alone, unknown letters included."""
    monkeypatch.setattr('data_pipeline.packing._FEW', few)
    model = Tokenizer.load(tokenizer)
    documents = [['ein Hund', 'zwei \U00013000 Katzen'], [], ['x' * 90, 'a dog'], *([f'a dog {i}'] * (i % 3) for i in range(300))]
    batches = [
        ([text.encode() for text in chain(*part)], np.array([len(document) for document in part], np.intp))
        for part in (documents[:5], documents[5:7], [], documents[7:])
    ]
    ids = [[model.encode(text) for text in document] for document in documents]
    assert model.unk in ids[0][1]
    for most in (8, 40):
        assert sequences(batches, model, most, False) == list(chain(*(pack(document, most) for document in ids)))
        assert sequences(batches, model, most, True) == pack(list(chain(*ids)), most)
