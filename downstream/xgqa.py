"""xGQA (paper, Tables 1 and 7): questions on pictures, in eight languages, with English answers from a closed list."""

from __future__ import annotations

from pathlib import Path

from downstream.classification import Classification, Tests
from downstream.data import xgqa
from downstream.data.labelled import Labelled
from downstream.recipes import RECIPES


class XGQA(Classification):
    """GQA's English questions."""

    name = paper = 'xgqa'
    task = 'answering'
    recipe = RECIPES[name]

    @staticmethod
    def read_training(data: Path) -> tuple[tuple[str, ...], Labelled, Labelled]:
        answers = xgqa.read_answers(data)
        return answers, xgqa.read_questions(data, 'train.json', answers), xgqa.read_questions(data, 'valid.json', answers)

    @staticmethod
    def read_tests(data: Path, classes: tuple[str, ...], languages: list[str] | None) -> Tests:
        tests = {'few_shot': xgqa.read_tests(data, classes, xgqa.TESTS, languages)}
        larger = xgqa.read_tests(data, classes, xgqa.LARGER, languages)
        return {**tests, 'testdev': larger} if larger else tests
