"""`pretrain`: what one does with a run besides training it (that is pretrain/run.py)."""
from __future__ import annotations

import sys
from pathlib import Path

from pretrain.doctor import command as doctor
from pretrain.plan import command as plan
from shards.arguments import Parser
from shards.errors import run_command

EXPORT = """Write the newest checkpoint of a run (of a fine-tuning, the best one) as a folder that transformers loads with
trust_remote_code=True, and that `downstream` takes: weights (safetensors), config.json, tokenizer, processor, the model's code, and a model
card, README.md, with examples."""


def main() -> int:
    """Entry point of the console command."""
    return run_command(lambda: run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    parser = Parser('pretrain', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND', parser_class=Parser)
    export_parser = commands.add_parser('export', help="write a run's model as a folder that transformers loads", description=EXPORT)
    export_parser.add_argument('run', type=Path, help='folder of the run (`out`)')
    export_parser.add_argument('--out', type=Path, required=True, help='folder to write')
    plan_parser = commands.add_parser(
        'plan', help='memory, FLOPs, time, communication and reading of a run, without running it', description=plan.__doc__,
        epilog='Exit code 1: it does not fit the memory. Memory is for sequences of full length, FLOPs and times for those of mean length.',
    )  # fmt: skip
    plan.add_arguments(plan_parser)
    doctor_parser = commands.add_parser(
        'doctor', help='is everything here that a run needs? exit code 1 if not', description=doctor.__doc__,
        epilog='Looks at versions, machine, compilers, fused kernels, launchers and Slurm, disk, tokenizer, shards, initial weights and '
        'evaluation. A note is no obstacle.',
    )  # fmt: skip
    doctor.add_arguments(doctor_parser)
    options = parser.parse_args(arguments)
    if options.command == 'plan':
        return plan.run(options)
    if options.command == 'doctor':
        return doctor.run(options)

    from pretrain.export import export  # imports torch, which --help need not wait for

    print(f'exported {options.run} to {export(options.run, options.out)}')
    return 0
