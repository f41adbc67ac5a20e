"""Versions that do not fit, launchers that are not there, a port that is taken, Slurm that is down."""

from __future__ import annotations

import os
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import which

import pytest

from pretrain.config import Config
from pretrain.doctor.finding import Finding
from pretrain.doctor.software import launch, trackers, versions
from tests.pretrain.data.small_shards import make_config


def by_name(findings: object) -> dict[str, Finding]:
    assert not isinstance(findings, Finding)
    return {finding.what: finding for finding in findings}  # type: ignore[attr-defined]


def test_packages_that_are_too_old_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the metadata of a project that asks for more than is installed."""
    folder = tmp_path / 'ernie_unix2-99.dist-info'
    folder.mkdir()
    asked = ['numpy>=99', 'pyyaml>=6', 'no-such-package-here', "no-such-extra; extra == 'dev'"]
    head = 'Metadata-Version: 2.1\nName: ernie-unix2\nVersion: 99\n'
    (folder / 'METADATA').write_text(head + ''.join(f'Requires-Dist: {line}\n' for line in asked))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = by_name(versions(Config()))
    assert (found['numpy'].state, found['numpy'].found) == ('FAIL', version('numpy')) and 'numpy>=99 is needed' in found['numpy'].remedy
    assert found['no-such-package-here'].state == 'FAIL' and found['no-such-package-here'].remedy == 'make setup'
    assert found['pyyaml'].state == 'ok' and 'no-such-extra' not in found


def test_launchers_that_are_not_there(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {found.state for found in launch(make_config(home)) if found.what in ('deepspeed', 'torchrun')} == {'ok'}
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
    found = by_name(launch(make_config(home)))
    assert [(found[tool].state, found[tool].remedy) for tool in ('deepspeed', 'torchrun')] == [('FAIL', 'make setup')] * 2


def test_a_port_that_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv('MASTER_PORT', str(port))
        taken = by_name(launch(make_config(home)))[f'port {port}']
    assert taken.state == 'note' and f'--master_port {port + 1}' in taken.remedy
    assert by_name(launch(make_config(home)))[f'port {port}'].state == 'ok'


@pytest.mark.parametrize('value', ['abc', '70000', '-1', '0'])
def test_a_port_that_is_none(home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv('MASTER_PORT', value)
    found = by_name(launch(make_config(home)))['port']
    assert found.state == 'FAIL' and value in found.found and 'MASTER_PORT' in found.remedy


def test_slurm_that_does_not_answer(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that is down: outside a job a note, inside one a failure. What `sinfo` tried before its last line is left out."""
    sinfo = tmp_path / 'sinfo'
    last = "printf 'slurm_load_partitions: Unable to contact slurm controller '; printf 'lengthy %.0s' $(seq 99)"
    sinfo.write_text(f'#!/bin/sh\n{{ echo "sinfo: error: _connect: Connection refused"; {last}; echo; }} >&2\nexit 1\n')
    sinfo.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.delenv('SLURM_JOB_ID', raising=False)
    config = make_config(home)
    (note,) = [finding for finding in launch(config) if finding.what == 'Slurm']
    assert note.state == 'note' and note.found.startswith('slurm_load_partitions: Unable to contact')
    assert note.found.endswith('lengthy …'), 'cut between words'
    monkeypatch.setenv('SLURM_JOB_ID', '7')
    assert [finding.state for finding in launch(config) if finding.what == 'Slurm'] == ['FAIL']
    sinfo.write_text('#!/bin/sh\nexit 3\n')
    assert [finding.found for finding in launch(config) if finding.what == 'Slurm'] == ['exit code 3']


@pytest.mark.skipif(which('sinfo') is None, reason='Slurm is not installed')
def test_slurms_programs_without_a_cluster(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real `sinfo`, without a cluster's configuration, says so in several lines."""
    (tmp_path / 'slurm.conf').touch()
    monkeypatch.setenv('SLURM_CONF', str(tmp_path / 'slurm.conf'))
    monkeypatch.delenv('SLURM_JOB_ID', raising=False)
    (note,) = [finding for finding in launch(make_config(home)) if finding.what == 'Slurm']
    assert note.state == 'note' and note.found.startswith('sinfo: ') and note.found.count('sinfo: ') == 1


def test_a_tracker_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(home, log={'mlflow': 'runs'})
    assert list(trackers(config)) == []
    monkeypatch.setattr(sys, 'path', [])
    monkeypatch.delitem(sys.modules, 'mlflow', raising=False)
    (finding,) = trackers(config)
    assert finding.state == 'FAIL' and 'log.mlflow' in finding.remedy
