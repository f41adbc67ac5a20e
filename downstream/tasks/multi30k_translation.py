"""`downstream multi30k-translation`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from downstream.tasks.arguments import finetuned, languages, out_folder, positive, report, task, verb

LAYOUT = 'laid out as github.com/multi30k/dataset, with the pictures in images/'


def register(tasks: Any) -> None:
    """Adds the benchmark to the command line."""
    verbs = task(tasks, 'multi30k-translation', 'translation of captions with their pictures, BLEU')
    into = 'languages to translate into, in any spelling, apart by spaces or commas; default: de'
    text = 'write translations by beam search, with pictures and without; on several ranks under a launcher'
    add = verb(verbs, 'evaluate', text, _evaluate, LAYOUT, 'DATA-SPLIT[-text-only]', into).add_argument
    add('--source', default='en', metavar='CODE', help='language to translate from; default: %(default)s')
    add('--images', type=Path, metavar='DIR', help='folder of the pictures, if not DATA/images')
    add('--text-only', action='store_true', help='without pictures alone; they need not be there')
    add('--split', default='test_2016_flickr', help='name of the image list and the caption files; default: %(default)s')
    add('--beams', type=positive, default=4, metavar='N', help="beams of the search; 1: greedy; default: %(default)s, the paper's")
    tuned = 'fine-tune the whole model from English into German (finetune.source, .languages), select on the development set, test'
    finetuned(verbs, tuned, LAYOUT, 'languages that the test translates into; default: those that are trained')


def _evaluate(options: argparse.Namespace) -> None:
    from downstream.multi30k_translation import evaluate, show

    way = '-text-only' if options.text_only else ''  # beside the result of both ways, not in its place
    out = out_folder(options, f'{options.data.resolve().name}-{options.split}{way}')
    result = evaluate(
        options.model, options.data, out, options.split, options.source, languages(options), options.images, options.text_only,
        options.beams,
    )  # fmt: skip
    report(show, result, out)
