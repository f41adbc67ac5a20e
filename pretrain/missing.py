"""All that a run lacks and `data_pipeline` can build, with the commands, so that a fresh clone is told once and not once a start."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pretrain.config import Config
from pretrain.data.sources import build_command, corpora_of
from shards.errors import UserError
from shards.schema import KINDS
from shards.storage import location
from shards.tokenizer import DESCRIPTION, MODEL

DEMO = Path('runs/demo')  # where `make demo` puts its tokenizer and shards, and configs/sample.yaml looks for them
MAKE = '`make demo` makes them of sample/ and trains configs/sample.yaml'


def lacking(config: Config) -> dict[str, str]:
    """Folder -> the command that makes it, of the run's tokenizer and corpora that are not there, in the order in which to build them.

    Only whether folders exist is looked at.
    """
    needed = {corpus for task in config.tasks for corpus in corpora_of(config, task)}
    commands: dict[str, str] = {}
    if not (Path(config.data.tokenizer) / DESCRIPTION).exists():
        commands[config.data.tokenizer] = tokenizer_command(config)
    for corpus in (corpus for corpus in KINDS if corpus in needed):
        folder = location(config.data.shards) / corpus / 'train'
        if not folder.is_dir():
            commands[str(folder)] = build_command(config, corpus)
    return commands


def tokenizer_command(config: Config) -> str:
    """What makes the run's tokenizer. Published weights know the ids of their own tokenizer alone, so theirs is taken over."""
    weights, out = config.init.text, config.data.tokenizer
    if weights is None:
        return f'data_pipeline tokenizer train --raw DIR --out {out}'
    if Path(weights).is_dir():
        return f'data_pipeline tokenizer import {weights}/{MODEL} --out {out}'
    return f'hf download {weights} {MODEL} --local-dir . && data_pipeline tokenizer import {MODEL} --out {out}'


def check_built(config: Config) -> None:
    """Raises UserError, with one command a line below its first, when two or more of the run's tokenizer and corpora are not there.

    What lacks alone is left to those who read it: they know of more remedies.
    """
    commands = lacking(config)
    if len(commands) > 1:
        lines = ''.join(f'\n  {command}' for command in commands.values())
        first = f'{MAKE}; or ' if of_demo(commands) else ''
        raise UserError(f'{", ".join(commands)} are missing; {first}build them in this order, DIR being where the raw corpora are:{lines}')


def of_demo(folders: Iterable[str]) -> bool:
    """Whether all of these are what `make demo` makes."""
    return all(Path(folder).is_relative_to(DEMO) for folder in folders)
