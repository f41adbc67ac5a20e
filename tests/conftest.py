"""How workers share the suite (`pytest -n 4 --no-loadscope-reorder`, as `make test` has it)."""

from __future__ import annotations

import gc
import os
import shlex
import signal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.browser import browser  # noqa: F401 - a fixture
from tests.support.distributed import SESSION, UNTRACKED, alone, fork_server

ROOT = Path(__file__).parent
# What takes longest begins first, that which mostly waits (Slurm's timers, time-outs) beside what computes.
FIRST = (
    'cluster', 'fault/test_exactness.py', 'pretrain/test_run.py', 'pretrain/test_dry_run.py', 'fault/test_elastic.py',
    'fault/test_training.py',
    'pretrain/test_ablation.py', 'pretrain/test_presets.py', 'distributed/test_parity.py', 'pretrain/kernels/test_parity.py',
    'benchmarks/test_step.py', 'pretrain/health/test_health.py', 'fault/test_storage.py', 'fault/test_save.py',
    'downstream/test_finetune_command.py', 'downstream/test_translation_finetuning.py', 'captions',
)  # fmt: skip
# Here METEOR is asked for, whose program reads its tables for seven seconds of a processor in every process. The first of these starts one
# that serves them all.
CAPTIONS = (
    'downstream/metrics/test_captions.py', 'downstream/pages/test_examples.py', 'downstream/pages/test_in_a_browser.py',
    'downstream/test_caption_finetuning.py', 'downstream/test_coco.py', 'benchmarks/parts/test_text_floors.py',
)  # fmt: skip


def share(place: str) -> str:
    """What a file, relative to this folder, is done together with: itself, the room of the one Slurm cluster, or others with captions."""
    if place.startswith('cluster/'):
        return 'cluster'
    return 'captions' if place in CAPTIONS else place


class Shares(LoadScopeScheduling):
    """A share is one worker's: what its tests have in common is made once."""

    def _split_scope(self, nodeid: str) -> str:
        return share(nodeid.partition('::')[0].removeprefix(f'{ROOT.name}/'))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    return Shares(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Workers are forked from one process that has imported the tests, for which each of them would take ten seconds of a processor. (Not
    where there is a GPU: something may have asked for it, and no fork can use its driver then.)
    """
    if Path('/dev/nvidiactl').exists():
        return
    os.environ['PYTHONPATH'] = UNTRACKED
    fork_server(*map(str, config.invocation_params.args))
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join(alone())


# Every run draws the same examples: what fails did so before. `--hypothesis-profile search` draws others, and more of them. Neither has a
# deadline: on a busy machine an example that writes a file takes any time.
hypothesis.settings.register_profile('same', derandomize=True, deadline=None)
hypothesis.settings.register_profile('search', max_examples=1000, deadline=None)
hypothesis.settings.load_profile('same')


def pytest_configure() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and all processes of the tests would inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault(SESSION, str(os.getpid()))  # of the first one, which starts the workers
    gc.disable()  # among all that the tests import there is no garbage to look for


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> tuple[int, int]:
        file = item.path.relative_to(ROOT).as_posix()
        found = share(file)
        return FIRST.index(found) if found in FIRST else len(FIRST), CAPTIONS.index(file) if file in CAPTIONS else 0

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.enable()


def pytest_collection_finish() -> None:
    """All that was imported stays: the collector need not look at it again and again. What is started does without trackers."""
    gc.collect()
    gc.freeze()
    os.environ['PYTHONPATH'] = UNTRACKED
