"""Compilers that are not there or do not work, disks that take nothing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from pretrain.doctor.machine import compilers, disk
from tests.pretrain.data.small_shards import make_config


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the path, and where Python itself lies."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))
    monkeypatch.setattr(sys, 'executable', str(folder / 'python'))
    return folder


def test_the_compilers_of_this_machine_work(home: Path) -> None:
    states = {found.what: found.state for found in compilers(make_config(home))}
    assert states.pop('nvcc') in ('ok', 'note') and states == {'g++': 'ok', 'ninja': 'ok', 'Python.h': 'ok'}


@pytest.mark.parametrize(('kernel', 'state'), [('deepspeed', 'FAIL'), ('torch', 'note')])
def test_no_compiler(home: Path, alone: Path, kernel: str, state: str) -> None:
    """It fails where something is to be compiled; on a CPU that is DeepSpeed's AdamW alone."""
    found = {finding.what: finding for finding in compilers(make_config(home, kernels={'optimizer': kernel}))}
    assert [found[tool].state for tool in ('g++', 'ninja', 'nvcc')] == [state, state, 'note']
    assert 'apt-get install g++' in found['g++'].remedy and 'make setup' in found['ninja'].remedy and 'Python.h' not in found


def test_a_compiler_without_pythons_headers(home: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / 'g++').symlink_to(shutil.which('g++', path=os.defpath) or '/usr/bin/g++')
    monkeypatch.setattr('sysconfig.get_paths', lambda: {'include': str(tmp_path)})
    found = {finding.what: finding for finding in compilers(make_config(home, kernels={'optimizer': 'deepspeed'}))}
    assert found['g++'].state == 'ok' and found['Python.h'].state == 'FAIL'
    assert 'Python.h' in found['Python.h'].found and 'python3-dev' in found['Python.h'].remedy


def test_a_folder_that_takes_no_file(home: Path) -> None:
    """Not even from root: a file system without files of one's own."""
    config = make_config(home, out='/proc/run', model={'visual': {'image_size': 224}})
    found = [finding for finding in disk(config) if finding.found == 'not writable']
    assert [finding.state for finding in found] == ['FAIL'] and 'choose another `out`' in found[0].remedy
