from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pretrain import doctor
from pretrain.cli import run
from pretrain.config import Config
from tests.pretrain.data.small_shards import make_config


def findings(config: Config) -> dict[str, doctor.Finding]:
    return {f'{finding.group}/{finding.what.partition(":")[0]}': finding for finding in doctor.diagnose(config)}


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setenv('DS_ACCELERATOR', 'cpu')


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> list[str]:
    """A small run on the small shards, as arguments."""
    return [
        f'data.shards={home / "shards"}', f'data.tokenizer={home / "tokenizer"}', f'out={tmp_path / "run"}',
        'model.dim=32', 'model.heads=2', 'model.ffn=64', 'model.text_layers=1', 'model.cross_layers=1', 'model.decoder_layers=1',
    ]  # fmt: skip


def test_a_run_that_can_start(settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(['doctor', *settings]) == 0
    printed = capsys.readouterr().out
    assert 'FAIL' not in printed and 'norm by torch' in printed and 'WILL BE USED' in printed
    assert 'not here: it needs an NVIDIA GPU' in printed


def test_what_is_missing_fails_with_its_remedy(settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(['doctor', '--json', *settings, f'data.tokenizer={tmp_path}', 'kernels.norm=apex']) == 1
    failed = [finding for finding in json.loads(capsys.readouterr().out) if finding['state'] == 'FAIL']
    assert [finding['what'] for finding in failed] == ['norm', f'tokenizer: {tmp_path}']
    assert 'choose auto' in failed[0]['remedy'] and 'data_pipeline tokenizer train' in failed[1]['remedy']


def test_shards_that_do_not_fit_are_named(home: Path, tmp_path: Path) -> None:
    found = findings(make_config(home, data={'shards': str(tmp_path)}, model={'visual': {'image_size': 224}}))
    assert found['data/shards'].state == 'FAIL' and 'data_pipeline build cc3m' in found['data/shards'].remedy


def test_too_little_room_for_checkpoints(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = os.statvfs('/')
    monkeypatch.setattr('shutil.disk_usage', lambda path: type('Usage', (), {'free': 1000, 'total': usage.f_blocks, 'used': 0})())
    found = findings(make_config(home, model={'visual': {'image_size': 224}}))
    assert found['disk/out'].state == 'FAIL' and 'checkpoint.keep' in found['disk/out'].remedy


def test_slurm_that_does_not_answer(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that is down: outside a job a note, inside one a failure."""
    sinfo = tmp_path / 'sinfo'
    sinfo.write_text('#!/bin/sh\necho "slurm_load_partitions: Unable to contact slurm controller" >&2\nexit 1\n')
    sinfo.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.delenv('SLURM_JOB_ID', raising=False)
    config = make_config(home)
    (note,) = [finding for finding in doctor.launch(config) if finding.what == 'Slurm']
    assert note.state == 'note' and 'Unable to contact' in note.found
    monkeypatch.setenv('SLURM_JOB_ID', '7')
    assert [finding.state for finding in doctor.launch(config) if finding.what == 'Slurm'] == ['FAIL']


def test_a_check_that_breaks_is_one_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Config) -> object:
        raise RuntimeError('no such thing')

    monkeypatch.setattr(doctor, 'launch', broken)
    found = findings(make_config(home, model={'visual': {'image_size': 224}}))
    assert found['launch/check'].state == 'FAIL' and 'no such thing' in found['launch/check'].found
    assert 'data/shards' in found
