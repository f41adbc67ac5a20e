"""MLflow (`log.mlflow`): a tracking server, or a folder in MLflow's own layout."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from pretrain.boards.board import Board
from pretrain.boards.kept import Attempt, kept
from pretrain.boards.scalars import Scalars
from pretrain.terminal import say

TRACKER = 'mlflow'
EXPERIMENT = 'ernie-unix2'  # unless MLFLOW_EXPERIMENT_NAME says another
PARAMETERS = 100  # in a request, MLflow's limit
LONGEST = 500  # characters of a parameter, of older servers
STATUS = {0: 'FINISHED', 129: 'KILLED', 130: 'KILLED', 138: 'KILLED', 143: 'KILLED'}  # by exit code; others: FAILED


class MlflowRun(Board):
    """One run of an experiment at `uri`, the same after every start in `out`."""

    def __init__(self, uri: str, out: Path, settings: dict[str, Any]):
        # MLflow 3 wants a database for new work; a folder is what needs no server and no package, and it is asked for by name here.
        os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._client = MlflowClient(tracking_uri=uri)
        known = kept(out, TRACKER)
        self.run = known['run'] if known.get('uri') == uri and 'run' in known else ''
        fresh = not self.run
        if fresh:
            self.run = self._client.create_run(self._experiment(), run_name=out.resolve().name).info.run_id
        else:
            self._client.update_run(self.run, status='RUNNING')
        self._attempt = Attempt(out, TRACKER, {'uri': uri, 'run': self.run})
        if fresh:
            parameters = [Param(name, str(value)[:LONGEST]) for name, value in settings.items()]
            for first in range(0, len(parameters), PARAMETERS):
                self._client.log_batch(self.run, params=parameters[first : first + PARAMETERS])
        say(f'log.mlflow: {where(uri, self._client.get_run(self.run).info.experiment_id, self.run)}')

    def _experiment(self) -> str:
        name = os.environ.get('MLFLOW_EXPERIMENT_NAME', EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def scalars(self, step: int, values: Scalars) -> None:
        now, values = int(time.time() * 1000), {**values, 'attempt': self._attempt.number}
        self._client.log_batch(self.run, metrics=[self._metric(name, value, now, step) for name, value in values.items()])

    def back(self, done: int) -> None:
        self._attempt.next()

    def close(self, code: int | None) -> None:
        self._client.set_terminated(self.run, STATUS.get(code or 0, 'FAILED'))


def where(uri: str, experiment: str, run: str) -> str:
    """Where a person looks at a run: its page on a server, else its number in a folder or a database."""
    if uri.startswith(('http://', 'https://')):
        return f'{shown(uri).rstrip("/")}/#/experiments/{experiment}/runs/{run}'
    return f'run {run} in {shown(uri)}'


def shown(uri: str) -> str:
    """A tracking server's address as it may be printed: without the name and password that can stand in it."""
    return re.sub(r'//[^/]*@', '//', uri)
