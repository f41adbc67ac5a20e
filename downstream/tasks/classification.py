"""The command line of the benchmarks whose answer is a class."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from downstream.tasks.arguments import finetuned, languages, out_folder, report, task, verb


def register(tasks: Any, name: str, text: str, layout: str) -> None:
    """Adds such a benchmark to the command line."""
    verbs = task(tasks, name, text)
    add = verb(verbs, 'evaluate', 'test a fine-tuned model in every language', _evaluate, layout, 'DATA').add_argument
    add('--images', type=Path, metavar='DIR', help='folder of the pictures, if not DATA/images')
    finetuned(verbs, 'fine-tune on English, select on the English development set, test in every language', layout)


def _evaluate(options: argparse.Namespace) -> None:
    from downstream.accuracy import evaluate, show
    from downstream.classification import Classification
    from downstream.xgqa import XGQA
    from downstream.xvnli import XVNLI

    out = out_folder(options, options.data.resolve().name)
    kind: type[Classification] = XVNLI if options.task == 'xvnli' else XGQA
    result = evaluate(kind, options.model, options.data, out, languages(options), options.images)
    report(partial(show, kind), result, out)
