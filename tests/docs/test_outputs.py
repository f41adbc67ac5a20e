"""What docs/data.md shows as printed is printed, by its own commands on the sample."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from data_pipeline.cli import main
from tests.docs.commands import ROOT, blocks

BLOCKS = [block.lines for block in blocks((ROOT / 'docs/data.md').read_text(encoding='utf8'))]


def test_build_verify_and_stats_print_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'sample').symlink_to(ROOT / 'sample')
    monkeypatch.chdir(tmp_path)

    def printed(command: str) -> list[str]:
        assert main(shlex.split(command)[1:]) == 0
        return capsys.readouterr().out.splitlines()

    build = next(line for lines in BLOCKS for line in lines if line.startswith('data_pipeline build cc3m '))
    summary = next(lines for lines in BLOCKS if lines[0].startswith('cc3m: '))
    seconds = re.compile(r'\d+ s$')
    assert [seconds.sub('', line) for line in printed(build)] == [seconds.sub('', line) for line in summary]

    shown = next(lines for lines in BLOCKS if lines[0].startswith('$ data_pipeline verify'))
    commands = [line.removeprefix('$ ') for line in shown if line.startswith('$ ')]
    assert len(commands) == 2
    assert [line for command in commands for line in (f'$ {command}', *printed(command))] == shown
