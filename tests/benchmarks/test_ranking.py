"""The exact ranking in blocks, smaller than the benchmark's: in a part of the memory of all scores, and with their recalls."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import ranking
from tests.support.launch import ROOT, run


@pytest.mark.slow
def test_a_part_of_the_memory_of_all_scores(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / 'benchmarks/ranking.py'), '--pictures', '6000', '--texts', '30000', '--slice', '100']
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line['benchmark'], line['within'], line['peer']) == ('ranking', True, 8 * 6000 * 30_000)
    assert line['ours'] < line['peer'] / 2 and line['ratio'] == pytest.approx(line['ours'] / line['peer'], abs=1e-4)
    for recalls in line['recalls'].values():
        assert 0.2 < recalls['R@1'] < recalls['R@5'] < recalls['R@10'] <= 1


def test_a_ranking_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By one query in a hundred."""
    exact = ranking.text_to_image

    def hopeful(*sides: ranking.Vectors) -> dict[str, float]:
        return {k: min(1.0, value + 0.01) for k, value in exact(*sides).items()}  # type: ignore[arg-type]

    small = ['--pictures', '200', '--texts', '1000', '--slice', '50']
    assert ranking.main(small) == 0
    monkeypatch.setattr(ranking, 'text_to_image', hopeful)
    assert ranking.main(small) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])['within'] is False
