#!/usr/bin/env python
"""Pre-train ERNIE-UniX2. Started by the launcher, by torchrun, by srun (one process a task), or alone:

deepspeed pretrain/run.py --deepspeed ds_configs/zero2.json [--config FILE] [key.sub=value ...]
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # a script's own folder comes first on the path: pretrain/ must not be where `import data` or `import config` look

from shards.errors import interruptible_imports, run_command  # noqa: E402

interruptible_imports()

from pretrain.config import dump_config, load_config  # noqa: E402
from pretrain.config.help import settings_help  # noqa: E402
from pretrain.mistakes import memory_told, said_once  # noqa: E402
from shards.arguments import Parser  # noqa: E402


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog='pretrain/run.py',
        description='Pre-train ERNIE-UniX2 on the shards of data_pipeline. A run whose folder (`out`) holds a checkpoint continues there.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f'settings, e.g. steps=100, with the defaults that hold where --config has no other:\n{settings_help()}',
    )
    add = parser.add_argument
    add('--config', metavar='YAML', default=str(ROOT / 'configs/paper.yaml'), help="default: configs/paper.yaml, the paper's recipe")
    add('--deepspeed', metavar='JSON', default=None, help='DeepSpeed configuration (default: ds_configs/zero2.json)')
    add('--print-config', action='store_true', help='print the resolved configuration as YAML, and end')
    text = 'everything but the first optimizer step, on every rank: data, model, kernels, memory, folders'
    add('--dry-run', action='store_true', help=text)
    add('--local_rank', type=int, default=None, help=argparse.SUPPRESS)  # the deepspeed launcher passes it
    add('settings', nargs='*', metavar='key=value', help='settings that replace those of the configuration')
    return parser.parse_intermixed_args(arguments)  # settings may stand before and after flags


def main() -> int:
    arguments = parse(sys.argv[1:])
    config = load_config(arguments.config, arguments.settings)
    if arguments.print_config:
        print(dump_config(config), end='')
        return 0
    # After the configuration is known to be good: torch and DeepSpeed take seconds to import, a fifth more when garbage is looked for
    # meanwhile among all that they make.
    gc.disable()
    from pretrain.missing import check_built

    check_built(config)  # of all that takes seconds to import it needs torch alone
    from pretrain.pretraining import Pretraining
    from pretrain.trainer import Trainer

    gc.enable()
    with memory_told():
        if arguments.dry_run:
            from pretrain.dry_run import dry_run

            return dry_run(Pretraining(config), arguments.deepspeed)
        return Trainer(Pretraining(config), arguments.deepspeed).run()


if __name__ == '__main__':
    sys.exit(run_command(lambda: said_once(main)))
