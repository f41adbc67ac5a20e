"""The page of examples, from real results of a real model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from downstream.cli import run
from downstream.pages.collect import collect
from downstream.pages.examples import evenly, examples_page
from shards.errors import UserError
from tests.downstream.data.coco_files import SAMPLE, write_coco
from tests.downstream.pages import results


@pytest.fixture(scope='module')
def model(writer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with results of retrieval and captioning below it."""
    folder = Path(shutil.copytree(writer, tmp_path_factory.mktemp('models') / 'model'))
    data = tmp_path_factory.mktemp('data')
    shutil.copytree(SAMPLE, data / 'multi30k')
    write_coco(data / 'coco')
    run(['multi30k-retrieval', 'evaluate', '--model', str(folder), '--data', str(data / 'multi30k'), '--languages', 'en', 'ar'])
    run(['coco', 'evaluate', '--model', str(folder), '--data', str(data / 'coco')])
    return folder


def page(model: Path, count: int = 3) -> str:
    return examples_page(collect([str(model)]), count)


def test_evenly() -> None:
    assert evenly(37, 3) == [0, 18, 36] and evenly(2, 8) == [0, 1] and evenly(0, 8) == [] and evenly(5, 1) == [0]


def test_pictures_are_those_with_the_highest_scores(model: Path) -> None:
    """Read back from the page: ranks and scores of one text by a plain product of the saved embeddings."""
    text = page(model)
    folder = model / 'downstream/multi30k-retrieval/multi30k-test_2016_flickr'
    images, texts = np.load(folder / 'images.npy'), np.load(folder / 'texts.ar.npy')
    scores = images @ texts[18]
    caption = json.loads((folder / 'inputs.json').read_text(encoding='utf8'))['texts']['ar'][18][1]
    part = text[text.index(f'<bdi>{caption}</bdi>') :]
    part = part[: part.index('</div></div>')]
    shown = [float(number) for number in re.findall(r'<figcaption>([-\d.]+)</figcaption>', part)]
    assert shown == pytest.approx(sorted(scores, reverse=True)[:5], abs=0.0051)
    rank = int((scores > scores[18]).sum()) + 1
    assert f'the right one is number {rank} of 37' in part
    assert part.count('class="right"') == (rank <= 5)


def test_captions_are_those_that_were_written(model: Path) -> None:
    text = page(model, 2)
    lines = [json.loads(line) for line in (model / 'downstream/coco/coco-test/captions.jsonl').read_text(encoding='utf8').splitlines()]
    cards = text[text.index('class="cards"') :].split('class="card"')[1:]
    assert len(cards) == 2
    assert 'A picture of ' in cards[0] and cards[0].count('<li>') == len(lines[0]['references'])
    assert f'<bdi>{lines[8]["references"][0].replace("&", "&amp;")}</bdi>' in cards[1]


def test_page_is_self_contained(model: Path) -> None:
    text = page(model)
    assert text.count('src="data:image/jpeg;base64,') == 3 * 3 * 5 + 3  # texts in three languages, and captions
    assert '<script' not in text and 'http' not in text


def test_pictures_that_are_gone(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / 'model'))
    for path in copy.rglob('inputs.json'):
        path.write_text(path.read_text(encoding='utf8').replace('.jpg', '.gone'), encoding='utf8')
    assert page(copy).count('picture not there any more') == 2 * 3 * 5 + 3 * 5
    for path in copy.rglob('images.npy'):
        path.write_bytes(b'x')
    with pytest.raises(UserError, match=r'images\.npy cannot be read'):
        page(copy)


def test_results_without_pictures(tmp_path: Path) -> None:
    results.tatoeba(tmp_path / 'm')
    assert 'None of the results has pictures' in page(tmp_path / 'm')


def test_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(['report', f'mine={model}', '--out', str(tmp_path / 'page'), '--examples', '1', '--languages', 'en']) == 0
    out = tmp_path / 'page'
    assert capsys.readouterr().out.count('written: ') == 3
    assert sorted(path.name for path in out.iterdir()) == ['examples.html', 'plots', 'report.html', 'report.md']
    text = (out / 'report.md').read_text(encoding='utf8')
    (plot,) = re.findall(r'\]\((plots/.*\.svg)\)', text)
    assert (out / plot).is_file()
    row = next(line for line in text.split('\n') if line.startswith('| **mine** |') and '†§' in line)
    assert row.endswith('|  |')  # no translation was run
    result = json.loads((model / 'downstream/coco/coco-test/result.json').read_text(encoding='utf8'))
    recall = result['retrieval']['all']['text_to_image']['R@5']
    assert f'| **among 9** | 45 | {100 * result["retrieval"]["all"]["text_to_image"]["R@1"]:.1f} | {100 * recall:.1f} |' in text
    assert 'ar' not in re.findall(r'<h3>(.*?)</h3>', (out / 'examples.html').read_text(encoding='utf8'))
