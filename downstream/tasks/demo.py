"""`downstream demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(tasks: Any) -> None:
    """Adds the command."""
    text = 'a local web page to try a model: captions, nearest texts, search for pictures, translation'
    parser = tasks.add_parser('demo', help=text, description=text)
    add = parser.add_argument
    add('--model', type=Path, required=True, metavar='DIR', help='a run (its newest checkpoint) or an export')
    add('--images', type=Path, metavar='DIR', help="pictures that are searched, also below DIR; default: sample/evaluation's")
    text = "a text a line, in English or behind its language and a tab; default: captions of the run's retrieval set, or of the sample"
    add('--texts', type=Path, metavar='FILE', help=text)
    add('--host', default='127.0.0.1', metavar='ADDRESS', help='default: %(default)s, which no other machine reaches')
    add('--port', type=_port, default=7860, metavar='N', help='default: %(default)s')
    parser.set_defaults(run=_demo)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f'{text!r} is no port: 1 to 65535')
    return int(text)


def _demo(options: argparse.Namespace) -> None:
    from downstream.web.serve import serve

    serve(options.model, options.images, options.texts, options.host, options.port)
