"""`downstream TASK VERB --model DIR --data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from downstream.tasks import coco, coco_cn, demo, multi30k_retrieval, multi30k_translation, report, tatoeba, xgqa, xvnli
from pretrain.mistakes import said_once
from shards.arguments import Parser
from shards.errors import run_command

TASKS = (multi30k_retrieval, multi30k_translation, xvnli, xgqa, coco, coco_cn, tatoeba, report, demo)  # each registers its verbs


def parser() -> Parser:
    """The command line of `downstream`."""
    top = Parser('downstream', description=__doc__)
    top.add_argument('--local_rank', type=int, help=argparse.SUPPRESS)  # the deepspeed launcher passes it
    tasks = top.add_subparsers(dest='task', metavar='TASK', required=True, parser_class=Parser)
    for task in TASKS:
        task.register(tasks)
    return top


def main() -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: said_once(run))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run with these arguments (none: the command line's); returns the exit code. Raises UserError."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    code: int | None = options.run(options)
    return code or 0
