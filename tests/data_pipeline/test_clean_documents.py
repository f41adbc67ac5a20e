"""Many documents at a time are cleaned as paragraph by paragraph."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.clean_documents import _ODD, _SUSPECT, clean_documents
from data_pipeline.cleaning import normalise, rewrites, without_content
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
        text = '\n\n'.join('\n'.join(document) for document in documents).encode()
        batches = list(clean_documents(text, settings, evaluation, drops))
    expected, counts, changed = [], [], Counter[str]()
    for document in documents:
        normal = [normalise(paragraph, settings.applies('nfc')) for paragraph in document]
        changed.update(rule for one, other in zip(document, normal, strict=True) for rule in rewrites(one, other))
        kept = [text for text in normal if not without_content(text, settings)]
        expected += kept
        counts.append(len(kept))
    assert [text.decode() for texts, _ in batches for text in texts] == expected
    assert [count for _, some in batches for count in some.tolist()] == counts
    assert drops.rewritten == changed
    assert drops.counts.total() == drops.counts['empty'] == sum(map(len, documents)) - len(expected)


def test_what_is_looked_for() -> None:
    """Of every character below U+10000: whether it is white space or a control character, and that none which NFC may change is missed."""
    characters = [chr(code) for code in range(128, 0x10000) if not 0xD800 <= code < 0xE000]
    parts = [unicodedata.decomposition(character) for character in characters]
    joined = {chr(int(code, 16)) for part in parts if '<' not in part for code in part.split()[1:]}
    for character in characters:
        text = f'a{character}a'
        assert bool(_ODD.fullmatch(character.encode())) == (normalise(text, False) != text)
        if normalise(text) != text or unicodedata.combining(character) or character in joined:
            assert _SUSPECT.match(character.encode()), hex(ord(character))
    assert not _SUSPECT.search('Ünïcode łéttérs «—…“”’» 100 € № Жизнь 中国'.encode())
    assert all(_SUSPECT.match(chr(code).encode()) for code in range(0x10000, 0x110000))
