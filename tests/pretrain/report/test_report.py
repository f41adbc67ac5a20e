"""`pretrain report` of a real run that went on after a stop, looked at in a real browser."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from pretrain.cli import main, run
from pretrain.config import TASKS
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from pretrain.report.curves import POINTS, Series
from shards.errors import UserError
from tests.support.browser import errors
from tests.support.launch import ROOT, command, prewarmed, succeed

EVIL = '</script><script>document.title="owned"</script><img src=x onerror="document.title=1"><!--<script>'
EMOJI = ROOT / 'sample/evaluation/multi30k_emoji'
SETTINGS = [
    'checkpoint.every=2', 'eval.every=3', 'log.peak_tflops=0.01', 'data.workers=0',
    f'eval.retrieval={{data: {EMOJI}, languages: [en, de]}}',
]  # fmt: skip


@pytest.fixture(scope='module')
def real(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 6 steps that was started again after 4."""
    out = tmp_path_factory.mktemp('report') / 'run'
    for steps in (4, 6):
        succeed(command(prewarmed(2), home, out, *SETTINGS, f'steps={steps}'), out.parent)
    return out


def chart(browser: Any, title: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, f'svg[aria-label="{title}"]')


def click_tab(browser: Any, tab: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f'[data-tab={tab}]').click()


def values(svg: Any, read: Callable[[float], float] = float, write: Callable[[float], float] = float) -> dict[str, list[list[float]]]:
    """Name -> [[step, value], …] of the lines that are drawn, by two ticks of each axis. read, write: a scale and its inverse."""
    scales = {}
    for axis in 'xy':
        ticks = svg.find_elements(By.CSS_SELECTOR, f'text.{axis}')
        (at, value), *_, (at_2, value_2) = [[float(tick.get_attribute(f'data-{name}')) for name in ('at', 'value')] for tick in ticks]
        if axis == 'y':
            value, value_2 = read(value), read(value_2)
        scales[axis] = at, value, (value_2 - value) / (at_2 - at)
    found = {}
    for line in svg.find_elements(By.CSS_SELECTOR, 'polyline.line'):
        places = [[float(number) for number in place.split(',')] for place in line.get_attribute('points').split()]
        (x, step, steps), (y, low, values) = scales['x'], scales['y']
        found[line.get_attribute('data-name')] = [[step + (at - x) * steps, write(low + (level - y) * values)] for at, level in places]
    return found


def test_several_runs_are_tensorboards_to_compare() -> None:
    with pytest.raises(
        UserError, match=r'one run; TensorBoard compares several, `tensorboard --logdir DIR` .*; see `pretrain report --help`$'
    ):
        run(['report', 'runs/a', 'runs/b'])


@pytest.mark.slow
@pytest.mark.launcher
def test_curves_are_those_of_the_run(browser: Any, real: Path) -> None:
    assert run(['report', str(real)]) == 0
    browser.get((real / 'report.html').as_uri())
    metrics, evaluations = read_lines(real / METRICS), read_lines(real / EVALUATION)
    steps = [line['step'] for line in metrics]
    assert steps == list(range(1, 7))

    def same(title: str, expected: dict[str, list[float]], at: list[int] = steps) -> None:
        found = values(chart(browser, title))
        assert found.keys() == expected.keys(), title
        exact = 0.002 * (max(abs(number) for numbers in expected.values() for number in numbers) or 1)  # places have two digits
        for name, numbers in expected.items():
            assert [value for _, value in found[name]] == pytest.approx(numbers, abs=exact), (title, name)
            assert [step for step, _ in found[name]] == pytest.approx(at, abs=0.02)

    same('Training loss', {name: [line['loss'][name] for line in metrics] for name in ('total', *TASKS)})
    at = [line['step'] for line in evaluations]
    assert at == [0, 3, 4, 6]
    same('Held-out loss, mean over languages', {task: [line['heldout'][task]['mean'] for line in evaluations] for task in TASKS}, at)
    languages = evaluations[0]['heldout']['mlm']['languages']
    by_language = {language: [line['heldout']['mlm']['languages'][language] for line in evaluations] for language in languages}
    same('Held-out loss of mlm, by language', by_language, at)
    answered = ('cmcl', 'clcl', 'itm')
    same('Accuracy on held-out samples', {task: [line['heldout'][task]['accuracy'] for line in evaluations] for task in answered}, at)
    click_tab(browser, 'retrieval')
    for title, way in (('text to image', 'text_to_image'), ('image to text', 'image_to_text')):
        recalls = {language: [line['retrieval'][language][way][2] for line in evaluations] for language in ('de', 'en')}
        same(f'Zero-shot {title}, R@10', recalls, at)
    click_tab(browser, 'optimisation')
    same('Learning rate', {'lr': [line['lr'] for line in metrics]})
    same('Gradient norm before clipping', {'grad_norm': [line['grad_norm'] for line in metrics]})
    same('Temperature of the contrast', {'temperature': [1 / line['logit_scale'] for line in metrics]})
    same('Skipped updates so far', {'skipped': [0.0] * 6})
    click_tab(browser, 'speed')
    rates = {'total': [line['samples_per_s'] for line in metrics]}
    same('Samples a second', rates | {task: [line['task_samples_per_s'][task] for line in metrics] for task in TASKS})
    same("Utilisation: matrix products by the processors' peak", {'utilisation': [line['utilisation'] for line in metrics]})
    assert all(0 < line['utilisation'] < 5 for line in metrics)
    same("Data wait: share of a step's time", {'data_wait': [line['data_wait'] for line in metrics]})
    saved = [line for line in read_lines(real / EVENTS) if line['event'] == 'checkpoint']
    times = {name: [line[name] for line in saved] for name in ('seconds', 'stall')}
    same('Checkpoints', times, [line['step'] for line in saved])
    click_tab(browser, 'data')
    sums: dict[str, list[float]] = {}
    for number, line in enumerate(metrics):
        for language in line['tokens']:
            sums.setdefault(language, [0.0] * number)
        for language, numbers in sums.items():
            numbers.append((numbers[-1] if numbers else 0) + line['tokens'].get(language, 0))
    same('Negatives of a step', {'itm': [line['examples']['negatives.itm'] for line in metrics]})
    prefixed = {task: [line['examples'][f'prefixed.{task}'] for line in metrics] for task in ('plm', 'vplm')}
    same('Share of samples with a prefix', prefixed)
    same('Masks of a sample', {task: [line['examples'][f'masks.{task}'] for line in metrics] for task in ('mlm', 'mmmt')})
    found = values(chart(browser, 'Tokens so far, by language'))
    assert {language: line[-1][1] for language, line in found.items()} == pytest.approx(
        {language: numbers[-1] for language, numbers in sums.items() if language in found}, rel=0.01, abs=3
    )
    assert errors(browser) == []


@pytest.mark.slow
@pytest.mark.launcher
def test_legends_scales_and_pointer(browser: Any, real: Path) -> None:
    assert run(['report', str(real)]) == 0
    browser.get((real / 'report.html').as_uri())
    metrics = read_lines(real / METRICS)
    box = chart(browser, 'Training loss').find_element(By.XPATH, '..')
    buttons = {button.text: button for button in box.find_elements(By.CSS_SELECTOR, '.legend button')}
    assert list(buttons) == ['total', *TASKS, 'all / none']
    buttons['mmmt'].click()
    assert buttons['mmmt'].get_attribute('aria-pressed') == 'false'
    svg = chart(browser, 'Training loss')
    assert values(svg).keys() == {'total', *TASKS} - {'mmmt'}
    box.find_element(By.CLASS_NAME, 'log').click()
    found = values(svg, math.log10, lambda value: 10**value)['plm']
    assert [value for _, value in found] == pytest.approx([line['loss']['plm'] for line in metrics], rel=0.01)
    buttons['all / none'].click()
    assert values_shown(svg) == {'total', *TASKS}
    buttons['all / none'].click()
    assert values_shown(svg) == set()
    buttons['total'].click()
    assert values_shown(svg) == {'total'}
    ActionChains(browser).move_to_element_with_offset(svg, svg.size['width'] // 2 - 3, 0).perform()
    told = box.find_element(By.CLASS_NAME, 'tip').text
    assert told.startswith('step 6: total ')
    assert float(told.split()[-1]) == pytest.approx(metrics[-1]['loss']['total'], rel=1e-3)
    assert len(svg.find_elements(By.CLASS_NAME, 'restart')) == 1
    assert errors(browser) == []


@pytest.mark.slow
@pytest.mark.launcher
def test_one_look_a_task_and_a_language(browser: Any, real: Path) -> None:
    """In every chart; and among many lines the one whose name is pointed at stands out."""
    assert run(['report', str(real)]) == 0
    browser.get((real / 'report.html').as_uri())
    by_task: dict[str, set[tuple[str, str]]] = {}
    by_language: dict[str, set[tuple[str, str]]] = {}
    for tab in ('losses', 'retrieval', 'speed', 'data'):
        click_tab(browser, tab)
        for svg in browser.find_elements(By.CSS_SELECTOR, 'section > svg'):
            names = {*looks(svg)}
            kind = by_task if names <= {*TASKS, 'total'} and 'en' not in names else by_language
            for name, look in looks(svg).items():
                if names != {'seconds', 'stall'} and len(names) > 1:
                    kind.setdefault(name, set()).add(look)
    for found in (by_task, by_language):
        assert len(found) >= 9 and all(len(one) == 1 for one in found.values()), found
        assert len({next(iter(one)) for one in found.values()}) == len(found), 'no two look alike'

    click_tab(browser, 'losses')
    svg = chart(browser, 'Held-out loss of mlm, by language')
    (button,) = [one for one in svg.find_elements(By.XPATH, '../div[@class="legend"]/button') if one.text == 'de']
    ActionChains(browser).move_to_element(button).perform()
    lit = svg.find_elements(By.CSS_SELECTOR, '.line:not(.dim)')
    assert [line.get_attribute('data-name') for line in lit] == ['de'] and len(svg.find_elements(By.CSS_SELECTOR, '.line')) > 5
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, 'h1')).perform()
    assert not svg.find_elements(By.CSS_SELECTOR, '.line.dim') and errors(browser) == []


def test_many_languages_are_told_apart(browser: Any, tmp_path: Path) -> None:
    """By colour and dashes; among them Maltese, whose code is the name of a task."""
    languages = ['mt', *(f'{first}{second}' for first in 'abcde' for second in 'vwxyz')]
    (tmp_path / METRICS).write_text(''.join(json.dumps({'step': step, 'loss': {'mt': 2.0, 'cmcl': 1.0}}) + '\n' for step in (1, 2)))
    recalls = {language: {'text_to_image': [0.1, 0.2, 0.3], 'image_to_text': [0.1, 0.2, 0.3]} for language in languages}
    lines = [{'step': step, 'heldout': {}, 'retrieval': recalls} for step in (0, 2)]
    (tmp_path / EVALUATION).write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert run(['report', str(tmp_path)]) == 0
    browser.get((tmp_path / 'report.html').as_uri())
    task = looks(chart(browser, 'Training loss'))['mt']
    click_tab(browser, 'retrieval')
    forth, back = (looks(chart(browser, f'Zero-shot {way}, R@10')) for way in ('text to image', 'image to text'))
    assert forth == back and len(forth) == 26 == len(set(forth.values()))
    assert forth['mt'] != task and errors(browser) == []
    swatches = browser.find_elements(By.CSS_SELECTOR, '.legend .swatch line')
    assert [(one.value_of_css_property('stroke'), one.value_of_css_property('stroke-dasharray')) for one in swatches[:26]] == [
        *forth.values()
    ]


def test_on_a_narrow_screen(browser: Any, tmp_path: Path) -> None:
    """420 pixels wide: the button of the scale stays beside a title of several lines, nothing is cut off, and the axis has its name."""
    lines = [{'step': step, 'loss': {'mt': 2.0 / step}, 'examples': {'prefixed.plm': 0.5}} for step in (99_000, 100_000)]
    (tmp_path / METRICS).write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (tmp_path / EVALUATION).write_text(json.dumps({'step': 1, 'heldout': {'mt': {'mean': 2.0, 'languages': {'de': 2.0}}}}) + '\n')
    assert run(['report', str(tmp_path)]) == 0
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {'width': 420, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False})
    try:
        browser.get((tmp_path / 'report.html').as_uri())
        wide, filled = browser.execute_script('return [document.documentElement.clientWidth, document.documentElement.scrollWidth]')
        assert 400 <= wide <= 420 and filled == wide
        bars = browser.find_elements(By.CSS_SELECTOR, '.bar')
        assert len(bars) == 3
        tall = 0
        for bar in bars:
            title, log = bar.find_element(By.TAG_NAME, 'h2').rect, bar.find_element(By.CLASS_NAME, 'log').rect
            tall += title['height'] > log['height'] + 5
            assert log['x'] >= title['x'] + title['width'] and log['y'] < title['y'] + title['height'], 'beside it'
            assert log['x'] + log['width'] <= bar.rect['x'] + bar.rect['width'] + 1
        assert tall, 'a title of several lines'
        for svg in browser.find_elements(By.CSS_SELECTOR, '.chart > svg'):
            (axis,) = svg.find_elements(By.CSS_SELECTOR, 'text.axis')
            left, *_ = svg.find_elements(By.CSS_SELECTOR, 'text.x')
            assert axis.text == 'step' and axis.rect['x'] + axis.rect['width'] < left.rect['x']
    finally:
        browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    assert errors(browser) == []


def looks(svg: Any) -> dict[str, tuple[str, str]]:
    """Name -> (colour, dashes) as the browser has them."""
    lines = svg.find_elements(By.CSS_SELECTOR, 'polyline.line')
    return {
        line.get_attribute('data-name'): (line.value_of_css_property('stroke'), line.value_of_css_property('stroke-dasharray'))
        for line in lines
    }


def values_shown(svg: Any) -> set[str]:
    return {line.get_attribute('data-name') for line in svg.find_elements(By.CSS_SELECTOR, 'polyline.line')}


@pytest.mark.slow
@pytest.mark.launcher
def test_history_settings_and_environment(browser: Any, real: Path) -> None:
    assert run(['report', str(real)]) == 0
    browser.get((real / 'report.html').as_uri())
    facts = browser.find_element(By.CLASS_NAME, 'facts').text.replace('\n', ' ')
    assert 'state ended' in facts and 'steps 6 of 6' in facts and 'starts 2' in facts and 'skipped updates 0' in facts
    click_tab(browser, 'history')
    events = [[cell.text for cell in row.find_elements(By.TAG_NAME, 'td')] for row in browser.find_elements(By.CSS_SELECTOR, 'main tr')[1:]]
    assert [row[1:4] for row in events] == [['start', '0', '2'], ['end', '4', ''], ['resume', '4', '2'], ['end', '6', '']]
    assert 'steps=6' in events[2][4]
    click_tab(browser, 'settings')
    browser.find_element(By.CSS_SELECTOR, 'input[type=search]').send_keys('model.dim')
    (row,) = browser.find_elements(By.CSS_SELECTOR, 'tr.changed')
    assert row.text == 'model.dim 32 1024'
    click_tab(browser, 'environment')
    text = browser.find_element(By.TAG_NAME, 'main').text
    environment = json.loads((real / 'environment.json').read_text())
    assert f'torch {environment["torch"]}' in text and f'host {environment["host"]}' in text and 'kernels.attention' in text
    assert errors(browser) == []


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A run that is in progress or was killed, of an older version, with markup in what it says and lines that are cut off."""
    folder = tmp_path / 'a<b>&"run'
    folder.mkdir()
    lines = [{'step': step, 'loss': {'mt': 2 / step, 'total': None}, 'lr': 0.1, EVIL: 1} for step in (1, 2)]
    (folder / METRICS).write_text(''.join(json.dumps(line) + '\n' for line in lines) + 'null\n{"step": 3\n{"step": 4, "lo')
    start, fault = {'event': 'start', 'time': 1e9, 'step': 0, 'world': 1}, {'event': 'fault', 'time': 1e9, 'problem': EVIL}
    events = [start, fault, {'event': 'resume', 'step': 1}]
    (folder / EVENTS).write_text(''.join(json.dumps(line) + '\n' for line in events))
    (folder / 'metrics.attempt-1.jsonl').write_text('{"step": 2}\n{"step": 3}\n{"st')
    (folder / 'config.yaml').write_text(f'out: {json.dumps(EVIL)}\nsteps: 9\n')
    return folder


def test_broken_and_hostile(browser: Any, broken: Path, tmp_path: Path) -> None:
    assert run(['report', str(broken), '--html', str(tmp_path / 'page.html')]) == 0
    browser.get((tmp_path / 'page.html').as_uri())
    assert browser.title == str(broken)
    assert 'running, or killed: no end is written' in browser.find_element(By.CLASS_NAME, 'facts').text
    assert values_shown(chart(browser, 'Training loss')) == {'mt'}
    for tab in browser.find_elements(By.CSS_SELECTOR, '.tabs button'):
        tab.click()
        assert tab.get_attribute('aria-selected') == 'true'
    click_tab(browser, 'history')
    text = browser.find_element(By.TAG_NAME, 'main').text
    assert EVIL in text and 'metrics.attempt-1.jsonl 2 2 3' in text
    assert "metrics.jsonl, line 3, has no 'step'" in text and 'metrics.jsonl, line 4, is not JSON' in text and 'line 5' not in text
    click_tab(browser, 'settings')
    assert EVIL in browser.find_element(By.TAG_NAME, 'main').text
    assert browser.title == str(broken) and errors(browser) == []


def test_a_run_without_a_step(browser: Any, tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_text('{"event": "start", "step": 0, "world": 1, "time": 5}\n')
    assert run(['report', str(tmp_path)]) == 0
    browser.get((tmp_path / 'report.html').as_uri())
    assert 'start' in browser.find_element(By.TAG_NAME, 'main').text and errors(browser) == []


def test_mistakes(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r'nothing does not exist; name the folder of a run'):
        run(['report', str(tmp_path / 'nothing')])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=r'empty has neither metrics\.jsonl nor events\.jsonl'):
        run(['report', str(tmp_path / 'empty')])
    shutil.rmtree(tmp_path / 'empty')
    monkeypatch.setattr('sys.argv', ['pretrain', 'report', str(broken), '--html', str(tmp_path / 'no/page.html')])
    assert main() == 2
    assert capsys.readouterr().err.splitlines() == [f'error: --html {tmp_path}/no/page.html cannot be written (No such file or directory)']


def test_long_runs_are_joined() -> None:
    series = Series()
    for step in range(1, 9 * POINTS + 4):
        series.add(step, float(step % 2))
    points = series.all()
    assert series.joined == 8 and POINTS <= len(points) < 2 * POINTS
    assert points[0] == [8, 0.5] and points[-2] == [9 * POINTS, 0.5] and points[-1][0] == 9 * POINTS + 3
