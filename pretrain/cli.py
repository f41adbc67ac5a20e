"""`pretrain`: what one does with a run besides training it (that is pretrain/run.py)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pretrain.doctor import command as doctor
from pretrain.plan import command as plan
from pretrain.report.page import report
from shards.arguments import Parser
from shards.errors import UserError, run_command

EXPORT = """Write the newest checkpoint of a run (of a fine-tuning, the best one) as a folder that transformers loads with
trust_remote_code=True, and that `downstream` takes: weights (safetensors), config.json, tokenizer, processor, the model's code, and a model
card, README.md, with examples."""

PLAN = """Say what a run would take, without running it: memory of a GPU by part and the largest micro-batch that fits it, FLOPs by
task, time of a step and of the run, communication, reading. Every task runs forward and backward on the device `meta`, which has shapes but
no numbers; utilisation, link rates and mean lengths are assumptions, set by the flags below and printed with the result."""

REPORT = """Write one HTML page that needs nothing else, neither network nor server: curves of training and held-out losses, retrieval,
learning rate, gradient norm, temperature, samples a second, utilisation, data wait, tokens by language, skipped updates and checkpoints;
starts and ends; faults; settings; versions and machine. It only reads the run, which may be in progress."""


def main() -> int:
    """Entry point of the console command."""
    return run_command(lambda: run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    parser = Parser('pretrain', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND', parser_class=Parser)
    export_parser = commands.add_parser('export', help="write a run's model as a folder that transformers loads", description=EXPORT)
    export_parser.add_argument('run', type=Path, help='folder of the run (`out`)')
    export_parser.add_argument('--out', type=Path, required=True, help='folder to write')
    text = "results of `downstream` for the model card, besides those below the run's folder and --out"
    export_parser.add_argument('--results', type=Path, nargs='+', default=[], metavar='DIR', help=text)
    plan_parser = commands.add_parser(
        'plan', help='memory, FLOPs, time, communication and reading of a run, without running it', description=PLAN,
        epilog='Exit code 1: it does not fit the memory. Memory is for sequences of full length, FLOPs and times for those of mean length.',
    )  # fmt: skip
    plan.add_arguments(plan_parser)
    doctor_parser = commands.add_parser(
        'doctor', help='is everything here that a run needs? exit code 1 if not', description=doctor.__doc__,
        epilog='Looks at versions, machine, compilers, fused kernels, launchers and Slurm, disk, tokenizer, shards, initial weights, '
        "evaluation and DeepSpeed's configuration. A note is no obstacle.",
    )  # fmt: skip
    doctor.add_arguments(doctor_parser)
    report_parser = commands.add_parser('report', help="one HTML page of a run's curves, settings, restarts and faults", description=REPORT)
    report_parser.add_argument('run', type=Path, help='folder of the run (`out`), in progress or ended')
    report_parser.add_argument('--html', type=Path, metavar='FILE', help='page to write (default: RUN/report.html)')
    report_parser.add_argument('others', nargs='*', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.command == 'report' and options.others:
        several = 'TensorBoard compares several, `tensorboard --logdir DIR` with the folder above them'
        report_parser.error(f'pretrain report shows one run; {several}')
    if options.command == 'plan':
        return plan.run(options)
    if options.command == 'doctor':
        return doctor.run(options)
    if options.command == 'report':
        return write_report(options.run, options.html or options.run / 'report.html')

    from pretrain.export import export  # imports torch, which --help need not wait for

    print(f'exported {options.run} to {export(options.run, options.out, options.results)}')
    return 0


def write_report(folder: Path, file: Path) -> int:
    """Raises UserError for a folder that is not that of a run, and a file that cannot be written."""
    page = report(folder)
    try:
        file.write_text(page, encoding='utf8')
    except OSError as error:
        raise UserError(f'--html {file} cannot be written ({error.strerror})') from None
    print(f'{file}: {file.stat().st_size / 2**20:.1f} MiB, open it in a browser')
    return 0
