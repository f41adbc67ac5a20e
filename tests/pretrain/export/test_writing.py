"""Where an export may be written, what its files are like, and what a kill in the middle leaves."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.cli import run as pretrain_command
from pretrain.export import write_export
from pretrain.export.card import CARD
from pretrain.model.folder import BEST, CONFIG
from pretrain.model.load import WEIGHTS, find_model, load_model
from pretrain.records import EVENTS
from shards.errors import UserError
from tests.support.disks import mounted
from tests.support.distributed import alone
from tests.support.exported import made
from tests.support.launch import BIN, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model as a fine-tuning's run has it."""
    return made(tmp_path_factory.mktemp('source') / BEST).parent


@pytest.fixture(scope='module')
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('out') / 'export'
    assert pretrain_command(['export', str(source), '--out', str(out)]) == 0
    return out


@pytest.mark.parametrize('inside', ['', 'checkpoints', 'checkpoints/step-0000002', 'checkpoints/export', 'best'])
@pytest.mark.parametrize('sign', [EVENTS, 'checkpoints/step-0000002/state.json'])
def test_an_export_does_not_stand_in_for_a_run(source: Path, tmp_path: Path, inside: str, sign: str) -> None:
    """`config.json` there would be taken for the run's model, however far the run goes on."""
    file = tmp_path / 'run' / sign
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(UserError, match=r'whose model it would stand in for; choose another, such as .*/run/export$'):
        pretrain_command(['export', str(source), '--out', str(tmp_path / 'run' / inside)])
    assert not list(tmp_path.rglob(CONFIG))


def test_a_folder_of_ones_own_that_is_called_checkpoints_is_none_of_a_run(source: Path, tmp_path: Path) -> None:
    assert pretrain_command(['export', str(source), '--out', str(tmp_path / 'checkpoints' / 'mine')]) == 0
    assert pretrain_command(['export', str(source), '--out', str(tmp_path / 'run' / 'export')]) == 0


def test_an_export_is_no_run(exported: Path, tmp_path: Path) -> None:
    """Its card would have lost the figures."""
    with pytest.raises(UserError, match='is an export and no run; copy that folder, or export the run again'):
        pretrain_command(['export', str(exported), '--out', str(tmp_path / 'x2')])
    assert not (tmp_path / 'x2').exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    with mounted(tmp_path / 'disk', '128k') as disk:
        yield disk


def test_what_cannot_be_written_is_one_line(source: Path, small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    full = small_disk / 'x'
    for out, why in (
        (tmp_path / 'file', 'Not a directory'),
        (tmp_path / 'file' / 'x', 'Not a directory'),
        (full, 'No space left on device'),
    ):
        with pytest.raises(UserError) as caught:
            pretrain_command(['export', str(source), '--out', str(out)])
        assert f'no export can be written to {out} (' in str(caught.value) and why in str(caught.value) and '\n' not in str(caught.value)
    assert not list(full.iterdir()), 'nothing is left of what found no room'
    done = run([*alone(), str(BIN / 'pretrain'), 'export', str(source), '--out', '/proc/x'], tmp_path)
    assert done.returncode == 2 and done.stdout == '' and done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: no export can be written to /proc/x (')


def test_files_have_the_permissions_of_the_umask(source: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        pretrain_command(['export', str(source), '--out', str(tmp_path / 'out')])
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / 'out').iterdir()} == {0o640}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_kill_leaves_the_old_export_the_new_one_or_none(exported: Path, source: Path, tmp_path: Path) -> None:
    """SIGKILL before every rename and removal, and some of the writes, of an export over that of another model and other code."""
    old = Path(shutil.copytree(exported, tmp_path / 'old'))
    for path in old.glob('*.py'):
        path.write_text(path.read_text() + '# of an earlier version\n')
    made(tmp_path / 'other' / BEST, dim=32)
    write_export(find_model(tmp_path / 'other'), tmp_path / 'others', tmp_path)
    for name in (WEIGHTS, CONFIG):
        shutil.copy(tmp_path / 'others' / name, old)
    before, after = content(old), content(exported) | {CARD: b''}
    seen = set()
    for kill_at in range(1000):
        out = Path(shutil.copytree(old, tmp_path / 'killed'))
        child = os.fork()
        if child == 0:
            killed_at(kill_at, out)
            write_export(find_model(source), out, source)
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        found = content(out)
        if CONFIG in found:
            assert found in (before, after | {CARD: found[CARD]}), f'a mixture, after a kill at operation {kill_at}'
            seen.add(found == before)
        if ended == 0:
            break
        assert os.WTERMSIG(ended) == signal.SIGKILL, kill_at
        if kill_at % 10 == 0:
            write_export(find_model(source), out, source)
            assert {path.name for path in out.iterdir()} == after.keys(), 'what was left half written goes'
        shutil.rmtree(out)
    assert kill_at > 40 and seen == {True, False}
    load_model(out)


def killed_at(number: int, out: Path) -> None:
    """Let this process kill itself before its operation `number` in `out`."""
    counted = opened = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal counted, opened
        if event not in ('os.rename', 'os.remove', 'open') or not str(arguments[0]).startswith(str(out)):
            return
        if event == 'open':
            opened += 1
            if opened % 10:
                return
        if counted == number:
            os.kill(os.getpid(), signal.SIGKILL)
        counted += 1

    sys.addaudithook(hook)
