"""`srun python -m pretrain.health`: every task runs it; the first node collects, judges and prints."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from pretrain.health.checks import Result, check_folder, existing, scratch
from pretrain.health.gpus import check_gpus
from shards.arguments import Parser
from shards.errors import UserError, run_command

SHM = Path('/dev/shm')
SHM_GIGABYTES = 1.0  # loader processes hand batches over in shared memory


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog='python -m pretrain.health',
        description='Check the nodes of a job. Started by srun, with one process per GPU or per node; slurm/healthcheck.sh does that.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add('--nodes', metavar='A,B', default=os.environ.get('SLURMD_NODENAME', 'localhost'), help='the nodes, in the order of their ranks')
    add('--folder', metavar='DIR', type=Path, action='append', default=[], help='must be writable, as TMPDIR and /dev/shm; may be repeated')
    add('--free', metavar='GB', type=float, default=5.0, help='free space that each of these folders needs (/dev/shm: 1)')
    add('--skew', metavar='SECONDS', type=float, default=1.0, help="largest difference of a node's clock from that of the first")
    add('--xid-hours', metavar='HOURS', type=float, default=24.0, help='age up to which an Xid error of the board counts')
    add('--bandwidth', metavar='GB/S', type=float, default=0.0, help='least bandwidth of an all-reduce; 0: only against the other nodes')
    add('--megabytes', metavar='MB', type=int, default=None, help='size of the all-reduce (default: 256 on GPUs, 4 on CPUs)')
    add('--timeout', metavar='SECONDS', type=float, default=60.0, help='time in which a node must answer, and an all-reduce end')
    return parser.parse_args(arguments)


def local_results(options: argparse.Namespace) -> list[Result]:
    """What this node finds out alone."""
    expected = int(os.environ.get('SLURM_GPUS_ON_NODE', '0'))
    results = check_gpus(expected, datetime.now().astimezone(), timedelta(hours=options.xid_hours))
    results.append(check_folder(scratch(), options.free))
    results.append(check_folder(SHM, SHM_GIGABYTES))
    results += [replace(check_folder(existing(folder), options.free), shared=True) for folder in options.folder]
    return results


def main() -> int:
    options = parse(sys.argv[1:])
    if any(not value > 0 for value in (options.timeout, options.skew)):
        raise UserError('--timeout and --skew are more than 0')
    results = local_results(options) if int(os.environ.get('SLURM_LOCALID', '0')) == 0 else []
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'FATAL')  # a node that does not come is told in one line, not in stack traces
    from pretrain.health.meeting import Meeting  # torch takes seconds to import: the local checks are done by then

    return Meeting(options, results).hold()


if __name__ == '__main__':
    code = run_command(main)
    sys.stdout.flush()
    os._exit(code)  # threads of a collective that hangs must not hold this process
