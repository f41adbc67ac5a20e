"""`pretrain`: what one does with a run besides training it (that is pretrain/run.py)."""
from __future__ import annotations

import sys
from pathlib import Path

from shards.arguments import Parser
from shards.errors import run_command


def main() -> int:
    """Entry point of the console command."""
    return run_command(lambda: run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    parser = Parser('pretrain', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND', parser_class=Parser)
    export_parser = commands.add_parser('export', help='write the newest checkpoint of a run as safetensors, config.json and tokenizer')
    export_parser.add_argument('run', type=Path, help='folder of the run (`out`)')
    export_parser.add_argument('--out', type=Path, required=True, help='folder to write')
    options = parser.parse_args(arguments)

    from pretrain.model.load import export  # imports torch, which --help need not wait for

    print(f'exported {options.run} to {export(options.run, options.out)}')
    return 0
