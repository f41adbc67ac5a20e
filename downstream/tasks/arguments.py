"""What the benchmarks' commands have in common."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pretrain.model.folder import model_folder
from shards.arguments import Parser


def task(tasks: Any, name: str, text: str) -> Any:
    """Adds a benchmark to the command line; returns where its verbs are added."""
    return tasks.add_parser(name, help=text).add_subparsers(dest='verb', metavar='VERB', required=True, parser_class=Parser)


ALL = 'any spelling, apart by spaces or commas; default: all that DATA has'


def verb(
    verbs: Any, name: str, text: str, run: Callable[[argparse.Namespace], int | None], data: str, out: str, languages: str | None = ALL
) -> Any:
    """Adds a verb with the flags that every one has; returns its parser.

    `run` gets the parsed flags; `data` says what --data is, `languages` what --languages is (None: there is no such flag), `out` how the
    folder of results is called by default.
    """
    parser = verbs.add_parser(name, help=text, description=text)
    add = parser.add_argument
    add('--model', type=Path, required=True, metavar='DIR', help='a run (its newest checkpoint) or an export')
    add('--data', type=Path, required=True, metavar='DIR', help=data)
    if languages:
        add('--languages', nargs='+', metavar='CODE', help=languages)
    add('--out', type=Path, metavar='DIR', help=f'for result.json and what belongs to it; default: MODEL/downstream/TASK/{out}')

    def checked(options: argparse.Namespace) -> int | None:
        model_folder(options.model)  # before torch is imported
        gc.disable()  # as in pretrain/run.py, while imports take their seconds
        import pretrain.model.load  # noqa: F401 - torch and timm, as `run` imports them

        gc.enable()
        return run(options)

    parser.set_defaults(run=checked)
    return parser


def finetuned(
    verbs: Any, text: str, data: str, tested: str | None = 'languages of the tests; ' + ALL,
    images: str = 'folder of the pictures, if not DATA/images',
) -> None:  # fmt: skip
    """Adds `finetune`, with settings of the recipe behind the flags. tested, images: what --languages (none: there is no such flag) and
    --images are."""
    parser = verb(verbs, 'finetune', text, _finetune, data, 'DATA-finetuned', tested)
    add = parser.add_argument
    add('--images', type=Path, metavar='DIR', help=images)
    add('--ranks', type=int, metavar='N', help='processes, one a GPU; default: as many as there are GPUs, or 1')
    text = 'everything but the first optimizer step, on every rank: data, model, kernels, memory, folders; nothing is written'
    add('--dry-run', action='store_true', help=text)
    add('settings', nargs='*', metavar='key=value', help="settings that replace the recipe's (below), e.g. batch.global=64")
    parser.late_epilog = partial(_recipe, parser.prog.split()[-2])
    if tested is None:
        parser.set_defaults(languages=None)


def _recipe(benchmark: str) -> str:
    from downstream.recipes import recipe_help

    return recipe_help(benchmark)


def _finetune(options: argparse.Namespace) -> int:
    from downstream.finetune_command import finetune

    out = out_folder(options, f'{options.data.resolve().name}-finetuned')
    return finetune(
        options.task, options.model, options.data, options.images, out, settings(options), languages(options), options.ranks,
        options.dry_run,
    )  # fmt: skip


def languages(options: argparse.Namespace) -> list[str] | None:
    """The languages asked for; none: all."""
    return [code for entry in options.languages or [] if '=' not in entry for code in entry.split(',') if code] or None


def settings(options: argparse.Namespace) -> list[str]:
    """The `key=value` words, also those that stand behind --languages."""
    return [*(entry for entry in options.languages or [] if '=' in entry), *options.settings]


def out_folder(options: argparse.Namespace, name: str) -> Path:
    """OUT, or MODEL/downstream/TASK/`name`."""
    return Path(options.out or options.model / 'downstream' / options.task / name)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number from 1 on')
    return int(text)


def report(show: Callable[[dict[str, Any]], str], result: dict[str, Any], out: Path) -> None:
    """Print a result and where it is; one rank of several does."""
    from downstream import ranks

    if ranks.leads():
        print(show(result))
        print(f'written: {out / "result.json"}')
