"""`downstream report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from downstream.tasks.arguments import languages, positive


def register(tasks: Any) -> None:
    """Adds the command."""
    text = "results of several runs on one page (Markdown and HTML) laid out as the paper's tables, and a page of examples"
    parser = tasks.add_parser('report', help=text, description=text)
    add = parser.add_argument
    add('folders', nargs='+', metavar='DIR', help='a run, an export or an --out, each with its results below; NAME=DIR names it')
    add('--out', type=Path, default=Path('report'), metavar='DIR', help='default: %(default)s')
    add('--examples', type=positive, default=8, metavar='N', help='texts a language, captions a result, as examples; default: %(default)s')
    add('--languages', nargs='+', metavar='CODE', help='of the texts on the page of examples; default: all')
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from downstream.pages.write import write_report

    for path in write_report(options.folders, options.out, options.examples, languages(options)):
        print(f'written: {path}')
