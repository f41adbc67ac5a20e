from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.leave_one_out import main, report
from shards.errors import UserError


def test_the_task_that_rises_least_decides(capsys: pytest.CaptureFixture[str]) -> None:
    before, together = {'mlm': 9.0, 'itm': 0.73}, {'mlm': 6.0, 'itm': 0.69}
    line = report(before, together, {'mlm': 9.0, 'itm': 0.7245})
    assert line['task'] == 'itm' and line['ratio'] == pytest.approx(1.05) and line['within'] is True
    assert capsys.readouterr().out.splitlines()[-1].split() == ['itm', '0.730', '0.690', '0.725', '1.050']
    line = report(before, together, {'mlm': 6.0, 'itm': 0.9})
    assert line['task'] == 'mlm' and line['within'] is False


def test_it_needs_the_shards_of_the_demo(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='start in the folder of the repository, after `make demo`'):
        main(['--shards', str(tmp_path / 'none')])
