"""`downstream TASK evaluate --model DIR --data DIR`."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from shards.arguments import Parser
from shards.errors import run_command


def parser() -> Parser:
    """The command line of `downstream`."""
    top = Parser('downstream', description=__doc__)
    tasks = top.add_subparsers(dest='task', metavar='TASK', required=True, parser_class=Parser)
    retrieval = tasks.add_parser('multi30k-retrieval', help='image-text retrieval, recall both ways')
    verbs = retrieval.add_subparsers(dest='verb', metavar='VERB', required=True, parser_class=Parser)
    evaluate = verbs.add_parser('evaluate', help='zero-shot, with the dual encoder')
    add = evaluate.add_argument
    add('--model', type=Path, required=True, metavar='DIR', help='a run (its newest checkpoint) or an export')
    add('--data', type=Path, required=True, metavar='DIR', help='laid out as github.com/multi30k/dataset, with the pictures in images/')
    add('--images', type=Path, metavar='DIR', help='folder of the pictures, if not DATA/images')
    add('--split', default='test_2016_flickr', help='name of the image list and the caption files; default: %(default)s')
    add('--languages', nargs='+', metavar='CODE', help='any spelling, apart by spaces or commas; default: all that DATA has')
    add('--out', type=Path, metavar='DIR', help='for result.json and embeddings; default: MODEL/downstream/multi30k-retrieval/DATA-SPLIT')
    evaluate.set_defaults(run=_retrieval)
    return top


def main() -> int:
    """Run the command line; returns the exit code."""
    return run_command(run)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run with these arguments (none: the command line's). Raises UserError."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    options.run(options)
    return 0


def _retrieval(options: argparse.Namespace) -> None:
    from downstream.multi30k_retrieval import evaluate, show  # imports torch, which --help and mistakes need not wait for

    out = options.out or options.model / 'downstream' / options.task / f'{options.data.resolve().name}-{options.split}'
    languages = [code for entry in options.languages or [] for code in entry.split(',') if code]
    result = evaluate(options.model, options.data, out, options.split, languages or None, options.images)
    print(show(result))
    print(f'written: {out / "result.json"}')
