"""A process that is stopped cannot speak for itself: the others end, and name it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from torch.distributed.flight_recorder.components.loader import read_dump

from pretrain.engine.watchdog import EXIT_HUNG, Report, dump_flight, judge
from tests.support.distributed import alone, free_port
from tests.support.launch import ROOT, environment

SCRIPT = """
import os, time
import torch.distributed as dist
from pretrain.engine.watchdog import Watchdog
print(os.getpid(), flush=True)
dist.init_process_group('gloo')
watchdog = Watchdog(3.0, lambda verdict: (print('recorded:', verdict, flush=True), time.sleep(10_000)))
watchdog.start()
for number in range(1000):
    watchdog.beat(f'part {number}')
    dist.barrier()
    time.sleep(0.05)
    print('beat', flush=True)
"""


def started(rank: int, port: str, script: Path) -> subprocess.Popen[str]:
    variables = {'RANK': str(rank), 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'PYTHONPATH': str(ROOT)}
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
    return subprocess.Popen([*alone(), str(script)], env={**environment(), **variables}, text=True, **pipes)  # type: ignore[call-overload]


@pytest.mark.slow
def test_a_stopped_process_is_named_by_the_others(tmp_path: Path) -> None:
    port, script = free_port(), tmp_path / 'script.py'
    script.write_text(SCRIPT)
    zero, one = started(0, port, script), started(1, port, script)
    assert zero.stdout and one.stdout
    stopped = int(one.stdout.readline())
    for line in one.stdout:
        if line == 'beat\n':
            break
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    try:
        printed = zero.communicate(timeout=60)[0]
        assert zero.returncode == EXIT_HUNG and time.monotonic() - began < 30
        assert '\nrank 1 holds the run up: it does not answer at all' in printed
        assert 'recorded: rank 1 holds the run up' in printed, 'and what cannot be recorded keeps nobody'
        assert 'rank 0 on ' in printed and 'waits for other ranks in part ' in printed and 'in barrier' in printed
    finally:
        one.kill()
        one.communicate()


def report(rank: int, waits: bool, beats: int) -> Report:
    return Report(rank, f'host{rank}', f'part {beats}', 9.0, waits, beats, '')


def test_who_does_not_wait_for_others_holds_them_up() -> None:
    assert judge([report(0, True, 7), report(1, False, 7), report(2, True, 7)]) == 'rank 1 on host1 holds the run up, in part 7 for 9 s'
    assert judge([report(0, True, 7), report(1, True, 5)]) == 'rank 1 on host1 holds the run up, in part 5 for 9 s'
    assert judge([report(0, False, 7), report(1, False, 7)]).count('holds the run up') == 2


def test_the_flight_record_is_where_a_time_out_would_put_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyTorch's own recorder, which is empty here: no NCCL."""
    monkeypatch.setattr(dist, 'get_backend', lambda: 'nccl')
    dump_flight(3)
    monkeypatch.setenv('TORCH_FR_DUMP_TEMP_FILE', str(tmp_path / 'attempt-1.rank-'))
    dump_flight(3)
    assert [path.name for path in tmp_path.iterdir()] == ['attempt-1.rank-3']
    assert 'entries' in read_dump('attempt-1.rank-', str(tmp_path / 'attempt-1.rank-3'))
    monkeypatch.setenv('TORCH_FR_DUMP_TEMP_FILE', str(tmp_path / 'gone/rank-'))
    dump_flight(3)
