"""A real headless Chromium, which reaches this machine alone: whatever a page wants from elsewhere is an error in its console."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

SECONDS = 60.0  # for what a page shows, on a busy machine


@pytest.fixture(scope='module')
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """selenium's driver of a Chromium with a profile of its own; skips without one, unless REQUIRE_BROWSER=1."""
    chromium, chromedriver = shutil.which('chromium'), shutil.which('chromedriver')
    if chromium is None or chromedriver is None:
        why = 'no Chromium here (Debian: apt-get install chromium chromium-driver)'
        if os.environ.get('REQUIRE_BROWSER') == '1':
            pytest.fail(why)
        pytest.skip(why)
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = chromium
    for argument in (
        '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--window-size=1400,1600', '--lang=en',
        '--disable-background-networking', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
        f'--user-data-dir={tmp_path_factory.mktemp("chromium")}',
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = Chrome(options, Service(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


def errors(browser: Any) -> list[str]:
    """What the console has said since the last call that is an error: of scripts, of what could not be loaded, of a broken policy."""
    return [entry['message'] for entry in browser.get_log('browser') if entry['level'] == 'SEVERE']


def wait_for(browser: Any, condition: Callable[[], Any]) -> Any:
    """What the condition returns as soon as that is true. Fails, with the page's text, when it does not become so."""
    from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    try:
        return WebDriverWait(browser, SECONDS, 0.05, [StaleElementReferenceException]).until(lambda _: condition())
    except TimeoutException:
        text = browser.find_element(By.TAG_NAME, 'body').text
        raise AssertionError(f'not in {SECONDS:g} s; the page says:\n{text}\n{errors(browser)}') from None
