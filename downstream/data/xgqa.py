"""GQA and xGQA: `train.json` and `valid.json`, lists of English questions with how true each answer is; `trainval_ans2label.json`, the
answers that a model chooses from; `few_shot/<language>/test.json`, the tests, whose answers are English in every language, and perhaps
`zero_shot/testdev_balanced_questions_<language>.json`, of which those are a part.

The picture is `<img_id>.jpg`. An answer that is none of the list cannot be given: such a test question counts as answered wrongly.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from downstream.data.labelled import Labelled, Target
from downstream.data.layouts import fields, parse, read_file, tested
from shards.errors import UserError

SOURCE = "github.com/adapter-hub/xGQA, GQA's own in LXMERT's layout from github.com/airsplay/lxmert"
ANSWERS = 'trainval_ans2label.json'
TRAIN = {'img_id': str, 'label': dict, 'question_id': str, 'sent': str}
TESTS, LARGER = 'few_shot/*/test.json', 'zero_shot/testdev_balanced_questions_*.json'
TEST = {'question': str, 'imageId': str, 'answer': str}


def read_answers(root: Path) -> tuple[str, ...]:
    """The answers, by the number of their class. Raises UserError for a file that does not number them 0, 1, 2 …"""
    path = root / ANSWERS
    numbers = parse(path, read_file(root, ANSWERS, SOURCE), SOURCE)
    if not isinstance(numbers, dict) or sorted(map(str, numbers.values())) != sorted(map(str, range(len(numbers)))) or not numbers:
        raise UserError(f'{path} does not number its answers 0, 1, 2 …; take this file from {SOURCE} again')
    return tuple(sorted(numbers, key=lambda answer: int(numbers[answer])))


def read_questions(root: Path, name: str, answers: tuple[str, ...]) -> Labelled:
    """English questions of train.json or valid.json. A question may have no answer at all, as GQA's rarest are not in the list.

    Raises UserError for a missing file, another benchmark's, an answer that the list has not, an empty question.
    """
    path = root / name
    content = parse(path, read_file(root, name, SOURCE), SOURCE)
    if not isinstance(content, list) or not content:
        raise UserError(f'{path} is no list of questions; this is no file of GQA')
    classes = {answer: number for number, answer in enumerate(answers)}
    targets: dict[Any, Target] = {}  # one tuple for all questions with the same answer
    rows = Labelled('en', name)
    for number, row in enumerate(content):
        where = Path(f'{path}, question {number + 1}')
        picture, label, question_id, question = fields(where, row, TRAIN, 'GQA')
        unknown = [answer for answer in label if answer not in classes]
        if unknown:
            raise UserError(f'{where}: the answer {unknown[0]!r} is not in {ANSWERS}; take both files from one release')
        target: Target = tuple(sorted(((classes[answer], float(share)) for answer, share in label.items()), key=lambda pair: -pair[1]))
        _check(where, question, picture)
        rows.add(question_id, question.strip(), sys.intern(f'{picture}.jpg'), targets.setdefault(target, target))
    return rows


def read_tests(root: Path, answers: tuple[str, ...], pattern: str, languages: list[str] | None = None) -> dict[str, Labelled]:
    """Questions of the tests of a pattern by canonical language, English first.

    Raises UserError as `read_questions` does, and for a language that is not there; `LARGER` may lack any, and all of them.
    """
    classes = {answer: number for number, answer in enumerate(answers)}
    tests = {}
    for language, name in tested(root, pattern, languages, SOURCE, optional=pattern == LARGER).items():
        path = root / name
        content = parse(path, read_file(root, name, SOURCE), SOURCE)
        if not isinstance(content, Mapping) or not content:
            raise UserError(f'{path} is no mapping of questions; this is no file of xGQA')
        tests[language] = rows = Labelled(language, name)
        for question_id, row in content.items():
            where = Path(f'{path}, question {question_id}')
            question, picture, answer = fields(where, row, TEST, 'xGQA')
            _check(where, question, picture)
            rows.add(question_id, question.strip(), sys.intern(f'{picture}.jpg'), ((classes[answer], 1.0),) if answer in classes else ())
    return tests


def _check(where: Path, question: str, picture: str) -> None:
    if not question.strip() or not picture.strip() or '/' in picture:
        raise UserError(f'{where}: the question or the picture is empty or no name; take this file from {SOURCE} again')
