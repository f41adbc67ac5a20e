"""The command line of `data_pipeline`; what its commands do is in commands.py."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from data_pipeline import commands
from data_pipeline.settings import Settings, flag
from shards.arguments import Parser
from shards.errors import run_command
from shards.schema import KINDS
from shards.storage import location

_BUILD = """Build the shards of one corpus below OUT/CORPUS/. Run again after an interruption, it continues; what is complete is kept."""


def parser() -> Parser:
    """The whole command line."""
    main_parser = Parser(prog='data_pipeline', description='Raw corpora -> MDS shards for pre-training.')
    subparsers = main_parser.add_subparsers(title='commands', metavar='COMMAND', required=True, parser_class=Parser)

    def command(name: str, run: Any, text: str) -> Parser:
        sub: Parser = subparsers.add_parser(name, help=text.partition('.')[0], description=text, formatter_class=_Help)
        sub.set_defaults(run=run, parser=sub)
        return sub

    _add_build(command('build', commands.run_build, _BUILD))
    sub = command(
        'finish',
        commands.run_finish,
        'Merge what the tasks of an array job have built into streams (a build with one task does it by itself).',
    )
    sub.add_argument('--out', type=location, required=True, metavar='DIR', help='--out of the builds')
    _add_scratch(sub)
    sub.add_argument(
        '--corpus',
        choices=list(KINDS),
        action='append',
        default=[],
        metavar='CORPUS',
        help='the corpus to finish, others may still be incomplete; may be repeated; default: every one that was begun there',
    )
    sub = command(
        'verify',
        commands.run_verify,
        'Check shards: every checksum, the index, and that every sample decodes. Exit code 1 and a list when something is bad.',
    )
    sub.add_argument('dir', type=location, metavar='DIR', help='--out of a build, or any folder below it; also s3://…')
    _add_scratch(sub)
    sub = command('stats', commands.run_stats, 'Show what shards hold: samples, languages, tokens, bytes, and what was dropped and why.')
    sub.add_argument('dir', type=location, metavar='DIR', help='--out of a build, or any folder below it; also s3://…')
    sub.add_argument('--json', action='store_true', help='print JSON instead of tables')
    sub = command(
        'remove',
        commands.run_remove,
        'Take pictures out of built shards (a take-down). Only shards that hold one are written anew; run again after an interruption, it '
        'continues. The manifests say so, and a later build leaves them out too.',
    )
    sub.add_argument('--urls', type=Path, required=True, metavar='FILE', help='URLs or image ids (`image_id` of the shards), one a line')
    sub.add_argument('dir', type=location, metavar='DIR', help='--out of the builds, or the folder of a corpus below it; also s3://…')
    _add_scratch(sub)
    sub = command(
        'show', commands.run_show, 'Look at samples: pictures with their captions in all languages, texts, and what was dropped and why.'
    )
    sub.add_argument('dir', type=location, metavar='DIR', help='--out of a build, or any folder below it; also s3://…')
    sub.add_argument('--html', type=Path, metavar='F', help='write one self-contained page to look at in a browser')
    sub.add_argument('--samples', type=int, metavar='N', help='of each stream (default: 3, with --html 120)')
    sub.add_argument('--tokenizer', type=Path, metavar='DIR', help='shows the texts of cc100 and opus instead of their ids')
    _add_tokenizer(command('tokenizer', None, 'Make the tokenizer that text corpora are built with.'))
    return main_parser


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except those that are None or False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.required or action.default is None or action.default is False or action.default == []  # but not 0
        return action.help if hidden else super()._get_help_string(action)


def _add_build(sub: Parser) -> None:
    sub.add_argument('corpus', choices=list(KINDS), metavar='CORPUS', help=' '.join(KINDS))
    sub.add_argument('--raw', type=Path, required=True, metavar='DIR', help="the corpus's own folder (docs/data.md shows the layouts)")
    sub.add_argument(
        '--out', type=location, required=True, metavar='DIR', help='folder for the shards of all corpora, or s3://bucket/prefix'
    )
    _add_scratch(sub)
    sub.add_argument('--images', type=Path, metavar='DIR', help="img2dataset's output (or WIT's pixel files) when it is not below --raw")
    sub.add_argument(
        '--translations', type=Path, metavar='PATH', help='translated captions (a file, or a folder of them) when they are not in --raw'
    )
    sub.add_argument('--tokenizer', type=Path, metavar='DIR', help='needed by corpora of text')
    sub.add_argument(
        '--exclude',
        type=location,
        action='append',
        default=[],
        metavar='PATH',
        help='leave out pictures whose URL is in PATH: built shards (for cc12m those of cc3m; also s3://…), or a file of URLs; '
        'may be repeated',
    )
    sub.add_argument(
        '--decontaminate',
        type=Path,
        action='append',
        default=[],
        metavar='DIR',
        help='leave out what is in an evaluation set: equal texts, pictures that look the same; may be repeated',
    )
    sub.add_argument('--workers', type=int, default=1, metavar='N', help='processes')
    sub.add_argument('--task', type=int, default=0, metavar='I', help='number of this task, from 0, in an array job of --tasks')
    sub.add_argument('--tasks', type=int, default=1, metavar='N', help='tasks that share the work; run `finish` after the last')
    group = sub.add_argument_group('settings (kept in the manifest; in brackets the corpora that they concern)')
    for item in fields(Settings):
        corpora = [corpus for corpus, kind in KINDS.items() if kind in item.metadata['kinds']]
        default = '' if item.type == 'bool' else f' (default: {_shown(item.default)})'
        text = f'{item.metadata["help"]} [{" ".join(corpora) if len(corpora) < len(KINDS) else "all"}]{default}'
        if item.type == 'bool':
            group.add_argument(flag(item), action='store_true', default=argparse.SUPPRESS, help=text)
        else:
            kind = type(item.default)
            group.add_argument(flag(item), type=kind, default=argparse.SUPPRESS, metavar=kind.__name__.upper(), help=text)


def _shown(default: Any) -> str:
    """A default as `--help` shows it."""
    if isinstance(default, float):
        return f'{default:g}'
    return str(default) or 'none'


def _add_scratch(sub: Parser) -> None:
    sub.add_argument(
        '--scratch', type=Path, metavar='DIR', help='folder for the work in between; default: below --out, or with s3:// a temporary one'
    )


def _add_tokenizer(sub: Parser) -> None:
    from data_pipeline.tokenizer_settings import TrainingSettings

    subparsers = sub.add_subparsers(title='commands', metavar='COMMAND', required=True, parser_class=Parser)
    text = 'Train a sentencepiece model on the texts of every corpus found, languages balanced.'
    train: Parser = subparsers.add_parser('train', help=text, description=text, formatter_class=_Help)
    train.set_defaults(run=commands.run_tokenizer_train, parser=train)
    train.add_argument(
        '--raw', type=Path, required=True, metavar='DIR', help=f'folder that holds the folders {" ".join(KINDS)}, or some of them'
    )
    train.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder for the tokenizer')
    for item in fields(TrainingSettings):
        train.add_argument(
            flag(item),
            type=type(item.default),
            default=item.default,
            metavar=type(item.default).__name__.upper(),
            help=item.metadata['help'],
        )
    text = "Take over a sentencepiece model such as mBART's sentencepiece.bpe.model."
    take: Parser = subparsers.add_parser('import', help=text, description=text, formatter_class=_Help)
    take.set_defaults(run=commands.run_tokenizer_import, parser=take)
    take.add_argument('file', type=Path, metavar='FILE', help='the model file')
    take.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder for the tokenizer')


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns the exit code: 0, 1 when `verify` found something bad, 2 for a user's mistake."""

    def run() -> int:
        options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
        code: int = options.run(options)
        return code

    return run_command(run)
