"""MLflow's own server, asked over HTTP: it has a run's figures, and a run does without one that is away or dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from pretrain.boards.mlflow_run import shown, where
from pretrain.boards.scalars import of_metrics
from pretrain.records import METRICS, read_lines
from tests.support.distributed import free_port
from tests.support.launch import BIN, SECONDS, Started, command, prewarmed, steps, succeed
from tests.support.tracking import mlflow_client

pytestmark = [pytest.mark.slow, pytest.mark.launcher]

SETTINGS = ['data.workers=0', 'tasks=[mt]']
NO_MORE = 'log.mlflow gets no more figures ('


@pytest.fixture(scope='module', autouse=True)
def tracked() -> Iterator[None]:
    """Processes find MLflow, which tests/support/untracked/ keeps from those of other tests, and give up after one more attempt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('PYTHONPATH', raising=False)
        patch.setenv('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '1')
        patch.delenv('MLFLOW_ALLOW_FILE_STORE', raising=False)
        yield


@dataclass(frozen=True)
class Server:
    """A running `mlflow server`."""

    uri: str
    process: subprocess.Popen[bytes]

    def alive(self) -> bool:
        with suppress(OSError), urlopen(f'{self.uri}/health', timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def kill(self) -> None:
        """SIGKILL to it and to its workers."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)


@pytest.fixture(scope='module')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp('server'), free_port()
    place = ['--host', '127.0.0.1', '--port', port, '--workers', '1', '--backend-store-uri', f'sqlite:///{folder}/runs.db']
    artifacts = ['--no-serve-artifacts', '--default-artifact-root', str(folder / 'artifacts')]
    environment = {**os.environ, 'MLFLOW_SERVER_ENABLE_JOB_EXECUTION': 'false'}
    with (folder / 'log').open('w') as log:
        process = subprocess.Popen(
            [str(BIN / 'mlflow'), 'server', *place, *artifacts], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    running = Server(f'http://127.0.0.1:{port}', process)
    try:
        deadline = time.monotonic() + SECONDS
        while not running.alive():
            assert process.poll() is None and time.monotonic() < deadline, (folder / 'log').read_text()
            time.sleep(0.2)
        mlflow_client(running.uri).search_experiments()  # its first answer takes longest; the end of a run waits a minute for one
        yield running
    finally:
        running.kill()


def test_a_run_that_was_started_twice_is_one_run_of_the_server(home: Path, server: Server, tmp_path: Path) -> None:
    out = tmp_path / 'run'
    settings = [*SETTINGS, f'log.mlflow={server.uri}']
    printed = [succeed(command(prewarmed(2, PYTHONPATH=''), home, out, *settings, f'steps={count}'), tmp_path) for count in (2, 4)]
    client = mlflow_client(server.uri)
    experiment = client.get_experiment_by_name('ernie-unix2')
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params['optimizer.lr']) == ('run', 'FINISHED', '0.003')
    page = f'{server.uri}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}'
    for text in printed:
        said = [line.split()[-1] for line in text.splitlines() if 'mlflow' in line.lower() and 'watch' not in line]
        assert said == [page] and f'MLflow in {server.uri}' in text, text
    lines = {line['step']: of_metrics(line) for line in read_lines(out / METRICS)}
    assert len(lines) == 4
    for name in lines[1]:
        told = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        assert told == pytest.approx({step: figures[name] for step, figures in lines.items() if name in figures}), name
    # As anybody asks who has no client.
    where = f'{server.uri}/api/2.0/mlflow/metrics/get-history?run_id={run.info.run_id}&metric_key=attempt'
    with urlopen(where, timeout=60) as answer:
        assert {metric['step']: metric['value'] for metric in json.load(answer)['metrics']} == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2}


def test_a_password_in_the_address_is_not_printed() -> None:
    assert shown('http://me:p@ss@host:5000/x') == 'http://host:5000/x' and shown('runs/mlflow@home') == 'runs/mlflow@home'
    assert where('https://me:word@host/', '7', 'ab') == 'https://host/#/experiments/7/runs/ab'


def test_a_server_that_is_away_at_the_start_costs_a_line(home: Path, tmp_path: Path) -> None:
    out, uri = tmp_path / 'run', f'http://127.0.0.1:{free_port()}'
    printed = succeed(command(prewarmed(1, PYTHONPATH=''), home, out, *SETTINGS, f'log.mlflow={uri}', 'steps=2'), tmp_path)
    assert printed.count(NO_MORE) == 1 and uri in printed and 'Traceback' not in printed, printed
    assert len(read_lines(out / METRICS)) == 2


def test_a_server_that_dies_in_the_middle_does_not_stop_a_run(home: Path, server: Server, tmp_path: Path) -> None:
    """The last of these tests: the server is gone after it."""
    out = tmp_path / 'run'
    settings = [*SETTINGS, f'log.mlflow={server.uri}', 'steps=100000']
    started = Started(command(prewarmed(1, PYTHONPATH=''), home, out, *settings), tmp_path)
    client = mlflow_client(server.uri)

    def there() -> bool:
        """Whether the server has a step."""
        experiment = client.get_experiment_by_name('ernie-unix2')
        runs = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'") if experiment else []
        time.sleep(0.2)
        return bool(runs) and 'loss/mt' in runs[0].data.metrics

    started.wait_for(there)
    server.kill()
    started.wait_for(lambda: NO_MORE in started.log.read_text())
    told = steps(out)
    started.wait_for(lambda: steps(out) >= told + 3)
    assert started.interrupt() == 130, started.log.read_text()
    printed = started.log.read_text()
    assert printed.count(NO_MORE) == 1 and 'Traceback' not in printed and f'after step {steps(out)}' in printed, printed
