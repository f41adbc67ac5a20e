"""`python -m pretrain.health` as srun starts it: a process a rank, without Slurm (tests/cluster has it with)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.distributed import alone, free_port
from tests.support.launch import ROOT

pytestmark = pytest.mark.slow


def check(
    ranks: range, world: int, per_node: int, *options: str, scratch: dict[int, Path] | None = None, odd: dict[str, str] | None = None
) -> list[tuple[int, str]]:
    """Exit code and output of each of these ranks of a job of `world`; nodes are a, b, c. `odd`: more of the last rank's environment,
    which then is started as srun does it; the others have imported torch already.
    """
    port, nodes = free_port(), 'abc'[: world // per_node]
    started = []
    for rank in ranks:
        environment = {
            **os.environ, 'SLURM_PROCID': str(rank), 'SLURM_NTASKS': str(world), 'SLURM_LOCALID': str(rank % per_node),
            'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'OMP_NUM_THREADS': '1',
        }  # fmt: skip
        if scratch and rank in scratch:
            environment['TMPDIR'] = str(scratch[rank])
        words = [*alone(), str(ROOT / 'pretrain/health/__main__.py')]
        if odd is not None and rank == ranks[-1]:
            environment |= odd
            words = [sys.executable, '-m', 'pretrain.health']
        command = [*words, '--nodes', ','.join(nodes), '--free', '0.001', *options]
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    printed = [process.communicate(timeout=300)[0] for process in started]
    return [(process.returncode, text) for process, text in zip(started, printed, strict=True)]


def test_sound_nodes_of_two_ranks() -> None:
    (code, printed), *others = check(range(4), 4, 2)
    assert code == 0 and others == [(0, '')] * 3, printed
    lines = printed.splitlines()
    assert any(line.startswith('b            ok      clock: within 0.') for line in lines)
    figures = [line.split(' all-reduce ') for line in lines if ' all-reduce ' in line]
    assert [name.strip() for name, _ in figures] == ['a', 'b', 'a with b'] and all(float(value.split()[0]) > 0 for _, value in figures)
    assert lines[-1].startswith('health check: 2 of 2 nodes fit')


def test_a_bad_node_one_that_does_not_come_and_one_that_is_sound(tmp_path: Path) -> None:
    (code, printed), (other, _) = check(range(2), 3, 1, '--timeout', '20', scratch={1: tmp_path / 'gone'})
    assert code == 1 and other == 0
    assert f'bad node b: disk {tmp_path / "gone"}: No such file or directory' in printed
    assert 'bad node c: answer: none within 20 s' in printed
    assert 'bad node a' not in printed and 'all-reduce not measured: a node is unfit' in printed
    assert 'health check: 1 of 3 nodes fit' in printed


def test_a_clock_that_is_ahead(tmp_path: Path) -> None:
    library = tmp_path / 'clock.so'
    source = Path(__file__).with_name('clock.cpp')
    subprocess.run(['g++', '-shared', '-fPIC', '-o', str(library), str(source), '-ldl'], check=True)
    (code, printed), _ = check(range(2), 2, 1, odd={'LD_PRELOAD': str(library), 'CLOCK_SKEW': '7'})
    assert code == 1 and 'bad node b: clock: ' in printed, printed
    assert ' s beside that of a, 1 s are allowed' in printed and 'bad node a' not in printed
    assert 6 < float(printed.partition('bad node b: clock: ')[2].split()[0]) <= 7


def test_what_both_nodes_have_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    (code, printed), other = check(range(2), 2, 1, '--folder', '/proc')
    assert code == 2 and other == (0, '') and 'error: disk /proc: ' in printed and 'bad node' not in printed, printed


def test_the_disk_of_a_run_is_not_the_fault_of_its_only_node(tmp_path: Path) -> None:
    ((code, printed),) = check(range(1), 1, 1, '--folder', '/proc')
    assert code == 2 and 'error: disk /proc: ' in printed and 'bad node' not in printed, printed
    ((code, printed),) = check(range(1), 1, 1, scratch={0: tmp_path / 'gone'})
    assert code == 1 and 'bad node a: disk ' in printed and 'error: ' not in printed, printed


def test_a_first_node_that_does_not_come_is_named_by_the_others() -> None:
    ((code, printed),) = check(range(1, 2), 2, 1, '--timeout', '2', odd={})
    assert code == 1 and printed.startswith('bad node a: nothing answers at 127.0.0.1:') and printed.count('\n') == 1
