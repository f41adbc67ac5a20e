"""pretrain/run.py with faults of the training itself, on one rank: the arguments are run.py's, FAULTS in the environment says what happens.

    {"rank": 1, "nan": [steps of data], "spike": [...], "hang": step of data, "slow": [first, last, seconds]}

The faults belong to steps of data, not to updates, as those of bad records would. They hit the task plm; the data must be loaded in the
rank's own process.
"""
from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pretrain import run
from pretrain.data.loader import StepBatches
from pretrain.data.order import data_step
from pretrain.tasks import SUMMED

FAULTS: dict[str, Any] = json.loads(os.environ['FAULTS'])
MINE = int(os.environ['RANK']) == FAULTS['rank']
now = -1  # the step of data that is trained on

load = StepBatches.step_data


def step_data(self: StepBatches, step: int) -> Any:
    global now
    now = data_step(step, self.skip)
    return load(self, step)


class Faulty:
    """plm, with the faults."""

    def __init__(self, task: Any):
        self.task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def sums(self, model: Any, batch: Any) -> Any:
        sums = self.task.sums(model, batch)
        if not MINE or not model.training:
            return sums
        first, last, seconds = FAULTS['slow']
        if first <= now < last:
            time.sleep(seconds)
        if now == FAULTS['hang']:
            time.sleep(10_000)
        factor = float('nan') if now in FAULTS['nan'] else 20.0 if now in FAULTS['spike'] else 1.0
        return {name: value * factor for name, value in sums.items()}


StepBatches.step_data = step_data  # type: ignore[method-assign]
SUMMED['plm'] = Faulty(SUMMED['plm'])

if __name__ == '__main__':
    sys.exit(run.run_command(run.quiet_main))
