"""The page of `show --html` in a real browser: one pages, filters and searches, and markup from the shards stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from data_pipeline.cli import main
from tests.data_pipeline.conftest import Builder
from tests.data_pipeline.test_show import EVIL, URL, hostile  # noqa: F401 - a fixture
from tests.support.browser import errors, wait_for


def texts(browser: Any, selector: str) -> list[str]:
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def test_the_sample_is_paged_through(browser: Any, build_corpus: Builder, tmp_path: Path) -> None:
    manifests = build_corpus('wit', tmp_path / 'out') + build_corpus('opus', tmp_path / 'out')
    assert main(['show', str(tmp_path / 'out'), f'--html={tmp_path / "page.html"}', '--samples=30']) == 0
    browser.get((tmp_path / 'page.html').as_uri())
    assert len(texts(browser, 'nav button')) == len(manifests)
    assert browser.find_element(By.TAG_NAME, 'h2').text == 'wit train'
    samples = next(manifest.samples for manifest in manifests if manifest.split == 'train' and manifest.corpus == 'wit')
    assert browser.find_element(By.ID, 'place').text == f'page 1 of 3 · 30 of {samples:,} samples are in this page'
    shown = browser.execute_script('return [...document.images].map(image => image.complete && image.naturalWidth > 0)')
    assert len(shown) == 12
    first = texts(browser, '.source')
    browser.find_element(By.ID, 'on').click()
    browser.find_element(By.TAG_NAME, 'body').send_keys(Keys.ARROW_RIGHT)
    assert browser.find_element(By.ID, 'place').text.startswith('page 3 of 3') and not set(first) & set(texts(browser, '.source'))
    assert not browser.find_element(By.ID, 'on').is_enabled()
    Select(browser.find_element(By.CSS_SELECTOR, 'main select')).select_by_value('de')
    cards = browser.find_elements(By.CSS_SELECTOR, '.card')
    assert cards and all(set(texts(card, 'dt')) == {'de'} for card in cards)
    word = texts(browser, '.card dd')[0].split()[0]
    browser.find_element(By.CSS_SELECTOR, 'input[type=search]').send_keys(word)
    assert all(word.lower() in card.lower() for card in texts(browser, '.card'))
    for button in browser.find_elements(By.CSS_SELECTOR, 'nav button'):
        button.click()
        assert button.get_attribute('aria-current') == 'true' and texts(browser, '.card')
    assert errors(browser) == []


def test_markup_stays_text(browser: Any, hostile: Path, tmp_path: Path) -> None:  # noqa: F811
    assert main(['show', str(hostile), '--html', str(tmp_path / 'page.html')]) == 0
    browser.get((tmp_path / 'page.html').as_uri())
    assert browser.title == 'Shards'
    assert texts(browser, '.card dd')[0] == EVIL and URL in texts(browser, '.source')[0]
    assert EVIL in texts(browser, 'td')[0] and texts(browser, '.card a') == [] and errors(browser) == []


def test_an_error_is_noticed(browser: Any, tmp_path: Path) -> None:
    """What the other tests rely on."""
    (tmp_path / 'page.html').write_text('<script>missing()</script><img src="https://example.org/x.png">')
    browser.get((tmp_path / 'page.html').as_uri())
    found: list[str] = []

    def both() -> bool:
        found.extend(errors(browser))
        return len(found) >= 2

    wait_for(browser, both)
    found.sort()  # which comes first depends on the machine
    assert len(found) == 2 and 'missing is not defined' in found[0] and 'ERR_NAME_NOT_RESOLVED' in found[1]
