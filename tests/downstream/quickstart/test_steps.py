"""Real commands: what is done is not done again, what was made with other settings is moved away, what failed is tried again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from downstream.quickstart.__main__ import CONFIG, overrides, settings, steps
from downstream.quickstart.steps import Step, Steps, clock
from pretrain.config import load_config
from shards.errors import UserError

ROOT = Path(__file__).parents[3]
APPEND = (
    'import sys, pathlib; folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True); (folder / "log").open("a").write(sys.argv[2])'
)


def append(out: Path, name: str, letter: str, **options: object) -> Step:
    """A step that adds a letter to OUT/name/log."""
    return Step(name, [sys.executable, '-c', APPEND, str(out / name), letter], out / name, **options)  # type: ignore[arg-type]


def log(out: Path, name: str) -> str:
    return (out / name / 'log').read_text()


def test_a_second_start_has_nothing_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = [append(tmp_path, 'first', 'a'), append(tmp_path, 'second', 'b')]
    seconds = Steps(tmp_path).run(plan)
    assert '[1/2] first  (0:00 since the start)' in capfd.readouterr().out
    assert Steps(tmp_path).run(plan) == seconds
    assert capfd.readouterr().out.count('done before') == 2
    assert (log(tmp_path, 'first'), log(tmp_path, 'second')) == ('a', 'b')


def test_what_other_code_did_is_kept_and_said(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / 'package'
    package.mkdir()
    monkeypatch.setattr('downstream.quickstart.steps.PACKAGES', [package])
    (package / 'module.py').write_text('a = 1')
    for said, change in ((False, 'module.txt'), (False, 'module.py'), (True, 'module.txt')):
        Steps(tmp_path).run([append(tmp_path, 'first', 'a')])
        assert ('done by other code' in capfd.readouterr().out) is said
        (package / change).write_text(f'a = {change}')
    (package / 'module.py').write_text('a = 1')
    package.parent.joinpath('elsewhere').mkdir()
    monkeypatch.setattr('downstream.quickstart.steps.PACKAGES', [package.rename(tmp_path / 'elsewhere' / 'package')])
    Steps(tmp_path).run([append(tmp_path, 'first', 'a')])
    assert 'done by other code' not in capfd.readouterr().out, 'the folder of the repository may move'
    assert log(tmp_path, 'first') == 'a'


def test_a_changed_command_starts_afresh_and_what_follows_runs_again(tmp_path: Path) -> None:
    Steps(tmp_path).run([append(tmp_path, 'first', 'a'), append(tmp_path, 'second', 'b')])
    Steps(tmp_path).run([append(tmp_path, 'first', 'A'), append(tmp_path, 'second', 'b')])
    assert log(tmp_path, 'first') == 'A'
    assert (tmp_path / 'old/first.1/log').read_text() == 'a'
    assert log(tmp_path, 'second') == 'bb'  # the same command: it goes on in its folder


def test_changed_input_and_lost_output(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    source.write_text('one')
    Steps(tmp_path).run([append(tmp_path, 'first', 'a', inputs=[source])])
    source.write_text('two')
    Steps(tmp_path).run([append(tmp_path, 'first', 'a', inputs=[source])])
    assert (tmp_path / 'old/first.1/log').exists()
    (tmp_path / 'first/log').unlink()
    (tmp_path / 'first').rmdir()
    Steps(tmp_path).run([append(tmp_path, 'first', 'a', inputs=[source])])
    assert log(tmp_path, 'first') == 'a'


@pytest.mark.parametrize(('resumes', 'expected'), [(True, 'xy'), (False, 'y')])
def test_a_failed_step_goes_on_or_starts_afresh(tmp_path: Path, resumes: bool, expected: str) -> None:
    flag = tmp_path / 'flag'
    code = (
        'import sys, pathlib; folder, flag = map(pathlib.Path, sys.argv[1:]); folder.mkdir(exist_ok=True); '
        '(folder / "log").open("a").write("y" if flag.exists() else "x"); sys.exit(0 if flag.exists() else 7)'
    )
    plan = [Step('fails', [sys.executable, '-c', code, str(tmp_path / 'made'), str(flag)], tmp_path / 'made', resumes=resumes)]
    with pytest.raises(UserError, match="step 'fails' ended with code 7"):
        Steps(tmp_path).run(plan)
    flag.touch()
    Steps(tmp_path).run(plan)
    assert log(tmp_path, 'made') == expected


def test_environment_and_transient_options(tmp_path: Path) -> None:
    code = 'import os, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(os.environ["THREADS"])'
    command = [sys.executable, '-c', code, str(tmp_path / 'made')]
    step = Step('step', command, tmp_path / 'made', environment={'THREADS': '1'}, transient=['-B'])
    assert step.typed().startswith(f'THREADS=1 {sys.executable} -B -c')
    assert step.key() == Step('step', step.command, step.output).key()
    Steps(tmp_path).run([step])
    assert (tmp_path / 'made').read_text() == '1'


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_a_signal_reaches_the_command_and_is_no_failure(tmp_path: Path, name: str) -> None:
    child = 'import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print("up", flush=True); time.sleep(60)'
    parent = (
        'import sys; from pathlib import Path; from downstream.quickstart.steps import Step, Steps; from shards.errors import run_command; '
        f'out = Path(sys.argv[1]); step = Step("sleeps", [sys.executable, "-c", {child!r}], out / "made"); '
        'sys.exit(run_command(lambda: Steps(out).run([step]) and None))'
    )
    command = [sys.executable, '-c', parent, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    while process.stdout.readline() != 'up\n':
        pass
    began = time.monotonic()
    if name == 'SIGINT':
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    else:
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert 'run the same command again to continue' in errors
    assert time.monotonic() - began < 20


def test_output_in_a_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = 'import sys, pathlib; print("a table"); print("progress", file=sys.stderr); pathlib.Path(sys.argv[1]).touch()'
    step = Step('step', [sys.executable, '-c', code, str(tmp_path / 'made')], tmp_path / 'made', log=tmp_path / 'logs' / 'step.txt')
    Steps(tmp_path).run([step])
    printed = capfd.readouterr()
    assert 'progress' in printed.err
    assert 'a table\n' not in printed.out
    assert (tmp_path / 'logs/step.txt').read_text() == 'a table\n'


def test_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / 'steps.json').write_text('{')
    with pytest.raises(UserError, match=r'steps\.json cannot be read'):
        Steps(tmp_path)


def test_plain_demo_types_the_documented_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(CONFIG, settings(Path('runs/demo'), None, 0))
    plan = {step.name: step for step in steps(Path('runs/demo'), config, overrides(config), 0)}
    training = plan['pre-training']
    assert ' '.join(training.command) == (
        'deepspeed --num_accelerators 2 pretrain/run.py --deepspeed ds_configs/zero2.json --config configs/sample.yaml'
    )
    assert training.environment == {'DS_ACCELERATOR': 'cpu', 'OMP_NUM_THREADS': '1'}
    other = {step.name: step for step in steps(Path('runs/demo'), config, overrides(config), 0)}['pre-training']
    assert training.transient[:2] == ['--quiet', '--master_port'] and training.transient != other.transient, 'each demo has a port'
    assert training.key() == other.key()
    assert {f'shards of {corpus}' for corpus in ('cc3m', 'cc12m', 'wit', 'cc100', 'opus')} < set(plan)


def test_shortened_demo_overrides_only_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(CONFIG, settings(Path('runs/ci'), 6, 3))
    assert (config.steps, config.seed, config.eval.every, config.checkpoint.every) == (6, 3, 6, 6)
    changed = overrides(config)
    assert {'steps=6', 'seed=3', 'out=runs/ci/run', 'data.shards=runs/ci/shards', 'data.tokenizer=runs/ci/tokenizer'} <= set(changed)
    assert load_config(CONFIG, changed) == config
    assert steps(Path('runs/ci'), config, changed, 1)[6].command[:3] == ['deepspeed', '--num_accelerators', '1']
    assert steps(Path('runs/ci'), config, changed, 8)[6].environment == {}


def test_clock() -> None:
    assert (clock(5.9), clock(65), clock(3600)) == ('0:05', '1:05', '60:00')
