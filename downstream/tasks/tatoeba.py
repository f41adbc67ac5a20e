"""`downstream tatoeba`."""

from __future__ import annotations

import argparse
from typing import Any

from downstream.tasks.arguments import languages, out_folder, report, task, verb

LAYOUT = "LASER's data/tatoeba/v1: tatoeba.<xxx>-eng.<xxx> and tatoeba.<xxx>-eng.eng"


def register(tasks: Any) -> None:
    """Adds the benchmark to the command line."""
    verbs = task(tasks, 'tatoeba', 'retrieval of translations, accuracy both ways')
    verb(verbs, 'evaluate', "zero-shot, with the dual encoder's text side", _evaluate, LAYOUT, 'DATA')


def _evaluate(options: argparse.Namespace) -> None:
    from downstream.tatoeba import evaluate, show

    out = out_folder(options, options.data.resolve().name)
    result = evaluate(options.model, options.data, out, languages(options))
    report(show, result, out)
