"""Every language has a name, and stands where one looks for it."""

from __future__ import annotations

import pytest

from downstream.web.languages import OTHERS, choices, named
from shards.languages import LANGUAGES


@pytest.mark.parametrize(
    ('code', 'name'),
    [
        ('de', 'German (de)'), ('yue', 'Cantonese (yue)'), ('zh', 'Chinese, simplified (zh)'), ('zh-TW', 'Chinese, traditional (zh-TW)'),
        ('hi_rom', 'Hindi in Latin script (hi_rom)'), ('pnb', 'Western Panjabi (pnb)'),
    ],
)  # fmt: skip
def test_names(code: str, name: str) -> None:
    assert named(code) == name


def test_every_language_has_a_name_of_its_own() -> None:
    assert all(named(code) != code for code in LANGUAGES) and OTHERS.keys() <= set(LANGUAGES)
    assert len(set(map(named, LANGUAGES))) == len(LANGUAGES)


def test_trained_then_with_texts_then_the_others() -> None:
    codes = ['aa', 'de', 'en', 'fr', 'zu']
    assert choices(codes, ['fr', 'de'], ['de', 'zu'], mark=True) == [
        ('German (de)', 'de'), ('French (fr)', 'fr'), ('Zulu (zu), not trained on', 'zu'), ('Afar (aa), not trained on', 'aa'),
        ('English (en), not trained on', 'en'),
    ]  # fmt: skip
    assert [label for label, _ in choices(codes, ['de'], [], mark=False)][:2] == ['German (de)', 'Afar (aa)']
    assert choices(codes, [], ['zu'], mark=True)[0][1] == 'zu'
    assert all(',' not in label for label, _ in choices(codes, [], [], mark=True)), 'nothing is said where nothing is known'
