"""IGLUE's layout, and what is broken in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from downstream.data.labelled import Pictures
from downstream.data.xvnli import CLASSES, read_dev, read_tests, read_train
from shards.errors import UserError
from tests.support.toy_benchmarks import write_xvnli, xvnli_row


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('xvnli')
    write_xvnli(root, 1)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / 'xvnli'))


def test_training_and_development_rows(whole: Path) -> None:
    train, dev = read_train(whole), read_dev(whole)
    assert (len(train), len(dev), train.language) == (9, 9, 'en')
    assert train.ids[:3] == ['train0.red', 'train0.green', 'train0.blue']
    assert (train.texts[1], train.pictures[1]) == ('green', 'train0.jpg')
    assert [target and CLASSES[target[0][0]] for target in train.targets[:3]] == list(CLASSES)


def test_rows_without_a_label_are_only_in_the_tests(root: Path) -> None:
    tests = read_tests(root)
    assert list(tests) == ['en', 'de']
    assert (len(tests['en']), tests['en'].targets.count(None), tests['de'].texts[-1]) == (10, 1, 'schwarz')
    with (root / 'en/train.jsonl').open('a') as file:
        file.write(json.dumps(xvnli_row('train0', 'more', 'black', '-')) + '\n\n')
    assert len(read_train(root)) == 9


def test_named_languages_in_any_spelling(whole: Path) -> None:
    assert list(read_tests(whole, ['deu', 'eng'])) == ['de', 'en']


def test_hash_depends_on_every_row(root: Path) -> None:
    before = read_train(root).sha256()
    assert read_train(root).sha256() == before
    path = root / 'en/train.jsonl'
    path.write_text(path.read_text().replace('"neutral"', '"contradiction"', 1))
    assert read_train(root).sha256() != before


def changed(line: str) -> Callable[[Path], None]:
    """Replaces the third line of the English test."""

    def change(root: Path) -> None:
        path = root / 'en/test.jsonl'
        lines = path.read_text(encoding='utf8').split('\n')
        path.write_text('\n'.join([*lines[:2], line, *lines[3:]]), encoding='utf8')

    return change


def row(**changes: str) -> str:
    return json.dumps({**xvnli_row('test0', 'a pair', 'red', 'neutral'), **changes})


def xgqa(root: Path) -> None:
    shutil.rmtree(root / 'en')
    shutil.rmtree(root / 'de')
    (root / 'few_shot/en').mkdir(parents=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (changed('{"gold_label": "neu'), 'en/test.jsonl:3: not JSON .* take this file from IGLUE'),
        (changed('\udcff'.encode('utf8', 'surrogatepass').decode('latin1')), 'en/test.jsonl:3: not JSON'),
        (changed(row(gold_label='maybe')), "en/test.jsonl:3: gold_label 'maybe' is none of entailment neutral contradiction -"),
        (changed(row(sentence2=' ')), 'en/test.jsonl:3: sentence2 or Flikr30kID is empty'),
        (changed(row(Flikr30kID='../secret')), 'en/test.jsonl:3: sentence2 or Flikr30kID is empty or no name'),
        (changed(row(pairID='test0.red')), 'en/test.jsonl:3: pairID test0.red occurs twice'),
        (changed('{"question": "Who?", "answer": "women"}'), "3: a row has no 'gold_label', only question answer; this is no file"),
        (changed(json.dumps({**xvnli_row('a', 'b', 'c', '-'), 'gold_label': 2})), 'gold_label = 2 is no str; this is no file of XVNLI'),
        (changed('[1]'), 'a row is no object; this is no file of XVNLI'),
        (lambda root: (root / 'en/test.jsonl').write_text('\n'), 'en/test.jsonl has no rows'),
        (lambda root: shutil.rmtree(root), 'is no folder|has no <language>/test.jsonl'),
        (xgqa, r'has no <language>/test.jsonl; the folder looks like that of xgqa; take it from'),
    ],
)
def test_broken_tests(root: Path, change: Callable[[Path], None], message: str) -> None:
    change(root)
    with pytest.raises(UserError, match=message) as caught:
        read_tests(root)
    assert '\n' not in str(caught.value)


def test_missing_files_and_languages(root: Path) -> None:
    with pytest.raises(UserError, match=r'has no ta/test.jsonl; it has de en'):
        read_tests(root, ['ta'])
    (root / 'en/dev.jsonl').unlink()
    with pytest.raises(UserError, match=r'en/dev.jsonl is missing.*; take it from IGLUE'):
        read_dev(root)


def test_missing_pictures_are_named(root: Path) -> None:
    rows = read_train(root)
    Pictures(root / 'images').check(rows)
    (root / 'images/train1.jpg').unlink()
    with pytest.raises(UserError, match=r'train1.jpg, which en/train.jsonl names, is missing; .*--images'):
        Pictures(root / 'images').check(rows)
    (root / 'images/train0.jpg').unlink()
    with pytest.raises(UserError, match=r'train0.jpg, which en/train.jsonl names, and 1 more of \d+ are missing; .*--images'):
        Pictures(root / 'images').check(rows)
    with pytest.raises(UserError, match=r'pictures is no folder; put the pictures there, or name their folder with --images'):
        Pictures(root / 'pictures')


def test_pictures_are_told_by_size_or_content(root: Path) -> None:
    names = ['train0.jpg', 'train1.jpg']
    before = Pictures(root / 'images')
    sizes, contents = before.sizes(names), before.contents(names)
    raw = bytearray((root / 'images/train0.jpg').read_bytes())
    raw[-5] ^= 1
    (root / 'images/train0.jpg').write_bytes(raw)
    assert Pictures(root / 'images').sizes(names[::-1]) == sizes
    assert Pictures(root / 'images').contents(names) != contents
    (root / 'images/train0.jpg').write_bytes(raw + b'\0')
    assert Pictures(root / 'images').sizes(names) != sizes
