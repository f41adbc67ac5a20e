"""What is made of nvidia-smi's and the kernel's words. There is no GPU here: the lines are in the form of NVIDIA's manuals."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pretrain.health.checks import Result
from pretrain.health.gpus import FIELDS, check_gpus, judge_gpus, judge_xids

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
A100 = 'NVIDIA A100-SXM4-80GB'
SOUND = [f'{index}, {A100}, 4, 0, No, No, Not Active' for index in range(8)]


def bad(results: list[Result]) -> list[str]:
    return [f'{result.check}: {result.text}' for result in results if result.status == 'bad']


def test_sound_gpus() -> None:
    results = judge_gpus('\n'.join(SOUND), 8)
    assert [(result.check, result.status) for result in results] == [('gpu', 'ok'), ('ecc', 'ok'), ('gpu memory', 'ok')]
    assert results[0].text == f'8 GPUs ({A100})'


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('ecc.errors.uncorrected.volatile.total', '2', 'ecc: GPU 3: uncorrected ECC errors (2)'),
        ('remapped_rows.pending', 'Yes', 'ecc: GPU 3: rows wait to be remapped (Yes)'),
        ('remapped_rows.failure', 'Yes', 'ecc: GPU 3: row remapping failed (Yes)'),
        ('clocks_throttle_reasons.hw_slowdown', 'Active', 'ecc: GPU 3: slowed down by its hardware (Active)'),
        ('memory.used', '40123', 'gpu memory: held by another process: GPU 3: 40123 MiB'),
    ],
)
def test_each_fault_names_its_gpu(field: str, value: str, words: str) -> None:
    values = SOUND[3].split(', ')
    values[FIELDS.index(field)] = value
    assert bad(judge_gpus('\n'.join([*SOUND[:3], ', '.join(values), *SOUND[4:]]), 8)) == [words]


def test_a_gpu_that_is_lost() -> None:
    assert bad(judge_gpus('\n'.join(SOUND[:7]), 8)) == [f'gpu: 7 GPUs ({A100}), 8 are due']


def test_what_a_gpu_does_not_tell_is_skipped_and_said() -> None:
    results = judge_gpus('0, NVIDIA T4, 3, [N/A], [N/A], [N/A], Not Active', 1)
    assert not bad(results)
    assert [result.text for result in results if result.status == 'skipped'] == [
        'not told by these GPUs: ecc.errors.uncorrected.volatile.total, remapped_rows.failure, remapped_rows.pending'
    ]


LOG = """\
2026-11-24T11:00:00,123456+00:00 usb 1-1: new device
2026-11-24T11:30:00,123456+00:00 NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
2026-11-24T11:40:00,123456+00:00 NVRM: Xid (PCI:0000:5e:00): 31, pid=4242, name=python, Ch 00000008, MMU Fault
2026-11-20T11:40:00,123456+00:00 NVRM: Xid (PCI:0000:86:00): 48, An uncorrectable double bit error (DBE) has been detected
"""


def test_recent_xid_errors_of_the_board_are_bad() -> None:
    result = judge_xids(LOG, NOW, DAY)
    assert (result.status, result.text) == ('bad', '0000:3b:00 Xid 79 (fallen off the bus)')
    assert 'Xid 48' in judge_xids(LOG, NOW, timedelta(days=7)).text
    assert judge_xids('\n'.join(LOG.splitlines()[::2]), NOW, DAY).status == 'ok'


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)


def test_without_nvidia_smi_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    (result,) = check_gpus(8, NOW, DAY)
    assert result.status == 'skipped' and 'no nvidia-smi here' in result.text


def test_the_tools_are_called_and_their_failure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    tool(tmp_path, 'nvidia-smi', f'[ "$1" = "--query-gpu={",".join(FIELDS)}" ] && echo "{SOUND[0]}"')
    tool(tmp_path, 'dmesg', 'echo "dmesg: read kernel buffer failed: Operation not permitted" >&2; exit 1')
    results = check_gpus(1, NOW, DAY)
    assert not bad(results) and [result.check for result in results] == ['gpu', 'ecc', 'gpu memory', 'xid']
    assert results[-1].status == 'skipped' and 'Operation not permitted' in results[-1].text
    tool(tmp_path, 'journalctl', 'echo "$0" >/dev/null; echo "2026-11-24T11:30:00+00:00 vm kernel: NVRM: Xid (PCI:0000:3b:00): 94, x"')
    assert bad(check_gpus(1, NOW, DAY)) == ['xid: 0000:3b:00 Xid 94 (contained ECC error)']
    tool(tmp_path, 'nvidia-smi', 'echo "Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error"; exit 255')
    assert bad(check_gpus(1, NOW, DAY)) == ['gpu: nvidia-smi: Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error']
