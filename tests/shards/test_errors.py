"""What a command says when Ctrl-C ends it."""

from __future__ import annotations

import pytest

from shards.errors import continues, run_command


def test_only_what_continues_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> int:
        raise KeyboardInterrupt

    assert run_command(stopped) == 130 and capsys.readouterr().err == 'interrupted\n'
    assert run_command(continues()(stopped)) == 130
    assert capsys.readouterr().err == 'interrupted; run the same command again to continue\n'
