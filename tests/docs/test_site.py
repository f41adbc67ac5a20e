"""The documents as a site: it builds without a warning, every page is in its menu, it loads nothing from elsewhere, and opened as files
it has its search."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from tests.support.browser import errors, wait_for

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)"'
    r'|<link\b[^>]*\brel="(?:stylesheet|icon|preload|preconnect)"[^>]*>|@import\b[^;]*'
)


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp('site')
    mkdocs = [str(Path(sys.executable).with_name('mkdocs')), 'build', '--strict', '--quiet', '--site-dir', str(folder)]
    done = subprocess.run(mkdocs, cwd=ROOT, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    documents = {path.stem for path in (ROOT / 'docs').glob('*.md')}
    assert len(documents) > 12
    assert documents == {path.stem for path in site.glob('*.html')} - {'404'}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.rglob('*.html'):
        loaded = [match[0] for match in LOADED.finditer(path.read_text(encoding='utf8'))]
        assert loaded and not [tag for tag in loaded if re.search(r'["\'(](?:https?:)?//', tag)], path


def test_sources_are_shown_by_their_path(site: Path) -> None:
    method = (site / 'method.html').read_text(encoding='utf8')
    assert '<code>pretrain/engine/step.py</code>' in method and 'href="../' not in method


@pytest.mark.parametrize('page', ['index.html', 'results/results.html'])
def test_a_page_opened_as_a_file_has_the_search(site: Path, browser: Any, page: str) -> None:
    browser.get((site / page).as_uri())
    field = browser.find_element(By.CSS_SELECTOR, 'input.md-search__input')
    assert field.is_displayed()
    field.click()
    field.send_keys('watchdog')
    found = wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, '.md-search-result__link'))
    pages = {re.split('[?#]', link.get_attribute('href'))[0] for link in found}
    assert (site / 'operations.html').as_uri() in pages
    assert errors(browser) == []
