"""XVNLI (paper, Tables 1 and 7): does a sentence follow from a picture? Fine-tuned on English, tested in every language."""

from __future__ import annotations

from pathlib import Path

from downstream.classification import Classification, Tests
from downstream.data import xvnli
from downstream.data.labelled import Labelled
from downstream.recipes import RECIPES


class XVNLI(Classification):
    """SNLI-VE's English rows."""

    name = paper = 'xvnli'
    task = 'entailment'
    recipe = RECIPES[name]

    @staticmethod
    def read_training(data: Path) -> tuple[tuple[str, ...], Labelled, Labelled]:
        return xvnli.CLASSES, xvnli.read_train(data), xvnli.read_dev(data)

    @staticmethod
    def read_tests(data: Path, classes: tuple[str, ...], languages: list[str] | None) -> Tests:
        return {'test': xvnli.read_tests(data, languages)}
