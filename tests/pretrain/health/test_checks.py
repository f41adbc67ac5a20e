from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.health.checks import check_folder, existing, scratch


def test_a_folder_with_room(tmp_path: Path) -> None:
    result = check_folder(tmp_path, 0.001)
    assert (result.check, result.status) == (f'disk {tmp_path}', 'ok') and result.text.endswith(' GB free')
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_bad(tmp_path: Path) -> None:
    result = check_folder(tmp_path, 1e9)
    assert result.status == 'bad' and result.text.endswith('GB free, 1e+09 are needed')


def test_a_full_disk_is_bad_although_nothing_is_asked_of_it() -> None:
    result = check_folder(Path('/proc'), 0)  # a file system of 0 bytes, in which nobody can write
    assert result.status == 'bad' and 'GB' not in result.text


def test_a_folder_that_is_not_there_is_bad(tmp_path: Path) -> None:
    assert check_folder(tmp_path / 'disk', 0).text == 'No such file or directory'


def test_existing_folder(tmp_path: Path) -> None:
    assert existing(tmp_path / 'runs' / 'new') == tmp_path
    assert existing(tmp_path) == tmp_path


def test_scratch_is_what_the_node_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TMPDIR', '/nowhere')
    assert scratch() == Path('/nowhere')
