"""`downstream TASK VERB --model DIR --data DIR`."""
from __future__ import annotations

import sys
from collections.abc import Sequence

from downstream.tasks import multi30k_retrieval, tatoeba
from shards.arguments import Parser
from shards.errors import run_command

TASKS = (multi30k_retrieval, tatoeba)  # each registers its verbs


def parser() -> Parser:
    """The command line of `downstream`."""
    top = Parser('downstream', description=__doc__)
    tasks = top.add_subparsers(dest='task', metavar='TASK', required=True, parser_class=Parser)
    for task in TASKS:
        task.register(tasks)
    return top


def main() -> int:
    """Run the command line; returns the exit code."""
    return run_command(run)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run with these arguments (none: the command line's). Raises UserError."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    options.run(options)
    return 0
