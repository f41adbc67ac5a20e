"""docs/obtain.md: its lines, as they stand and one after the other, download stand-ins from the publishers' addresses and bring them into
the layouts that our programs read.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from data_pipeline.build import build
from data_pipeline.drops import Drops
from data_pipeline.job import Job
from data_pipeline.readers import cc3m, cc12m, cc100, img2dataset, opus, wit
from data_pipeline.settings import Settings
from downstream.data.coco import read_coco
from downstream.data.coco_cn import read_coco_cn
from downstream.data.tatoeba import read_tatoeba
from downstream.data.xgqa import LARGER, TESTS, read_answers, read_questions
from downstream.data.xgqa import read_tests as read_xgqa
from downstream.data.xvnli import read_dev, read_train
from downstream.data.xvnli import read_tests as read_xvnli
from pretrain.evaluation.multi30k import read_split
from shards.languages import canonical
from shards.tokenizer import Tokenizer
from tests.docs import downloads
from tests.docs.commands import ROOT, blocks
from tests.support.internet import Files, internet, wget
from tests.support.launch import BIN

PAGE = 'docs/obtain.md'
IMG2DATASET = os.environ.get('IMG2DATASET')  # the program, which is no dependency

pytestmark = wget


class Obtained(NamedTuple):
    """`folder`, in which the page's lines were run, and what they were run with."""

    folder: Path
    files: Files
    environment: dict[str, str]


def lines(page: str) -> list[str]:
    """Its commands, in order."""
    return [line for block in blocks((ROOT / page).read_text(encoding='utf8')) for line in block.lines]


def run(line: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a command in bash. Fails with what it said."""
    path = os.pathsep.join([str(BIN), *([str(Path(IMG2DATASET).parent)] if IMG2DATASET else []), environment['PATH']])
    done = subprocess.run(
        ['bash', '-ec', line], cwd=folder, env={**environment, 'PATH': path}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f'{line}\n{done.stderr}'


@pytest.fixture(scope='module')
def obtained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Obtained]:
    """All lines of the page; img2dataset's two only where that is."""
    folder, made, root, settings = (tmp_path_factory.mktemp(name) for name in ('obtained', 'made', 'files', 'settings'))
    files = Files(root)
    downloads.offer_corpora(files)
    downloads.offer_evaluation_sets(files, made)
    downloads.write_flickr30k(folder / 'flickr30k-images.tar.gz', made)
    if IMG2DATASET:
        downloads.offer_pictures(files)
    with internet(files, settings) as environment:
        for line in lines(PAGE):
            if IMG2DATASET or not line.startswith('img2dataset '):
                run(line, folder, environment)
        yield Obtained(folder, files, environment)


def test_every_stand_in_was_downloaded(obtained: Obtained) -> None:
    left = obtained.files.offered() - obtained.files.found
    assert len(obtained.files.found) > 35 and {address for address in left if downloads.PICTURES not in address} == {downloads.NOT_WANTED}


@pytest.mark.parametrize('begins', ['wget -O cc3m/', 'for n in ', 'wget --recursive', 'git clone '])
def test_another_address_fails(obtained: Obtained, begins: str, tmp_path: Path) -> None:
    line = next(line for line in lines(PAGE) if line.startswith(begins))
    (tmp_path / 'cc3m').mkdir()
    for wrong in (re.sub('(https://)', r'\1x', line), re.sub(r'(https://[\w.]*/\w)', r'\1x', line)):  # the host, the path
        assert wrong != line
        with pytest.raises(AssertionError, match=re.escape(wrong)):
            run(wrong, tmp_path, obtained.environment)


def test_the_lists_of_pictures(obtained: Obtained) -> None:
    """By their readers, and the headers that img2dataset wants before them."""
    for reader, corpus in ((cc3m, 'cc3m'), (cc12m, 'cc12m')):
        found, own = reader.caption_files(obtained.folder / corpus), reader.caption_files(downloads.RAW / corpus)
        assert [path.name for path in found] == [path.name for path in own]
        captions = list(reader.captions(found[0], Drops()))
        assert len(captions) > 700 and captions == list(reader.captions(own[0], Drops()))
        rows = [line.split('\t') for line in (obtained.folder / f'{corpus}.tsv').read_text(encoding='utf8').splitlines()[:2]]
        assert sorted(rows[0]) == ['caption', 'url'] and dict(zip(*rows, strict=True))['url'].startswith('http')


@pytest.mark.skipif(not IMG2DATASET, reason='IMG2DATASET names no program (.ci/run fetches one)')
def test_pictures(obtained: Obtained, tmp_path: Path) -> None:
    """img2dataset brought all that are to be had, in a layout from which shards are built."""
    for reader, corpus in ((cc3m, 'cc3m'), (cc12m, 'cc12m')):
        raw = obtained.folder / corpus
        listed = {caption.key for caption in reader.captions(raw / reader.NAMES, Drops())}
        shards = img2dataset.shards(raw / 'images')
        assert {picture.url for shard in shards for picture in img2dataset.pictures(shard, '', Drops())} == listed & obtained.files.found
        manifests = build(Job(corpus, raw, tmp_path, Settings()), workers=1, task=0, tasks=1)
        assert manifests is not None and sum(manifest.samples for manifest in manifests) > 600


def test_wit(obtained: Obtained) -> None:
    raw = obtained.folder / 'wit'
    files = wit.caption_files(raw)
    assert len(files) == 10
    captions = [caption for path in files for caption in wit.captions(path, Drops())]
    assert captions == [caption for path in wit.caption_files(downloads.RAW / 'wit') for caption in wit.captions(path, Drops())]
    pixels = {path.name: path for path in raw.glob('image*/**/*') if path.is_file()}
    assert sorted(pixels) == ['part-00000.csv.gz', 'part-00001.csv.gz']
    assert all(next(wit.pixels(path, Drops())).image for path in pixels.values())


def test_texts(obtained: Obtained) -> None:
    files = cc100.files(obtained.folder / 'cc100')
    assert {cc100.language(path) for path in files} == set(map(canonical, downloads.CC100))
    assert all(next(cc100.documents(path, Drops())) for path in files)
    raw = obtained.folder / 'opus'
    subprocess.run(['tar', '-xf', '../WikiMatrix.v1.1620_language_pairs.tar'], cwd=raw, check=True)
    bitexts = opus.files(raw)
    assert sorted((bitext.layout, bitext.pair) for bitext in bitexts) == [
        ('iitb', 'en-hi'), *(('moses', pair) for pair in downloads.MULTIUN), ('wikimatrix', 'de-en'), ('wikimatrix', 'en-fr'),
    ]  # fmt: skip
    assert all(next(opus.pairs(bitext, 1.04, Drops())) for bitext in bitexts)


def test_the_tokenizer_is_imported(obtained: Obtained) -> None:
    """By the line of docs/data.md."""
    line = next(line for line in lines('docs/data.md') if line.startswith('data_pipeline tokenizer import'))
    run(line, obtained.folder, obtained.environment)
    assert Tokenizer.load(obtained.folder / 'data/tokenizer').pieces == 12


def test_evaluation_sets(obtained: Obtained) -> None:
    """By the readers of `downstream`, from the folders that the page says."""
    folder = obtained.folder
    assert len(read_split(folder / 'multi30k').paths) > 30
    xvnli = folder / 'xvnli'
    assert len(read_train(xvnli)) == len(read_dev(xvnli)) == 9 and list(read_xvnli(xvnli)) == ['en', 'de']
    assert (xvnli / 'images' / read_train(xvnli).pictures[0]).is_file()
    xgqa = folder / 'xgqa'
    answers = read_answers(xgqa)
    train = read_questions(xgqa, 'train.json', answers)
    assert len(train) == len(read_questions(xgqa, 'valid.json', answers)) == 12 and (xgqa / 'images' / train.pictures[0]).is_file()
    assert list(read_xgqa(xgqa, answers, TESTS)) == ['en', 'de'] and list(read_xgqa(xgqa, answers, LARGER)) == ['de']
    assert len(read_coco(folder / 'coco').paths) == len(read_coco_cn(folder / 'coco-cn', images=folder / 'coco').paths) == 9
    assert list(read_tatoeba(folder / 'tatoeba'))
