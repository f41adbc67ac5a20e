"""argparse whose mistakes are a UserError: one line that names the nearest valid word. Every command of the project uses it."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from shards.errors import UserError


class Parser(argparse.ArgumentParser):
    """Reports mistakes as a UserError with the nearest valid word; flags are never abbreviated."""

    late_epilog: Callable[[], str] | None = None  # what stands below the flags, made when it is asked for: it may import for seconds

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **{'allow_abbrev': False, **options})

    def format_help(self) -> str:
        if self.late_epilog is not None:
            self.epilog, self.formatter_class = self.late_epilog(), argparse.RawDescriptionHelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise UserError(f'{message}; see `{self.prog} --help`')

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reads `~`, which a shell leaves as it is in `--out=~/run`, as the home folder.

        Looks for unknown flags first: with one misspelt, argparse would only say that another is required."""
        args = [_at_home(word) for word in (sys.argv[1:] if args is None else args)]
        if self._subparsers is None:
            for word in args:
                name = word.partition('=')[0]
                if name.startswith('--') and name not in self._option_string_actions:
                    self.error(f'unknown flag {name}{_nearest(name, self._option_string_actions)}')
        options, extra = super().parse_known_args(args, namespace)
        if extra and self._subparsers is not None:
            self._named(options).error(f'unrecognized arguments: {" ".join(extra)}')
        return options, extra

    def _named(self, options: argparse.Namespace) -> argparse.ArgumentParser:
        """The parser of the command that was named, whose --help knows better than that of all what is left over."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return action.choices.get(getattr(options, action.dest, ''), self)
        return self

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(action.choices)
            self.error(f'{action.metavar} {value!r} is none of {" ".join(choices)}{_nearest(value, choices)}')


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1, 0.4)
    return f'; the nearest is {near[0]}' if near else ''


def _at_home(word: str) -> str:
    flag, equals, value = word.partition('=') if word.startswith('--') else ('', '', word)
    return flag + equals + (str(Path(value).expanduser()) if value == '~' or value.startswith('~/') else value)
