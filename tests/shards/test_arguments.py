"""What the parser of every command does to its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards.arguments import Parser
from shards.errors import UserError


def test_what_is_left_over_is_a_mistake_of_the_command_that_was_named() -> None:
    parser = Parser('command')
    parser.add_subparsers(dest='of').add_parser('build').add_argument('corpus')
    with pytest.raises(UserError, match=r'^unrecognized arguments: more words; see `command build --help`$'):
        parser.parse_args(['build', 'cc3m', 'more', 'words'])
    with pytest.raises(UserError, match=r'^unrecognized arguments: more; see `command --help`$'):
        Parser('command').parse_args(['more'])


def test_the_home_folder_wherever_a_shell_does_not_see_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    parser = Parser('command')
    commands = parser.add_subparsers()
    build = commands.add_parser('build')
    for flag in ('--raw', '--out', '--text'):
        build.add_argument(flag)
    build.add_argument('settings', nargs='*')
    options = parser.parse_args(['build', '--raw=~/raw', '--out', '~', '--text=~ about', '~/settings', 'a=~/b'])
    assert (options.raw, options.out, options.text) == (f'{tmp_path}/raw', str(tmp_path), '~ about')
    assert options.settings == [f'{tmp_path}/settings', 'a=~/b']  # a setting is read with the configuration
