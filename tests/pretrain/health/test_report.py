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


def test_what_is_bad_on_every_node_is_nobodys_own() -> None:
    report = Report(['a', 'b'])
    full = Result('disk /runs', 'bad', '1.0 GB free, 5 are needed')
    report.add('a', [full, Result('xid', 'bad', 'Xid 79')])
    report.add('b', [full])
    report.compare()
    assert list(report.shared) == ['disk /runs']
    assert 'error: disk /runs: 1.0 GB free, 5 are needed on all 2 nodes' in report.text() and 'bad node' not in report.text()


def test_one_node_alone_or_one_of_two_is_unfit_itself() -> None:
    full = Result('disk /runs', 'bad', 'full')
    for names in (['a'], ['a', 'b']):
        report = Report(names)
        report.add('a', [full])
        report.compare()
        assert not report.shared and 'bad node a: disk /runs: full' in report.text()


def test_a_shared_disk_is_not_the_fault_of_a_node_that_is_alone() -> None:
    """It would be excluded, and then the next one, until the job finds no node."""
    report = Report(['a'])
    report.add('a', [Result('disk /tmp', 'ok', '9.0 GB free'), Result('disk /runs', 'bad', 'full', shared=True)])
    report.compare()
    assert list(report.shared) == ['disk /runs'] and 'bad node' not in report.text()
    assert 'error: disk /runs: full on a, and nodes share that folder; mend that, ' in report.text() and '--exclude=a' in report.text()


def test_a_bandwidth_that_no_node_has_was_asked_too_high() -> None:
    report = Report(['a', 'b', 'c'])
    slow = dict.fromkeys('abc', 'all-reduce at 9.00 GB/s, 99.00 are due')
    report.bandwidth({}, {('a', 'b'): 9.0}, 9.0, slow)
    assert 'error: bandwidth: all-reduce at 9.00 GB/s, 99.00 are due on all 3 nodes' in report.text() and 'bad node' not in report.text()
