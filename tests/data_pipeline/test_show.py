"""`show`: every sample's texts are there, what was dropped is told, and markup from the shards stays text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_pipeline.cli import main
from data_pipeline.drops import EXAMPLES
from data_pipeline.finish import finish_corpus
from data_pipeline.job import SHARDS
from data_pipeline.settings import Settings
from data_pipeline.writer import UnitWriter
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.data_pipeline.conftest import SAMPLE, Builder

EVIL = '</script><script>document.title="owned"</script><img src=x onerror="document.title=1"><!--<script>'
URL = 'javascript:document.title="owned"//"><b>'


class Page(HTMLParser):
    """Scripts with their text and every element's attributes, as a browser's parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.inside = False
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag == 'script'
        if self.inside:
            self.scripts.append('')

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A stream of pictures whose captions, URL, licence and drop reasons are markup."""
    out = tmp_path / 'out'
    work = out / '.build/cc3m'
    unit = work / 'build/unit'
    writer = UnitWriter(unit, 'pictures', Settings(holdout=0))
    picture = io.BytesIO()
    Image.new('RGB', (900, 500), 'red').save(picture, 'PNG')
    captions = {'en': [EVIL, 'a <b>bold</b> & "quoted" caption'], 'he': ['שלום']}
    sample = {'image': picture.getvalue(), 'captions': captions, 'url': URL, 'licence': EVIL, 'image_id': '00'}
    for number in range(30):
        writer.add(sample, bytes([number]), {'en': 2, 'he': 1}, {})
    said = {'below': '', 'sources': [], 'streams': writer.finish(), 'dropped': {EVIL: 3, 'no_caption': 2}, 'warnings': [EVIL], 'inputs': []}
    said['examples'] = {EVIL: [EVIL, EVIL]}
    (unit / 'unit.json').write_text(json.dumps(said))
    assert (unit / SHARDS).is_dir()
    plan: dict[str, Any] = {'units': ['unit'], 'sources': [], 'dropped': {}, 'warnings': [], 'settings': {}, 'tokenizer': None}
    (work / 'plan.json').write_text(json.dumps(plan))
    (work / 'job.json').write_text('{}')
    finish_corpus(out / 'cc3m', work)
    return out


def test_markup_stays_text(hostile: Path, tmp_path: Path) -> None:
    assert main(['show', str(hostile), '--html', str(tmp_path / 'page.html'), '--samples', '25']) == 0
    text = (tmp_path / 'page.html').read_text()
    page = Page(text)
    assert [tag for tag, _ in page.elements].count('script') == 2
    assert not {'img', 'b', 'a', 'iframe', 'object'} & {tag for tag, _ in page.elements}
    assert not any(name.startswith('on') for _, attributes in page.elements for name in attributes)
    (stream,) = json.loads(page.scripts[0])['streams']
    assert len(stream['records']) == 25
    record = stream['records'][0]
    assert [tuple(pair) for pair in record['texts']] == [('en', EVIL), ('en', 'a <b>bold</b> & "quoted" caption'), ('he', 'שלום')]
    assert (record['url'], record['licence']) == (URL, EVIL)
    assert [(one[0], one[1], one[3]) for one in stream['dropped']] == [(EVIL, 3, [EVIL] * 2), ('no_caption', 2, [])]
    assert stream['dropped'][1][2].startswith('no usable caption')
    # Nothing but the page's own script may run, whatever else gets in; nothing is fetched.
    policy = next(attributes['content'] or '' for tag, attributes in page.elements if tag == 'meta' and 'http-equiv' in attributes)
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(', page.scripts[1])
    shown = base64.b64decode(record['image'].removeprefix('data:image/jpeg;base64,'))
    assert max(Image.open(io.BytesIO(shown)).size) == 320


def test_sample(build_corpus: Builder, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / 'raw', tmp_path / 'out'
    folder.mkdir()
    (folder / 'th.txt.xz').symlink_to(SAMPLE / 'raw/cc100/th.txt.xz')
    build_corpus('cc100', out, folder, holdout=0.04)
    build_corpus('wit', out)
    capsys.readouterr()
    assert main(['show', str(out), '--samples=2', f'--tokenizer={tokenizer}']) == 0
    printed = capsys.readouterr().out
    assert re.search(r'dropped: empty_caption \d+ \(no letter, digit or symbol in it\)\n    such as https?://\S+ \w+:', printed)
    assert 'cc100 train th: ' in printed and 'wit train: ' in printed and 'dropped: empty_caption' in printed
    assert any('\u0e01' <= char <= '\u0e5b' for char in printed)
    assert main(['show', str(out), f'--html={tmp_path / "page.html"}']) == 0
    streams = json.loads(Page((tmp_path / 'page.html').read_text()).scripts[0])['streams']
    by_name = {stream['name']: stream for stream in streams}
    assert len(by_name['wit train']['records']) == 120
    assert len({record['id'] for record in by_name['wit train']['records']}) == 120
    for reason, number, _, examples in by_name['wit train']['dropped']:
        assert 1 <= len(examples) <= min(number, EXAMPLES), reason
    assert all(set(record) >= {'image', 'texts', 'url'} for record in by_name['wit train']['records'])
    assert re.fullmatch(r'\d+( \d+)*', by_name['cc100 train th']['records'][0]['texts'][0][1])  # without a tokenizer: ids


def test_mistakes(hostile: Path, tmp_path: Path, tokenizer: Path, build_corpus: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['show', str(hostile), '--samples=0']) == 2
    assert main(['show', str(hostile), '--html', str(tmp_path / 'no/page.html')]) == 2
    assert main(['show', str(tmp_path / 'nothing')]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(told) == 3 and 'cannot be written' in told[1]
    from data_pipeline.show import lines

    other = Tokenizer((tokenizer / 'sentencepiece.bpe.model').read_bytes(), ['af_ZA'])
    (tmp_path / 'raw').mkdir()
    (tmp_path / 'raw/th.txt.xz').symlink_to(SAMPLE / 'raw/cc100/th.txt.xz')
    build_corpus('cc100', tmp_path / 'text', tmp_path / 'raw')
    with pytest.raises(UserError, match='was built with another tokenizer'):
        list(lines(tmp_path / 'text', 1, other))
