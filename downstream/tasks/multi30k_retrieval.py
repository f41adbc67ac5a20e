"""`downstream multi30k-retrieval`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from downstream.tasks.arguments import finetuned, languages, out_folder, report, task, verb

LAYOUT = 'laid out as github.com/multi30k/dataset, with the pictures in images/'


def register(tasks: Any) -> None:
    """Adds the benchmark to the command line."""
    verbs = task(tasks, 'multi30k-retrieval', 'image-text retrieval, recall both ways')
    add = verb(verbs, 'evaluate', 'rank pictures and captions, with the dual encoder', _evaluate, LAYOUT, 'DATA-SPLIT').add_argument
    add('--images', type=Path, metavar='DIR', help='folder of the pictures, if not DATA/images')
    add('--split', default='test_2016_flickr', help='name of the image list and the caption files; default: %(default)s')
    finetuned(verbs, 'fine-tune the dual encoder by contrast, select on the development set, test in every language', LAYOUT)


def _evaluate(options: argparse.Namespace) -> None:
    from downstream.multi30k_retrieval import evaluate, show

    out = out_folder(options, f'{options.data.resolve().name}-{options.split}')
    result = evaluate(options.model, options.data, out, options.split, languages(options), options.images)
    report(show, result, out)
