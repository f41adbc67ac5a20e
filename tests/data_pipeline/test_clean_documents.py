"""Many documents at a time are cleaned as paragraph by paragraph."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.clean_documents import clean_documents
from data_pipeline.cleaning import normalise, without_content
from data_pipeline.drops import Drops
from data_pipeline.job import Job
from data_pipeline.references import Evaluation
from data_pipeline.settings import Settings

PARAGRAPH = st.one_of(
    st.sampled_from(['ein Hund', '...', '_', '- a list', ' a', 'a  b', '\u0301e', '\u2028', '\u20ac', 'a\u00a0b', '\x00', '一只狗']),
    st.text(st.characters(exclude_characters='\n', exclude_categories=['Cs']), min_size=1),
)


@pytest.mark.parametrize(('group', 'without'), [(1, ''), (20, ''), (1 << 13, ''), (20, 'nfc'), (20, 'empty')])
@given(documents=st.lists(st.lists(PARAGRAPH, min_size=1, max_size=6)))
def test_as_one_by_one(group: int, without: str, documents: list[list[str]]) -> None:
    settings, drops = Settings(without=without), Drops()
    evaluation = Evaluation(Job('cc100', Path(), Path(), settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('data_pipeline.clean_documents._GROUP', group)
        patch.setattr('data_pipeline.clean_documents._BATCH', 3 * group)
        batches = list(clean_documents(['\n'.join(document).encode() for document in documents], settings, evaluation, drops))
    expected, counts = [], []
    for document in documents:
        normal = [normalise(paragraph, settings.applies('nfc')) for paragraph in document]
        kept = [text for text in normal if not without_content(text, settings)]
        expected += kept
        counts.append(len(kept))
    assert [text.decode() for texts, _ in batches for text in texts] == expected
    assert [count for _, some in batches for count in some] == counts
    assert drops.counts.total() == drops.counts['empty'] == sum(map(len, documents)) - len(expected)
