"""docs/obtain.md: its lines bring what is downloaded, here stand-ins of the same names, into the layouts that our programs read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from downstream.data.coco import read_coco
from downstream.data.coco_cn import read_coco_cn
from downstream.data.tatoeba import read_tatoeba
from downstream.data.xgqa import LARGER, TESTS, read_answers, read_questions
from downstream.data.xgqa import read_tests as read_xgqa
from downstream.data.xvnli import read_dev, read_train
from downstream.data.xvnli import read_tests as read_xvnli
from pretrain.evaluation.multi30k import read_split
from tests.docs.commands import ROOT, blocks
from tests.downstream.data.coco_files import write_coco, write_coco_cn
from tests.support.toy_benchmarks import write_xgqa, write_xvnli

PAGE = (ROOT / 'docs/obtain.md').read_text(encoding='utf8')
DOWNLOADS = ('wget', 'git clone', 'img2dataset', 'for n in', 'for code in', 'for pair in')


def lines(text: str) -> list[str]:
    """The commands of a part of the page that need no network."""
    return [line for block in blocks(text) for line in block.lines if not line.startswith(DOWNLOADS)]


def run(commands: list[str], folder: Path) -> None:
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    for command in commands:
        subprocess.run(['bash', '-ec', command], cwd=folder, check=True, env={**os.environ, 'PATH': path})


def zipped(archive: Path, root: Path, *names: str) -> None:
    """An archive of files or folders below `root`, which are then gone."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, 'w') as file:
        for name in names:
            path = root / name
            for member in [path] if path.is_file() else sorted(path.rglob('*')):
                file.write(member, member.relative_to(root))
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def moved(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


@pytest.fixture(scope='module')
def obtained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's lines for the evaluation sets were run, after downloads of which each is a stand-in."""
    folder = tmp_path_factory.mktemp('obtained')
    shutil.copytree(ROOT / 'sample/evaluation/multi30k_emoji', folder / 'multi30k')
    shutil.copytree(ROOT / 'sample/evaluation/tatoeba', folder / 'LASER/data/tatoeba/v1')

    write_xvnli(folder / 'made', 1)
    xvnli, gqa = (folder / 'iglue/datasets' / name / 'annotations' for name in ('XVNLI', 'gqa'))
    moved(folder / 'made/images', folder / 'flickr30k-images')
    for picture in (folder / 'multi30k/images').iterdir():
        shutil.copy(picture, folder / 'flickr30k-images')
    shutil.rmtree(folder / 'multi30k/images')
    with tarfile.open(folder / 'flickr30k-images.tar.gz', 'w:gz') as tar:
        tar.add(folder / 'flickr30k-images', 'flickr30k-images')
    shutil.rmtree(folder / 'flickr30k-images')
    moved(folder / 'made', xvnli)
    zipped(xvnli / 'en/train.jsonl.zip', xvnli / 'en', 'train.jsonl')

    write_xgqa(folder / 'made', 1)
    moved(folder / 'made/few_shot', folder / 'xGQA/data/few_shot')
    larger = folder / 'xGQA/data' / LARGER.replace('*', 'de')
    larger.parent.mkdir()
    shutil.copy(folder / 'xGQA/data/few_shot/de/test.json', larger)
    zipped(folder / 'images.zip', folder / 'made', 'images')
    zipped(gqa / 'train.json.zip', folder / 'made', 'train.json')
    for name in ('valid.json', 'trainval_ans2label.json'):
        moved(folder / 'made' / name, gqa / name)

    write_coco(folder / 'karpathy')
    zipped(folder / 'val2014.zip', folder / 'karpathy', 'val2014')
    (folder / 'karpathy/train2014').mkdir()
    zipped(folder / 'train2014.zip', folder / 'karpathy', 'train2014')
    zipped(folder / 'caption_datasets.zip', folder / 'karpathy', 'dataset_coco.json')
    write_coco_cn(folder / 'archived')
    with tarfile.open(folder / 'coco-cn-version1805v1.1.tar.gz', 'w:gz') as tar:
        tar.add(folder / 'archived', 'coco-cn-version1805v1.1')
    shutil.rmtree(folder / 'archived')

    run(lines(PAGE.partition('## Evaluation sets')[2]), folder)
    return folder


def test_it_is_the_layout_that_is_read(obtained: Path) -> None:
    """By the readers of `downstream`, from the folders that the page says."""
    assert len(read_split(obtained / 'multi30k').paths) > 30
    xvnli = obtained / 'xvnli'
    assert len(read_train(xvnli)) == len(read_dev(xvnli)) == 9 and list(read_xvnli(xvnli)) == ['en', 'de']
    assert (xvnli / 'images' / read_train(xvnli).pictures[0]).is_file()
    xgqa = obtained / 'xgqa'
    answers = read_answers(xgqa)
    train = read_questions(xgqa, 'train.json', answers)
    assert len(train) == len(read_questions(xgqa, 'valid.json', answers)) == 12 and (xgqa / 'images' / train.pictures[0]).is_file()
    assert list(read_xgqa(xgqa, answers, TESTS)) == ['en', 'de'] and list(read_xgqa(xgqa, answers, LARGER)) == ['de']
    assert len(read_coco(obtained / 'coco').paths) == len(read_coco_cn(obtained / 'coco-cn', images=obtained / 'coco').paths) == 9
    assert list(read_tatoeba(obtained / 'tatoeba'))


def test_the_headers_of_the_lists(tmp_path: Path) -> None:
    """The lines that put a header before CC3M's and CC12M's lists, on the sample's."""
    for corpus, file in (('cc3m', 'Train_GCC-training.tsv'), ('cc12m', 'cc12m.tsv')):
        (tmp_path / corpus).mkdir()
        shutil.copy(ROOT / 'sample/raw' / corpus / file, tmp_path / corpus)
    headers = [line for line in lines(PAGE) if line.startswith('(printf')]
    run(headers, tmp_path)
    for corpus in ('cc3m', 'cc12m'):
        head, first = ((tmp_path / f'{corpus}.tsv').read_text(encoding='utf8').split('\n')[row].split('\t') for row in (0, 1))
        assert sorted(head) == ['caption', 'url'] and first[head.index('url')].startswith('http')
