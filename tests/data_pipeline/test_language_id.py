"""The packaged model on real sentences of the sample."""

from __future__ import annotations

import pytest

from data_pipeline.drops import Drops
from data_pipeline.language_id import wrong_language
from data_pipeline.readers import cc100
from data_pipeline.settings import Settings
from tests.data_pipeline.conftest import SAMPLE

SETTINGS = Settings()


@pytest.mark.parametrize('name', ['de', 'en', 'ru', 'ja', 'zh-Hans', 'zh-Hant', 'th', 'vi'])
def test_sentences_of_the_sample(name: str) -> None:
    path = SAMPLE / f'raw/cc100/{name}.txt.xz'
    language = cc100.language(path)
    others = {'de', 'en', 'ru', 'ja', 'th', 'vi'} - {language}
    paragraphs = [text for document in cc100.documents(path, Drops()) for text in document.split('\n') if len(text) >= 80][:40]
    assert len(paragraphs) >= 8
    assert sum(wrong_language(text, language, SETTINGS) for text in paragraphs) <= 0.15 * len(paragraphs)
    # Some paragraphs quote English, which the rule is right about.
    caught = [wrong_language(text, other, SETTINGS) for text in paragraphs for other in others]
    assert sum(caught) >= 0.95 * len(caught)


def test_what_is_not_judged() -> None:
    assert not wrong_language('ein kurzer Satz', 'en', SETTINGS)  # too short
    long = 'Dies ist ein deutscher Satz, der lang genug ist, um beurteilt zu werden.'
    assert wrong_language(long, 'en', SETTINGS)
    assert not wrong_language(long, 'cv', SETTINGS)  # which the model does not know
    assert not wrong_language(long, 'en', Settings(language_length=1000))
    chinese = '这是一个足够长的中文句子，可以用来判断它的语言是什么。'
    assert len(chinese) < SETTINGS.language_length  # a Chinese character says as much as three letters
    assert wrong_language(chinese, 'ko', SETTINGS)
    assert not wrong_language(chinese, 'zh', SETTINGS)


def test_languages_that_are_alike_count_together() -> None:
    norwegian = 'Dette er en setning på norsk bokmål som er lang nok til å bli vurdert av modellen.'
    assert not any(wrong_language(norwegian, code, SETTINGS) for code in ('no', 'nn', 'da'))
    assert wrong_language(norwegian, 'sv', SETTINGS)
