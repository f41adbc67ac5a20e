from __future__ import annotations

from pretrain.health.checks import Result
from pretrain.health.report import Report


def test_a_node_that_lost_its_driver_is_bad_beside_others_that_have_it() -> None:
    report = Report(['a', 'b'])
    report.add('a', [Result('gpu', 'ok', '8 GPUs')])
    report.add('b', [Result('gpu', 'skipped', 'no nvidia-smi here')])
    report.compare()
    assert report.unfit == {'b': 'gpu: no nvidia-smi, which a has'}


def test_on_cpus_all_are_fit() -> None:
    report = Report(['a', 'b'])
    for name in 'ab':
        report.add(name, [Result('gpu', 'skipped', 'no nvidia-smi here')])
    report.compare()
    assert not report.unfit


def test_text_ends_with_the_unfit_nodes() -> None:
    report = Report(['a', 'b', 'c'])
    report.add('a', [Result('disk /tmp', 'ok', '9.0 GB free')])
    report.add('b', [Result('disk /tmp', 'bad', 'full'), Result('clock', 'bad', 'off')])
    report.bandwidth({'a': 100.0}, {('a', 'c'): None}, 12.5, {'c': 'all-reduce with a failed'})
    lines = report.text().splitlines()
    assert lines[0] == 'a            ok      disk /tmp: 9.0 GB free'
    assert lines[3:6] == ['a            all-reduce 100.00 GB/s', 'a with c     all-reduce failed', 'all          all-reduce 12.50 GB/s']
    assert lines[6:8] == ['bad node b: disk /tmp: full', 'bad node c: all-reduce with a failed']
    assert lines[8].startswith('health check: 1 of 3 nodes fit')
