"""pretrain/run.py with faults of the training itself, on one rank: the arguments are run.py's, FAULTS in the environment says what happens.

    {"rank": 1, "nan": [steps of data], "spike": [...], "hang": step of data, "slow": [first, last, seconds], "memory": step of data,
     "late": [step of data, seconds that it comes late]}

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

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pretrain import run
from pretrain.data.loader import StepBatches
from pretrain.data.order import data_step
from pretrain.tasks import forward

FAULTS: dict[str, Any] = json.loads(os.environ['FAULTS'])
MINE = int(os.environ.get('RANK', '0')) == FAULTS['rank']
now = -1  # the step of data that is trained on

load = StepBatches.step_data


def step_data(self: StepBatches, step: int) -> Any:
    global now
    now = data_step(step, self.skip)
    late, seconds = FAULTS.get('late', (-1, 0))
    if MINE and now == late:
        time.sleep(seconds)
    return load(self, step)


def written(model: Any, terms: Any, rows: Any, stream: Any) -> Any:
    """The sums of what the decoder writes, with the faults; here of plm alone."""
    total = plain(model, terms, rows, stream)
    if MINE and model.training and 'plm' in terms.sums and total is not None:
        first, last, seconds = FAULTS['slow']
        if first <= now < last:
            time.sleep(seconds)
        if now == FAULTS['hang']:
            time.sleep(10_000)
        if now == FAULTS.get('memory'):  # as a GPU says it
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. Of the allocated memory 1 GiB is reserved.')
        factor = float('nan') if now in FAULTS['nan'] else 20.0 if now in FAULTS['spike'] else 1.0
        terms.sums['plm']['plm'] = terms.sums['plm']['plm'] * factor
        total = total * factor
    return total


StepBatches.step_data = step_data  # type: ignore[method-assign]
plain, forward._written = forward._written, written

if __name__ == '__main__':
    sys.exit(run.run_command(lambda: run.said_once(run.main)))
