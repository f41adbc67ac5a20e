"""TensorBoard, Weights & Biases and MLflow, the real libraries, offline: a run is one run there, whatever was stopped, and its figures are
those of metrics.jsonl, evaluation.jsonl and events.jsonl.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain.boards.scalars import of_evaluation, of_metrics
from pretrain.records import EVALUATION, EVENTS, METRICS, read_lines
from tests.support.distributed import alone, free_port
from tests.support.launch import BIN, ROOT, Started, command, prewarmed, steps, succeed
from tests.support.tracking import mlflow_client

EMOJI = ROOT / 'sample/evaluation/multi30k_emoji'
ATTEMPTS = {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}  # step -> start of the run that made it

pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def wandb_records(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(file, record) of every offline run, as wandb's own reader gives them."""
    for path in sorted((out / 'wandb').glob('offline-run-*/run-*.wandb')):
        done = wandb('leet', 'inspect', '--json', str(path))
        for line in done.splitlines():
            yield path, json.loads(line)


def wandb(*arguments: str) -> str:
    """The output of wandb's own command, which asks no server for anything."""
    told = {**os.environ, 'WANDB_ERROR_REPORTING': 'false'}
    done = subprocess.run([BIN / 'wandb', *arguments], capture_output=True, text=True, check=False, env=told)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope='module', autouse=True)
def tracked() -> Iterator[None]:
    """Processes find the trackers, which tests/support/untracked/ keeps from those of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('PYTHONPATH', raising=False)
        yield


@pytest.fixture(scope='module')
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """(folder, output) of a run of 6 steps on two ranks that was stopped after 3."""
    out = tmp_path_factory.mktemp('tracked') / 'run'
    settings = [
        'log.wandb=tiny', f'log.mlflow={out.parent / "mlruns"}', 'log.tensorboard=true', 'eval.every=3', 'data.workers=0',
        'log.peak_tflops=0.01', f'eval.retrieval={{data: {EMOJI}, languages: [en]}}',
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('WANDB_MODE', 'offline')
        patch.delenv('MLFLOW_ALLOW_FILE_STORE', raising=False)
        printed = [succeed(command(prewarmed(2, PYTHONPATH=''), home, out, *settings, f'steps={count}'), out.parent) for count in (3, 6)]
    yield out, ''.join(printed)


@pytest.fixture
def lines(run: tuple[Path, str]) -> dict[int, dict[str, float]]:
    """Step -> the figures that are to be shown."""
    found: dict[int, dict[str, float]] = {}
    for name, scalars in ((METRICS, of_metrics), (EVALUATION, of_evaluation)):
        for line in read_lines(run[0] / name):
            found.setdefault(line['step'], {}).update(scalars(line))
    return found


def test_tensorboard(run: tuple[Path, str]) -> None:
    out = run[0]
    expected: dict[str, dict[int, float]] = {}

    def told(step: int, values: dict[str, float], group: str = '') -> None:
        for name, value in values.items():
            expected.setdefault(group + name, {})[step] = value

    for line in read_lines(out / METRICS):
        told(line['step'], {name: line[name] for name in ('lr', 'grad_norm', 'data_wait', 'utilisation', 'logit_scale', 'seconds')})
        told(line['step'], {'temperature': 1 / line['logit_scale'], 'skipped': float(line['skipped'])})
        told(line['step'], {'total': line['samples_per_s'], **line['task_samples_per_s']}, 'samples_per_s/')
        for group in ('loss', 'tokens', 'examples'):
            told(line['step'], line[group], f'{group}/')
    for line in read_lines(out / EVALUATION):
        for task, report in line['heldout'].items():
            told(line['step'], {task: report['mean']}, 'heldout/')
            told(line['step'], report['languages'], f'heldout_{task}/')
        told(line['step'], {task: line['heldout'][task]['accuracy'] for task in ('cmcl', 'clcl', 'itm')}, 'accuracy/')
        told(line['step'], {'en': line['retrieval']['en']['text_to_image'][2]}, 'retrieval_r10/')
        told(line['step'], {'en': line['retrieval']['en']['image_to_text'][2]}, 'retrieval_i2t_r10/')
    for line in read_lines(out / EVENTS):
        if line['event'] == 'checkpoint':
            told(line['step'], {name: line[name] for name in ('seconds', 'stall')}, 'checkpoint/')
    board = EventAccumulator(str(out / 'tensorboard'))
    board.Reload()
    assert {'loss/mmmt', 'tokens/de', 'examples/prefixed.plm', 'heldout_mlm/de'} <= expected.keys()
    assert list(expected['lr']) == list(range(1, 7)) and list(expected['checkpoint/stall']) == [3, 6]
    assert set(board.Tags()['scalars']) == expected.keys()
    for name, values in expected.items():
        assert {event.step: event.value for event in board.Scalars(name)} == pytest.approx(values, rel=1e-6), name


def test_wandb(run: tuple[Path, str], lines: dict[int, dict[str, float]]) -> None:
    found: dict[int, dict[str, float]] = {}
    ids, files, projects, codes = set(), set(), set(), []
    for path, record in wandb_records(run[0]):
        if record['type'] == 'run':
            ids.add(record['run']['run_id'])
            projects.add(record['run']['project'])
            files.add(path)
            assert record['run']['config']['update']['optimizer.lr'] == 0.003
        elif record['type'] == 'exit':
            codes.append(record['exit'].get('exit_code', 0))
        elif record['type'] == 'history':
            row = record['history']['item']
            found.setdefault(row['step'], {}).update(row)
    assert len(files) == 2 and len(ids) == 1 and projects == {'tiny'} and codes == [0, 0], 'one run, in the files of two starts'
    for step, figures in lines.items():
        assert {name: found[step][name] for name in figures} == pytest.approx(figures)
    assert {step: row['attempt'] for step, row in sorted(found.items())} == ATTEMPTS


def test_wandb_would_send_what_is_kept(run: tuple[Path, str]) -> None:
    """The command that a run without a key names, short of sending; and the state that its reader shows of the last start."""
    kept = sorted((run[0] / 'wandb').glob('offline-run-*'))
    told = wandb('sync', '--dry-run', *map(str, kept))
    assert 'Would sync 2 run(s)' in told and all(folder.name in told for folder in kept)
    shown = json.loads(wandb('leet', 'inspect', '--summary', '--json', str(kept[-1])))
    last = read_lines(run[0] / METRICS)[-1]
    assert (shown['state'], shown['exit_code'], shown['name'], shown['project']) == ('finished', 0, 'run', 'tiny')
    assert shown['summary']['step'] == 6 and shown['summary']['loss/mt'] == pytest.approx(last['loss']['mt'])


def test_mlflow(run: tuple[Path, str], lines: dict[int, dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    client = mlflow_client(str(run[0].parent / 'mlruns'))
    experiment = client.get_experiment_by_name('ernie-unix2')
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == 'FINISHED' and tracked.info.run_name == 'run'
    assert tracked.data.params['model.dim'] == '32' and tracked.data.params['optimizer.lr'] == '0.003'
    names = {name for figures in lines.values() for name in figures}
    assert {'loss/total', 'tokens/de', 'utilisation', 'temperature', 'samples_per_s/mt', 'heldout/plm', 'skipped'} <= names
    for name in names:
        told = {metric.step: metric.value for metric in client.get_metric_history(tracked.info.run_id, name)}
        assert told == pytest.approx({step: figures[name] for step, figures in lines.items() if name in figures})
    assert [metric.step for metric in client.get_metric_history(tracked.info.run_id, 'checkpoint/seconds')] == [3, 6]
    assert {metric.step: metric.value for metric in client.get_metric_history(tracked.info.run_id, 'attempt')} == ATTEMPTS


def test_trackers_that_work_say_once_where_the_run_is(run: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line at each of two starts, beside the header's; nothing of the libraries' own."""
    out, printed = run
    store = out.parent / 'mlruns'
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    client = mlflow_client(str(store))
    (tracked,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    later = f'its files are kept: `wandb sync {out}/wandb/offline-run-*` sends them'
    lines = [line.strip() for line in printed.splitlines() if 'wandb' in line or 'mlflow' in line.lower()]
    watched = f'tensorboard --logdir {out} or project tiny of Weights & Biases or MLflow in {store} or pretrain report {out}'
    opened = [f'log.wandb: WANDB_MODE=offline, so nothing is sent; {later}', f'log.mlflow: run {tracked.info.run_id} in {store}']
    assert sorted(lines) == sorted(2 * [*opened, f'watch        {watched}'])
    assert 'Warning' not in printed


def test_trackers_that_fail_cost_a_line_and_no_step(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder can be made where a file is: neither wandb's nor MLflow's."""
    out = tmp_path / 'run'
    out.mkdir()
    (out / 'wandb').write_text('')
    (tmp_path / 'mlruns').write_text('')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    settings = ['log.wandb=tiny', f'log.mlflow={tmp_path / "mlruns"}', 'steps=2', 'data.workers=0', 'tasks=[mt]']
    printed = succeed(command(prewarmed(1, PYTHONPATH=''), home, out, *settings), tmp_path)
    for name in ('log.wandb', 'log.mlflow'):
        assert printed.count(f'{name} gets no more figures (') == 1, printed
    assert len(read_lines(out / METRICS)) == 2


def test_ctrl_c_ends_them_with_the_run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT goes to every process of the terminal, that of wandb among them."""
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    out, store = tmp_path / 'run', tmp_path / 'mlruns'
    settings = ['log.wandb=tiny', f'log.mlflow={store}', 'steps=100000', 'data.workers=0', 'tasks=[mt]']
    started = Started(command(prewarmed(1, PYTHONPATH=''), home, out, *settings), tmp_path, WANDB_MODE='offline')
    started.wait_for(lambda: steps(out) >= 3)
    assert started.interrupt() == 130, started.log.read_text()
    client = mlflow_client(str(store))
    (tracked,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    last = steps(out)
    assert tracked.info.status == 'KILLED'
    assert client.get_metric_history(tracked.info.run_id, 'loss/mt')[-1].step == last
    exits = [record['exit']['exit_code'] for _, record in wandb_records(out) if record['type'] == 'exit']
    assert exits == [130]
    printed = started.log.read_text()
    assert 'no more figures' not in printed and 'Traceback' not in printed


BOARDS = """
import sys
from pretrain.boards.opened import open_boards
from pretrain.config import load_config
boards = open_boards(load_config(None, sys.argv[1:]), 0)
for step, value in ((1, 0.5), (2, 0.25), (None, None), (2, 0.125)):
    for board in boards:
        board.back(1) if step is None else board.scalars(step, {'loss/mt': value})
for board in boards:
    board.close(0)
"""


def boards(folder: Path, *settings: str) -> list[str]:
    """A process that tells what BOARDS says."""
    (folder / 'boards.py').write_text(BOARDS)
    return [*alone(PYTHONPATH=''), str(folder / 'boards.py'), *settings]


NO_KEY = 'log.wandb: no key here (`wandb login`), so nothing is sent; '
NO_ANSWER = 'the server of log.wandb does not answer, or refuses the key ('


@pytest.mark.parametrize(('key', 'mode', 'said'), [('', None, NO_KEY), ('', '', NO_KEY), ('5' * 40, None, NO_ANSWER)])
def test_wandb_without_its_server(key: str, mode: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, files that can be sent later, and steps that were made again are told apart, in MLflow too. An empty mode is none."""
    for name in ('WANDB_MODE', 'WANDB_API_KEY', 'NETRC'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))  # where a person's key is
    monkeypatch.setenv('WANDB_BASE_URL', f'http://127.0.0.1:{free_port()}')
    monkeypatch.setenv('WANDB_HTTP_TIMEOUT', '2')
    if key:
        monkeypatch.setenv('WANDB_API_KEY', key)
    if mode is not None:
        monkeypatch.setenv('WANDB_MODE', mode)
    out, store = tmp_path / 'run', tmp_path / 'mlruns'
    out.mkdir()
    settings = ['log.wandb=tiny', f'log.mlflow={store}', 'log.tensorboard=false', f'out={out}']
    told = succeed(boards(tmp_path, *settings), tmp_path).splitlines(keepends=True)
    printed = ''.join(line for line in told if not line.startswith('log.mlflow: run '))
    assert len(told) == 2
    later = f'its files are kept: `wandb sync {out}/wandb/offline-run-*` sends them'
    assert printed.startswith(said) and printed.endswith(later + '\n') and printed.count('\n') == 1, printed
    rows = []
    monkeypatch.delenv('WANDB_MODE', raising=False)  # wandb's own command refuses an empty one
    for _, record in wandb_records(out):
        if record['type'] == 'history':
            row = record['history']['item']
            rows.append((row['step'], row['loss/mt'], row['attempt']))
    assert rows == [(1, 0.5, 1), (2, 0.25, 1), (2, 0.125, 2)]
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    client = mlflow_client(str(store))
    (tracked,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    history = [client.get_metric_history(tracked.info.run_id, name) for name in ('loss/mt', 'attempt')]
    assert [(loss.step, loss.value, attempt.value) for loss, attempt in zip(*history, strict=True)] == rows


def test_wandb_switched_off_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {'WANDB_MODE': 'disabled', 'HOME': str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / 'run'
    out.mkdir()
    assert succeed(boards(tmp_path, 'log.wandb=tiny', 'log.tensorboard=false', f'out={out}'), tmp_path) == ''
    assert not list(out.rglob('*.wandb'))
