from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pretrain.cli import run
from pretrain.config import Config
from pretrain.doctor import command
from pretrain.doctor.finding import Finding
from pretrain.engine.ds_config import DEFAULT, resolve_ds_config
from shards.errors import UserError
from tests.pretrain.data.small_shards import make_config


def findings(config: Config) -> dict[str, Finding]:
    return {f'{finding.group}/{finding.what.partition(":")[0]}': finding for finding in command.diagnose(config)}


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
    assert [finding['what'] for finding in failed] == ['norm', str(tmp_path)]
    assert 'choose auto' in failed[0]['remedy'] and 'data_pipeline tokenizer import' in failed[1]['remedy']


def test_deepspeeds_json_is_checked_as_the_run_checks_it(
    home: Path, settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'other.json'
    shipped = json.loads(DEFAULT.read_text())
    path.write_text(json.dumps({**shipped, 'train_batch_size': 8}))  # of the number of processes, which is not known
    assert run(['doctor', '--deepspeed', str(path), *settings]) == 0
    assert 'other.json' in capsys.readouterr().out
    path.write_text(json.dumps({**shipped, 'gradient_clipping': 7.0}))
    assert run(['doctor', '--json', '--deepspeed', str(path), *settings]) == 1
    (failed,) = [finding for finding in json.loads(capsys.readouterr().out) if finding['state'] == 'FAIL']
    with pytest.raises(UserError) as said:
        resolve_ds_config(path, make_config(home), 2, 'cpu')
    assert failed['remedy'] == str(said.value) and 'gradient_clipping is 7.0' in failed['remedy']


def test_the_table_fits_a_hundred_columns() -> None:
    """Lines end between words; a path is never divided."""
    path = '/a/folder/' + 'deep/' * 15 + 'file'
    long = [
        Finding('launch', 'Slurm', 'note', 'sinfo: error: ' * 20, 'ask ' * 60),
        Finding('data', path, 'FAIL', 'is not there', f'get {path}'),
    ]
    lines = command.render([*long, Finding('disk', 'out', 'ok', 'fine')]).splitlines()
    assert all(len(line) <= 100 for line in lines), lines
    words = ' '.join(lines).split()
    assert words.count('sinfo:') == words.count('error:') == 20 and words.count('ask') == 60 and words.count(path) == 2
    assert next(line for line in lines if line.startswith('  ok')).split() == ['ok', 'out', 'fine']


def test_shards_that_do_not_fit_are_named(home: Path, tmp_path: Path) -> None:
    with (home / 'shards/cc100/train/de/manifest.json').open() as file:
        wrong = {**json.load(file), 'tokenizer': '0' * 32}
    copy = tmp_path / 'shards'
    shutil.copytree(home / 'shards', copy)
    (copy / 'cc100/train/de/manifest.json').write_text(json.dumps(wrong))
    found = findings(make_config(home, data={'shards': str(copy)}, model={'visual': {'image_size': 224}}))
    assert found['data/shards'].state == 'FAIL' and 'set data.tokenizer' in found['data/shards'].remedy


def test_too_little_room_for_checkpoints(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = os.statvfs('/')
    monkeypatch.setattr('shutil.disk_usage', lambda path: type('Usage', (), {'free': 1000, 'total': usage.f_blocks, 'used': 0})())
    found = findings(make_config(home, model={'visual': {'image_size': 224}}))
    assert found['disk/out'].state == 'FAIL' and 'checkpoint.keep' in found['disk/out'].remedy


def test_a_check_that_breaks_is_one_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Config) -> object:
        raise RuntimeError('no such thing')

    monkeypatch.setitem(command.CHECKS, 'launch', broken)
    found = findings(make_config(home, model={'visual': {'image_size': 224}}))
    assert found['launch/check'].state == 'FAIL' and 'no such thing' in found['launch/check'].found
    assert 'data/shards' in found
