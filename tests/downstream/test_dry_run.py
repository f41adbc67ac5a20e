"""`downstream BENCHMARK finetune --dry-run`: all of a start but its first step, in every rank; nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from downstream.cli import run as downstream
from pretrain.records import METRICS, read_lines
from tests.support import finetunings
from tests.support.launch import ROOT, prewarmed, run, succeed
from tests.support.toy_benchmarks import write_translations, write_xvnli

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

SETTINGS = ['steps=1', 'batch.global=12', 'batch.micro=4', 'precision=fp32', 'data.workers=0', 'log.tensorboard=false']
CAN_START = 'dry run: this run can start; no step was made, nothing was written to '


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `xvnli`, whose last development picture is cut off in `broken`, and `multi30k`, where that is so of the second one."""
    root = tmp_path_factory.mktemp('dry')
    for name in ('xvnli', 'broken'):
        write_xvnli(root / name, 2)
    for name in ('multi30k', 'cut'):
        write_translations(root / name, 1)
    for picture in (root / 'broken/images/dev5.jpg', root / 'cut/images/val1.jpg'):
        picture.write_bytes(picture.read_bytes()[:100])
    return root


def words(benchmark: str, export: Path, data: Path, out: Path, *settings: str) -> list[str]:
    return finetunings.words([benchmark, 'finetune'], export, data, out, *SETTINGS, *settings)


def ranks(count: int) -> list[str]:
    """A launcher of one's own, which starts the ranks."""
    return [*prewarmed(count), str(ROOT / 'downstream/run.py')]


def files(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob('*') if path.is_file()}


@pytest.mark.usefixtures('launched')
def test_a_good_one_makes_no_step_and_the_real_one_begins_with_its_losses(
    export: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, before = tmp_path / 'there' / 'out', files(export, data)
    arguments = words('xvnli', export, data / 'xvnli', out)
    assert downstream([*arguments, '--ranks', '2', '--dry-run']) == 0
    printed = capfd.readouterr().err
    assert files(export, data) == before and not list(tmp_path.iterdir())
    assert printed.count(f'{CAN_START}{out}') == 1 and 'Traceback' not in printed
    told = dict(re.findall(r'^  (\w+) +(.*)$', printed, re.MULTILINE))
    assert told['processes'] == '2 on 1 machine, cpu' and re.fullmatch(r'18 examples; tokenizer of [\d,]+ ids', told['data'])
    assert re.fullmatch(r'accuracy of en [01]\.\d{3}  \(.* s\)', told['evaluated'])
    assert told['evaluation'] == 'development set: 18 rows' and told['model'].endswith('; a new run')
    assert 'can be written' in told['checkpoints'] and ' GB a process' in told['memory']
    name, loss = told['losses'].split()

    succeed([*ranks(2), *arguments], tmp_path)
    assert read_lines(out / METRICS)[0]['loss'][name] == pytest.approx(float(loss), abs=6e-4)


def test_beside_a_run_that_is_done_it_touches_nothing(export: Path, data: Path, tmp_path: Path) -> None:
    arguments = words('multi30k-translation', export, data / 'multi30k', tmp_path / 'out')
    succeed([*ranks(1), *arguments], tmp_path)
    before = files(tmp_path)
    printed = succeed([*ranks(1), *arguments, '--dry-run'], tmp_path)
    assert 'goes on after step 1 of 1' in printed and 'none is left: the run has all its 1' in printed and files(tmp_path) == before


@pytest.mark.usefixtures('launched')
def test_a_picture_that_only_an_evaluation_would_meet(export: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By the command itself, with the exit code that the ranks gave."""
    arguments = words('xvnli', export, data / 'broken', tmp_path / 'out')
    code = downstream([*arguments, '--ranks', '1', '--dry-run'])
    printed = ''.join(capfd.readouterr())
    assert code == 2, printed
    (error,) = [line for line in printed.splitlines() if 'error' in line]
    assert error.startswith(f'error: picture {data}/broken/images/dev5.jpg cannot be decoded') and 'Traceback' not in printed
    assert not list(tmp_path.iterdir())


def test_a_benchmark_that_writes(export: Path, data: Path, tmp_path: Path) -> None:
    printed = succeed([*ranks(1), *words('multi30k-translation', export, data / 'multi30k', tmp_path / 'out'), '--dry-run'], tmp_path)
    assert (
        'development set: 96 captions (en de), 48 pictures' in printed
        and re.search(r'  evaluated +BLEU of de [\d.]+  \(', printed)
        and CAN_START in printed
        and not list(tmp_path.iterdir())
    )


@pytest.mark.parametrize('kind', ['picture', 'base', 'folder'])
def test_what_would_stop_it_stops_the_dry_one(export: Path, data: Path, tmp_path: Path, kind: str) -> None:
    folder, out, settings = data / 'multi30k', tmp_path / 'out', list[str]()
    match kind:
        case 'picture':  # of the second rank alone
            folder, said = data / 'cut', f'picture {data}/cut/images/val1.jpg cannot be decoded'
        case 'base':
            settings, said = ['model.ffn=48'], 'leave `model` as the base has it'
        case 'folder':
            (tmp_path / 'file').write_text('a file where a folder should be')
            out, said = tmp_path / 'file' / 'out', 'choose another `out`'
    before = files(tmp_path)
    done = run([*ranks(2), *words('multi30k-translation', export, folder, out, *settings), '--dry-run'], tmp_path)
    printed = done.stdout + done.stderr
    assert done.returncode == 2, printed
    (error,) = [line for line in printed.splitlines() if line.startswith('error:')]
    assert said in error and 'Traceback' not in printed and files(tmp_path) == before
