"""The layouts of GQA and xGQA, and what is broken in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downstream.data.xgqa import LARGER, TESTS, read_answers, read_questions, read_tests
from downstream.xgqa import XGQA
from shards.errors import UserError
from tests.support.toy_benchmarks import ANSWERS, write_xgqa, write_xvnli


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('xgqa')
    write_xgqa(root, 1)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / 'xgqa'))


def test_questions(whole: Path) -> None:
    answers = read_answers(whole)
    assert answers == ANSWERS
    train = read_questions(whole, 'train.json', answers)
    assert (len(train), train.ids[0], train.texts[:2], train.pictures[0]) == (12, 'train0.what', ['one', 'red'], 'train0.jpg')
    assert [answers[target[0][0]] for target in train.targets[:4] if target] == ['red', 'yes', 'no', 'no']


def test_answers_may_be_several_or_none(root: Path) -> None:
    rows = json.loads((root / 'train.json').read_text())
    rows[0]['label'], rows[1]['label'] = {'no': 0.3, 'blue': 1, 'yes': 0.6}, {}
    (root / 'train.json').write_text(json.dumps(rows))
    targets = read_questions(root, 'train.json', ANSWERS).targets
    assert targets[:2] == [((0, 1.0), (4, 0.6), (2, 0.3)), ()]


def test_tests_in_every_language(whole: Path) -> None:
    tests = read_tests(whole, ANSWERS, TESTS)
    assert list(tests) == ['en', 'de']
    assert (tests['de'].texts[0], tests['de'].targets[0]) == ('eins', ((3, 1.0),))
    assert tests['en'].targets[-1] == ()  # an answer that cannot be given
    assert list(read_tests(whole, ANSWERS, TESTS, ['deu'])) == ['de']


def test_the_larger_tests(root: Path) -> None:
    (root / 'zero_shot').mkdir()
    for language in ('en', 'de'):
        shutil.copy(root / f'few_shot/{language}/test.json', root / f'zero_shot/testdev_balanced_questions_{language}.json')
    tests = XGQA.read_tests(root, ANSWERS, ['de'])
    assert list(tests) == ['few_shot', 'testdev']
    assert tests['testdev']['de'].source == LARGER.replace('*', 'de')
    assert tests['testdev']['de'].texts == tests['few_shot']['de'].texts


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / name).write_text(json.dumps(change(json.loads((root / name).read_text()))))

    return apply


def first(**changes: Any) -> Callable[[Any], Any]:
    """Changes of the first question."""

    def change(content: Any) -> Any:
        row = content[0] if isinstance(content, list) else next(iter(content.values()))
        row.update(changes)
        return content

    return change


def of_xvnli(root: Path) -> None:
    shutil.rmtree(root)
    write_xvnli(root, 1)


TEST = 'few_shot/de/test.json'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (changed('train.json', first(label={'maybe': 1.0})), "question 1: the answer 'maybe' is not in trainval_ans2label.json"),
        (changed('train.json', first(sent=' ')), 'train.json, question 1: the question or the picture is empty'),
        (changed('train.json', first(img_id='../x')), 'train.json, question 1: the question or the picture is empty or no name'),
        (changed('train.json', first(img_id=7)), 'train.json, question 1: img_id = 7 is no str; this is no file of GQA'),
        (changed('train.json', lambda rows: {'images': rows}), 'train.json is no list of questions; this is no file of GQA'),
        (changed('train.json', lambda rows: [{'question': 'Who?'}]), "a row has no 'img_id', only question; this is no file of GQA"),
        (lambda root: (root / 'train.json').write_text('[{"img_id"'), 'train.json: not JSON .*; take this file from'),
        (lambda root: (root / 'train.json').unlink(), 'train.json is missing; the folder looks like that of xgqa; take it from'),
        (changed('trainval_ans2label.json', lambda numbers: {'yes': 0, 'no': 2}), 'does not number its answers 0, 1, 2'),
        (changed('trainval_ans2label.json', lambda numbers: [*numbers]), 'does not number its answers 0, 1, 2'),
        (changed(TEST, first(answer=None)), f'{TEST}, question test0.what: answer = None is no str; this is no file of xGQA'),
        (changed(TEST, lambda rows: [*rows.values()]), f'{TEST} is no mapping of questions; this is no file of xGQA'),
        (lambda root: shutil.rmtree(root / 'few_shot'), 'has no few_shot/<language>/test.json; take it from'),
        (of_xvnli, 'trainval_ans2label.json is missing; the folder looks like that of xvnli; take it from'),
    ],
)
def test_broken(root: Path, change: Callable[[Path], None], message: str) -> None:
    change(root)
    with pytest.raises(UserError, match=message) as caught:
        answers = read_answers(root)
        read_questions(root, 'train.json', answers)
        read_tests(root, answers, TESTS)
    assert '\n' not in str(caught.value)


def test_a_language_that_is_not_there(whole: Path) -> None:
    with pytest.raises(UserError, match=r'has no few_shot/ta/test.json; it has de en'):
        read_tests(whole, ANSWERS, TESTS, ['ta'])
