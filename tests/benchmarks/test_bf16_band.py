from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bf16_band import compare, main, report, windows
from shards.errors import UserError


def test_the_worst_window_decides(capsys: pytest.CaptureFixture[str]) -> None:
    full = {'mlm': np.full(60, 4.0), 'itm': np.full(60, 0.7)}
    half = {'mlm': np.full(60, 4.0), 'itm': np.full(60, 0.7)}
    half['mlm'][25:50] = 3.8
    half['itm'][50:] = 7.0  # a window that is not full does not count
    assert windows(half['mlm'], 25).tolist() == pytest.approx([4.0, 3.8])
    line = report(compare(half, full, 25), 0.1)
    assert line['ratio'] == pytest.approx(0.95) and line['task'] == 'mlm' and line['within'] is True
    assert '-5.00%' in capsys.readouterr().out
    half['itm'][:25] = 0.8
    line = report(compare(half, full, 25), 0.1)
    assert line['task'] == 'itm' and line['within'] is False


def test_a_run_too_short() -> None:
    with pytest.raises(UserError, match='--steps 10 is less than one --window of 25'):
        main(['--steps', '10'])
