"""The real command, and a real Chromium that uses the page as a person does."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from downstream.api import Model, load
from downstream.web.languages import named
from tests.support.browser import errors, wait_for
from tests.support.distributed import free_port
from tests.support.exported import SAMPLE
from tests.support.launch import BIN, ROOT, Started, environment, run

PICTURES = sorted((SAMPLE / 'multi30k_emoji' / 'images').iterdir())[:20]
EVIL = '<img src="http://127.0.0.1:9/x" onerror="document.title=1"><b>bold</b>'
TEXTS = ['a red apple', 'two dogs on a beach', EVIL]
TRAINED = ['de', 'en', 'fr', 'sw']
GERMAN = ['ein roter Apfel', 'zwei Hunde']

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


@dataclass(frozen=True)
class Served:
    """A page that is up."""

    started: Started
    address: str
    folder: Path


@pytest.fixture(scope='module')
def served(writer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp('page')
    (folder / 'pictures').mkdir()
    for path in PICTURES:
        (folder / 'pictures' / path.name).symlink_to(path)
    (folder / 'pictures' / 'broken.png').write_bytes(b'no picture')
    (folder / 'texts').write_text('\n'.join([*TEXTS, *(f'de\t{text}' for text in GERMAN)]), encoding='utf8')
    (folder / 'tmp').mkdir()
    model = shutil.copytree(writer, folder / 'model')
    (model / 'config.json').write_text(json.dumps(json.loads((model / 'config.json').read_text()) | {'languages': TRAINED}))
    port = free_port()
    command = [str(BIN / 'downstream'), 'demo', '--model', 'model', '--images', 'pictures', '--texts', 'texts', '--port', port]
    started = Started(command, folder, TMPDIR=str(folder / 'tmp'))
    try:
        started.wait_for(lambda: 'the page is at' in started.log.read_text())
        yield Served(started, f'http://127.0.0.1:{port}', folder)
    finally:
        started.kill()


@pytest.fixture
def page(served: Served, browser: Any) -> Any:
    """The browser, at a page that has just been opened; at the end its console holds no error."""
    browser.get(served.address)
    wait_for(browser, lambda: all_of(browser, '#describe'))
    yield browser
    assert errors(browser) == []


@pytest.fixture(scope='module')
def model(writer: Path) -> Model:
    return load(writer)


def all_of(browser: Any, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements('css selector', selector)
    return found


def rows(browser: Any, table: str) -> list[list[str]]:
    """Cells of a table that is shown."""
    return [[cell.text for cell in all_of(row, '[data-testid^=cell-]')] for row in all_of(browser, f'#{table} [data-index]')]


def upload(browser: Any, name: str, path: Path) -> None:
    wait_for(browser, lambda: all_of(browser, f'#{name} input[type=file]'))[0].send_keys(str(path))
    wait_for(browser, lambda: all_of(browser, f'#{name} img'))


def click(browser: Any, name: str) -> None:
    wait_for(browser, lambda: [button for button in all_of(browser, f'#{name}') if button.is_displayed()])[0].click()


def tab(browser: Any, title: str) -> None:
    next(button for button in all_of(browser, 'button[role=tab]') if button.text == title).click()


def write(browser: Any, name: str, text: str) -> None:
    wait_for(browser, lambda: [box for box in all_of(browser, f'#{name} textarea') if box.is_displayed()])[0].send_keys(text)


def opened(browser: Any, name: str) -> Any:
    """The box of a list of languages, which is open."""
    box = wait_for(browser, lambda: [box for box in all_of(browser, f'#{name} input') if box.is_displayed()])[0]
    box.click()
    return box


def choose(browser: Any, name: str, language: str) -> None:
    """A language in a list, which shows what fits the letters that were typed."""
    box = opened(browser, name)
    box.send_keys(Keys.CONTROL, 'a', Keys.NULL, language)
    offered = wait_for(browser, lambda: [item for item in all_of(browser, '[role=option]') if item.get_attribute('aria-label') == language])
    offered[0].click()
    box.send_keys(Keys.TAB)  # closes the list, which stays open for more


def all_wide(widths: list[int]) -> list[int]:
    """The widths when every picture has been loaded, else none."""
    return widths if all(widths) else []


def message(browser: Any) -> str:
    """The last message that appears. It is read from the document: fading in may stand still while Chromium draws a huge picture."""
    text: str = wait_for(browser, lambda: [toast.get_property('textContent') for toast in all_of(browser, '.toast-body')])[-1]
    return text


def test_a_picture_gets_captions_and_texts(page: Any, model: Model) -> None:
    upload(page, 'picture', PICTURES[7])  # and no button
    wait_for(page, lambda: rows(page, 'nearest'))
    raw = PICTURES[7].read_bytes()
    assert rows(page, 'captions') == [[named(code), ' '.join(model.caption([raw], code)[0].split())] for code in ('en', 'de')]
    expected = []
    for code, texts in (('en', TEXTS), ('de', GERMAN)):
        cosines = (model.embed_texts(texts, code) @ model.embed_images([raw])[0]).tolist()
        expected += [[named(code), f'{cosine:.3f}', text] for cosine, text in sorted(zip(cosines, texts, strict=True), reverse=True)]
    assert rows(page, 'nearest') == expected, 'markup is text'
    assert page.title == 'ERNIE-UniX2'


def test_a_text_finds_pictures(page: Any, model: Model) -> None:
    tab(page, 'Text to pictures')
    write(page, 'query', 'a red apple')
    click(page, 'search')
    shown = wait_for(page, lambda: [item.text for item in all_of(page, '#found .caption-label')])
    cosines = (model.embed_images(PICTURES) @ model.embed_texts(['a red apple'], 'en')[0]).tolist()
    best = sorted(zip(cosines, [path.name for path in PICTURES], strict=True), reverse=True)[:8]
    assert [re.split(r'\s+', text) for text in shown] == [[name, f'{cosine:.3f}'] for cosine, name in best]
    # The pictures themselves are shown.
    widths = wait_for(page, lambda: all_wide([picture.get_property('naturalWidth') for picture in all_of(page, '#found img')]))
    assert len(widths) >= 8


def test_languages_that_are_chosen(page: Any, model: Model) -> None:
    """Captions in one that there are no texts in; pictures for a text in another than the first."""
    upload(page, 'picture', PICTURES[7])
    wait_for(page, lambda: len(rows(page, 'captions')) == 2)
    choose(page, 'languages', 'Albanian (sq), not trained on')
    click(page, 'describe')
    wait_for(page, lambda: len(rows(page, 'captions')) == 3)
    raw = PICTURES[7].read_bytes()
    assert rows(page, 'captions') == [[named(code), ' '.join(model.caption([raw], code)[0].split())] for code in ('en', 'de', 'sq')]
    assert {row[0] for row in rows(page, 'nearest')} == {'English (en)', 'German (de)'}
    tab(page, 'Text to pictures')
    write(page, 'query', GERMAN[0])
    choose(page, 'query-language', 'German (de)')
    click(page, 'search')
    shown = wait_for(page, lambda: [item.text for item in all_of(page, '#found .caption-label')])
    cosines = (model.embed_images(PICTURES) @ model.embed_texts(GERMAN[:1], 'de')[0]).tolist()
    assert cosines != (model.embed_images(PICTURES) @ model.embed_texts(GERMAN[:1], 'en')[0]).tolist()
    best = sorted(zip(cosines, [path.name for path in PICTURES], strict=True), reverse=True)[:8]
    assert [re.split(r'\s+', text) for text in shown] == [[name, f'{cosine:.3f}'] for cosine, name in best]


def test_languages_have_names_and_those_of_the_training_come_first(page: Any, model: Model) -> None:
    tab(page, 'Text to pictures')
    box = opened(page, 'query-language')
    offered = wait_for(page, lambda: [item.get_attribute('aria-label') for item in all_of(page, '[role=option]')])
    assert offered[:5] == ['English (en)', 'German (de)', 'French (fr)', 'Swahili (sw)', 'Abkhazian (ab), not trained on']
    assert len(offered) == len(model.loaded.tokenizer.languages)
    box.send_keys(Keys.TAB)
    assert '20 pictures and 5 texts in German (de), English (en)' in page.find_element('css selector', 'body').text


def test_a_text_is_translated_with_and_without_a_picture(page: Any, model: Model) -> None:
    tab(page, 'Translation')
    write(page, 'source', 'two dogs')
    click(page, 'translate')
    wait_for(page, lambda: len(rows(page, 'translations')) == 1)
    upload(page, 'beside', PICTURES[3])
    click(page, 'translate')
    wait_for(page, lambda: len(rows(page, 'translations')) == 2)
    alone, seen = rows(page, 'translations')
    texts = model.translate(['two dogs'], 'en', 'de'), model.translate(['two dogs'], 'en', 'de', [PICTURES[3].read_bytes()])
    assert [alone, seen] == [
        ['from the text alone', ' '.join(texts[0][0].split())], ['with the picture', ' '.join(texts[1][0].split())],
    ]  # fmt: skip


def bomb() -> bytes:
    """A PNG of 1.6 thousand million pixels, in some kilobytes."""
    small = io.BytesIO()
    Image.new('1', (40_000, 40_000)).save(small, 'PNG')
    return small.getvalue()


@pytest.mark.parametrize('kind', ['broken', 'bomb'])
def test_what_is_no_picture_is_said_on_the_page(page: Any, served: Served, tmp_path: Path, kind: str) -> None:
    bad = tmp_path / f'{kind}.png'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
        bad.write_bytes(bomb() if kind == 'bomb' else PICTURES[0].read_bytes()[:300])
    upload(page, 'picture', bad)
    said = message(page)
    assert 'given as a picture cannot be decoded (' in said and ('decompression bomb' in said) == (kind == 'bomb')
    tab(page, 'Text to pictures')
    write(page, 'query', ' ')
    click(page, 'search')
    wait_for(page, lambda: 'write a text first' in message(page))


def test_the_terminal_stays_clean_and_nothing_of_an_upload_is_left(served: Served, page: Any) -> None:
    upload(page, 'picture', PICTURES[0])
    wait_for(page, lambda: rows(page, 'nearest'))
    (uploads,) = (served.folder / 'tmp').glob('ernie-unix2-demo-*')
    wait_for(page, lambda: [path for path in uploads.rglob('*') if path.name == PICTURES[0].name])
    port = int(served.address.rpartition(':')[2])
    sockets = [line.split() for name in ('tcp', 'tcp6') for line in Path('/proc/net', name).read_text().splitlines()[1:]]
    listening = [row[1] for row in sockets if row[3] == '0A' and row[1].endswith(f':{port:04X}')]
    assert listening == [f'0100007F:{port:04X}'], 'at 127.0.0.1 alone'
    second = [str(BIN / 'downstream'), 'demo', '--model', 'm', '--port', served.address.rpartition(':')[2]]
    done = run(second, served.folder)
    assert done.returncode == 2 and done.stderr == (
        f'error: port {second[-1]} of 127.0.0.1 is taken, perhaps by another page; choose another with --port\n'
    )
    served.started.process.send_signal(signal.SIGINT)
    assert served.started.end() == 0
    assert not list((served.folder / 'tmp').glob('ernie-unix2-demo-*'))
    said = re.split(r'[\r\n]+', served.started.log.read_text())
    lines = [line for line in said if line and not re.match(r'embedding (pictures|texts): +\d+%', line)]
    assert len(lines) == 2 and 'left out 1 of 21: picture pictures/broken.png cannot be decoded' in lines[0], lines
    assert lines[1] == f'the page is at {served.address} until Ctrl-C'


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--model', 'nowhere'], 'nowhere is neither a run'),
        (['--model', 'nowhere', '--images', 'none'], 'none is no folder; --images'),
        (['--model', 'nowhere', '--host', '203.0.113.7'], '203.0.113.7 is no address of this machine'),
        (['--model', 'nowhere', '--port', '70000'], "'70000' is no port"),
        (['--model', 'nowhere', '--txts', 'x'], 'unknown flag --txts; the nearest is --texts'),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    port = [] if '--port' in arguments else ['--port', free_port()]
    done = run([str(BIN / 'downstream'), 'demo', *arguments, *port], tmp_path)
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and said in done.stderr, done.stderr


def test_without_gradio_the_extra_is_named(tmp_path: Path) -> None:
    """As in an environment that was made without it."""
    script = "import sys; sys.modules['gradio'] = None; from downstream.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, '-c', script, 'demo', '--model', 'x'], cwd=tmp_path, env={**environment(), 'PYTHONPATH': str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: the page needs gradio: pip install -e '.[demo]' in the folder of this repository\n"
