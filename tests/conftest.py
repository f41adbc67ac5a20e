"""How the suite is shared by workers (`pytest -n 2 --dist loadgroup`, which is what `make test` does)."""
from __future__ import annotations

import gc
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
# What takes longest begins first, that which mostly waits (Slurm's timers, time-outs) beside what computes.
FIRST = ('cluster', 'fault/test_exactness.py', 'pretrain/test_run.py', 'fault/test_training.py', 'fault/test_elastic.py')


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file is one worker's, and so is the room of the one Slurm cluster: what its tests share is made once."""
    order: dict[str, int] = {}
    for item in items:
        place = item.path.relative_to(ROOT)
        group = 'cluster' if place.parts[0] == 'cluster' else place.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
        order[item.nodeid] = FIRST.index(group) if group in FIRST else len(FIRST)
    items.sort(key=lambda item: order[item.nodeid])


def pytest_collection_finish() -> None:
    """All that was imported stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
