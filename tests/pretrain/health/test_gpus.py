"""What is made of nvidia-smi's and the kernel's words. There is no GPU here: the lines are in the form of NVIDIA's manuals."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pretrain.health.checks import Result
from pretrain.health.gpus import check_gpus, judge_xids

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
LOG = """\
2026-11-24T11:00:00,123456+00:00 usb 1-1: new device
2026-11-24T11:30:00,123456+00:00 NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
2026-11-24T11:40:00,123456+00:00 NVRM: Xid (PCI:0000:5e:00): 31, pid=4242, name=python, Ch 00000008, MMU Fault
2026-11-20T11:40:00,123456+00:00 NVRM: Xid (PCI:0000:86:00): 48, An uncorrectable double bit error (DBE) has been detected
"""
QUIET = LOG.splitlines()[0]
A100 = 'NVIDIA A100-SXM4-80GB'
SOUND = {
    'name': A100, 'memory.used': '4', 'ecc.errors.uncorrected.volatile.total': '0', 'remapped_rows.pending': 'No',
    'remapped_rows.failure': 'No', 'clocks_event_reasons.hw_slowdown': 'Not Active',
}  # fmt: skip
Answer = Callable[..., list[Result]]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answer:
    """`check_gpus` beside a program that answers as nvidia-smi does: for so many GPUs, with other `values` for some of them (None: a field
    that the driver does not know), and a line behind.
    """

    def check(gpus: int, expected: int, values: dict[int, dict[str, str | None]], behind: str = '', log: str = QUIET) -> list[Result]:
        shutil.rmtree(tmp_path / 'gpus', ignore_errors=True)
        for index in range(gpus):
            folder = tmp_path / f'gpus/{index}'
            folder.mkdir(parents=True)
            for field, value in {'index': str(index), **SOUND, **values.get(index, {})}.items():
                if value is not None:
                    (folder / field).write_text(f'{value}\n')
        tool(tmp_path, 'nvidia-smi', NVIDIA_SMI.format(folder=tmp_path, behind=behind))
        (tmp_path / 'log').write_text(log)
        tool(tmp_path, 'dmesg', f'/bin/cat {tmp_path}/log')
        monkeypatch.setenv('PATH', str(tmp_path))
        return check_gpus(expected, NOW, DAY)

    return check


NVIDIA_SMI = r"""
IFS=,
for gpu in {folder}/gpus/*; do
    line=
    for field in ${{1#--query-gpu=}}; do
        [ -f "$gpu/$field" ] || {{ echo "Field \"$field\" is not a valid field to query."; exit 2; }}
        read -r value <"$gpu/$field"
        line="$line${{line:+, }}$value"
    done
    echo "$line"
done
echo "{behind}"
"""


def bad(results: list[Result]) -> list[str]:
    return [f'{result.check}: {result.text}' for result in results if result.status == 'bad']


def test_sound_gpus(answer: Answer) -> None:
    results = answer(8, 8, {})
    assert [(result.check, result.status) for result in results] == [('gpu', 'ok'), ('gpu memory', 'ok'), ('ecc', 'ok'), ('xid', 'ok')]
    assert results[0].text == f'8 GPUs ({A100})'


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('ecc.errors.uncorrected.volatile.total', '2', 'ecc: GPU 3: uncorrected ECC errors (2)'),
        ('remapped_rows.pending', 'Yes', 'ecc: GPU 3: rows wait to be remapped (Yes)'),
        ('remapped_rows.failure', '[Unknown Error]', 'ecc: GPU 3: row remapping failed ([Unknown Error])'),
        ('ecc.errors.uncorrected.volatile.total', '[GPU requires reset]', 'ecc: GPU 3: uncorrected ECC errors ([GPU requires reset])'),
        ('clocks_event_reasons.hw_slowdown', 'Active', 'ecc: GPU 3: slowed down by its hardware (Active)'),
        ('memory.used', '40123', 'gpu memory: held by another process: GPU 3: 40123 MiB'),
        ('memory.used', '[Unknown Error]', 'gpu memory: GPU 3: [Unknown Error]'),
    ],
)
def test_each_fault_names_its_gpu(answer: Answer, field: str, value: str, words: str) -> None:
    assert bad(answer(8, 8, {3: {field: value}})) == [words]


def test_a_gpu_that_is_lost(answer: Answer) -> None:
    assert bad(answer(7, 8, {})) == [f'gpu: 7 GPUs ({A100}), 8 are due']


def test_what_a_gpu_does_not_tell_is_skipped_and_said(answer: Answer) -> None:
    told: dict[str, str | None] = {
        'ecc.errors.uncorrected.volatile.total': '[N/A]',
        'remapped_rows.pending': '[Not Supported]',
        'remapped_rows.failure': '[N/A]',
    }
    results = answer(1, 1, {0: told})
    assert not bad(results)
    assert [result.text for result in results if result.status == 'skipped'] == [
        'not told by these GPUs: ecc.errors.uncorrected.volatile.total, remapped_rows.failure, remapped_rows.pending'
    ]


def test_a_warning_between_the_lines_is_told(answer: Answer) -> None:
    warning = 'WARNING: infoROM is corrupted at gpu 0000:3B:00.0'
    assert bad(answer(2, 2, {}, behind=warning)) == [f'gpu: nvidia-smi says: {warning}']


def test_a_driver_with_other_names_of_fields_is_not_sick(answer: Answer) -> None:
    unknown = {'clocks_event_reasons.hw_slowdown': None}
    old = {**unknown, 'clocks_throttle_reasons.hw_slowdown': 'Active'}
    assert bad(answer(1, 1, {0: old})) == ['ecc: GPU 0: slowed down by its hardware (Active)']
    results = answer(1, 1, {0: unknown})
    assert not bad(results) and 'not told by these GPUs: clocks_event_reasons.hw_slowdown' in [result.text for result in results]


def test_remapped_rows_speak_for_xid_63(answer: Answer) -> None:
    log = '2026-11-24T11:30:00,1+00:00 NVRM: Xid (PCI:0000:3b:00): 63, Row Remapper: New row marked for remapping'
    assert not bad(answer(1, 1, {}, log=log))
    assert bad(answer(1, 1, {0: {'remapped_rows.pending': '[N/A]'}}, log=log)) == ['xid: 0000:3b:00 Xid 63 (row remapping)']


def test_recent_xid_errors_of_the_board_are_bad() -> None:
    result = judge_xids(LOG.splitlines(), NOW, DAY)
    assert (result.status, result.text) == ('bad', '0000:3b:00 Xid 79 (fallen off the bus)')
    assert 'Xid 48' in judge_xids(LOG.splitlines(), NOW, timedelta(days=7)).text
    assert judge_xids(LOG.splitlines()[::2], NOW, DAY).status == 'ok'
    change = 'from 0x0 (None) to 0x1 (GPU Reset Required)'
    reset = [f'2026-11-24T11:30:00,1+00:00 NVRM: Xid (PCI:0000:3b:00): 154, GPU recovery action changed {change}']
    assert judge_xids(reset, NOW, DAY).text == '0000:3b:00 Xid 154 (the board asks for a reset or repair)'
    healed = reset[0].replace(change, 'from 0x1 (GPU Reset Required) to 0x0 (None)')
    assert judge_xids([healed], NOW, DAY).status == 'ok'


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)


def test_without_nvidia_smi_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    (result,) = check_gpus(8, NOW, DAY)
    assert result.status == 'skipped' and 'no nvidia-smi here' in result.text


def test_the_tools_are_called_and_their_failure_is_told(answer: Answer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer(1, 1, {})
    tool(tmp_path, 'dmesg', 'echo "dmesg: read kernel buffer failed: Operation not permitted" >&2; exit 1')
    results = check_gpus(1, NOW, DAY)
    assert not bad(results) and [result.check for result in results] == ['gpu', 'gpu memory', 'ecc', 'xid']
    assert results[-1].status == 'skipped' and 'Operation not permitted' in results[-1].text
    tool(tmp_path, 'journalctl', 'echo "-- No entries --"')
    assert check_gpus(1, NOW, DAY)[-1].status == 'skipped'
    tool(tmp_path, 'journalctl', 'echo "2026-11-24T11:30:00+00:00 vm kernel: NVRM: Xid (PCI:0000:3b:00): 94, x"')
    assert bad(check_gpus(1, NOW, DAY)) == ['xid: 0000:3b:00 Xid 94 (contained ECC error)']
    tool(tmp_path, 'nvidia-smi', 'echo "Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error"; exit 255')
    assert bad(check_gpus(1, NOW, DAY)) == ['gpu: nvidia-smi: Unable to determine the device handle for GPU0000:3B:00.0: Unknown Error']


def test_a_log_without_a_line_was_not_read(answer: Answer) -> None:
    result = answer(1, 1, {}, log='')[-1]
    assert (result.check, result.status, result.text) == ('xid', 'skipped', 'the kernel log cannot be read: dmesg shows no line of it')
