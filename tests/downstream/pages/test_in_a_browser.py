"""The pages of `downstream report` in a real browser: tables, plots and pictures are shown, and nothing is wrong in its console."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver.common.by import By

from downstream.cli import run
from downstream.pages.write import write_report
from tests.downstream.data.coco_files import SAMPLE, write_coco
from tests.downstream.pages import results
from tests.support.browser import errors


def test_report_of_every_task(browser: Any, tmp_path: Path) -> None:
    ours = tmp_path / 'ours<b>'
    results.tatoeba(ours / 'tatoeba')
    results.xvnli(ours / 'xvnli', en=0.5, fr=0.4)
    results.coco(ours / 'coco')
    results.translation(ours / 'translation')
    write_report([str(ours)], tmp_path / 'out', 3)
    browser.get((tmp_path / 'out/report.html').as_uri())
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, 'tr.ours')]
    assert rows and any(row.startswith('ours<b>') for row in rows)
    plots = browser.find_elements(By.TAG_NAME, 'svg')
    assert plots and all(plot.size['width'] > 100 and plot.size['height'] > 50 for plot in plots)
    width = browser.execute_script('return [document.documentElement.scrollWidth, window.innerWidth]')
    assert width[0] <= width[1], 'wide tables scroll in themselves'
    browser.get((tmp_path / 'out/examples.html').as_uri())
    assert 'None of the results has pictures' in browser.find_element(By.TAG_NAME, 'body').text
    assert errors(browser) == []


def test_examples_of_a_real_model(browser: Any, writer: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(writer, tmp_path / 'model'))
    shutil.copytree(SAMPLE, tmp_path / 'multi30k')
    write_coco(tmp_path / 'coco')
    run(['multi30k-retrieval', 'evaluate', '--model', str(folder), '--data', str(tmp_path / 'multi30k'), '--languages', 'en', 'ar'])
    run(['coco', 'evaluate', '--model', str(folder), '--data', str(tmp_path / 'coco')])
    write_report([str(folder)], tmp_path / 'out', 2)
    browser.get((tmp_path / 'out/examples.html').as_uri())
    loaded = browser.execute_script('return [...document.images].map(image => image.complete && image.naturalWidth > 0)')
    assert len(loaded) >= 2 * 2 * 5 + 2 and all(loaded)
    assert len(browser.find_elements(By.CSS_SELECTOR, '.query')) >= 4 and browser.find_elements(By.CSS_SELECTOR, '.card')
    browser.get((tmp_path / 'out/report.html').as_uri())
    assert browser.find_elements(By.TAG_NAME, 'table')
    assert errors(browser) == []
