from __future__ import annotations

import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch.utils.data import dataloader

from pretrain.config import TASKS, Config, dump_config
from pretrain.data import loader as loader_module
from pretrain.data.batch import TaskBatch
from pretrain.data.loader import StepBatches, TrainLoader
from pretrain.data.packing import Packed, StepData
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import make_config
from tests.pretrain.data.test_batch import equal

ROOT = Path(__file__).parents[3]


def run(
    config: Config, tokenizer: Tokenizer, first: int, last: int, rank: int = 0, world: int = 1, skip: tuple[tuple[int, int], ...] = ()
) -> list[StepData]:
    """The data of steps first..last-1."""
    stopped = config.model_copy(update={'steps': last})
    with TrainLoader(stopped, tokenizer, rank, world, first, skip) as loader:
        got = list(loader)
    assert [step for step, _ in got] == list(range(first, last))
    return [data for _, data in got]


def assert_same(one: StepData, other: StepData) -> None:
    assert list(one) == list(other)
    for task in one:
        for a, b in zip(one[task], other[task], strict=True):
            for field in fields(TaskBatch):
                assert equal(getattr(a, field.name), getattr(b, field.name)), (task, field.name)


def samples(data: StepData) -> dict[str, list[dict[str, object]]]:
    """Everything about every sample, in order: batches cut in any way into ranks and micro-batches can be compared."""
    out: dict[str, list[dict[str, object]]] = {}
    for task, batches in data.items():
        out[task] = []
        for batch in batches:
            pairs = zip(batch.sample_ids.tolist(), batch.languages, strict=True)
            rows: list[dict[str, object]] = [{'id': sample, 'language': language} for sample, language in pairs]
            for name in ('match', 'image_ids', 'text_ids', 'other_ids', 'own_image_ids'):
                for row, value in zip(rows, getattr(batch, name) if getattr(batch, name) is not None else [], strict=False):
                    row[name] = value.item()
            for name in ('text', 'other', 'decoder_input', 'own_text_ids'):
                if (texts := getattr(batch, name)) is not None:
                    for row, ids in zip(rows, texts.ids.split(texts.lengths.tolist()), strict=True):
                        row[name] = ids.tolist()
            if batch.images is not None and batch.image_rows is not None:
                for index, image in zip(batch.image_rows.tolist(), batch.images, strict=True):
                    rows[index]['image'] = image.numpy().tobytes()
            if batch.masked is not None and batch.masked_labels is not None:
                starts = batch.text.lengths.cumsum(0) - batch.text.lengths
                for place, label in zip(batch.masked, batch.masked_labels, strict=True):
                    index = int(torch.searchsorted(starts, place, right=True)) - 1
                    masks = rows[index].setdefault('masks', [])
                    assert isinstance(masks, list)
                    masks.append((int(place - starts[index]), int(label)))
            out[task] += rows
    return out


@pytest.mark.parametrize('world', [2, 4])
def test_ranks_together_see_the_global_batch(config: Config, tokenizer: Tokenizer, world: int) -> None:
    whole = [samples(data) for data in run(config, tokenizer, 5, 8)]
    assert list(whole[0]) == list(TASKS) and all(len(rows) == 16 for rows in whole[0].values())
    parts = [run(config, tokenizer, 5, 8, rank, world) for rank in range(world)]
    for step in range(3):
        joined = [samples(part[step]) for part in parts]
        assert whole[step] == {task: [row for part in joined for row in part[task]] for task in TASKS}


def test_micro_batches_change_nothing(home: Path, config: Config, tokenizer: Tokenizer) -> None:
    (data,) = run(config, tokenizer, 3, 4)
    (other,) = run(make_config(home, batch={'micro': 6}), tokenizer, 3, 4)
    assert [len(batch) for batch in data['mt']] == [8, 8] and [len(batch) for batch in other['mt']] == [6, 6, 4]
    assert samples(data) == samples(other)


def test_a_task_with_a_size_of_its_own(home: Path, tokenizer: Tokenizer) -> None:
    sized = make_config(home, batch={'tasks': {'cmcl': 24}})
    first, second = (run(sized, tokenizer, 2, 3, rank, 2)[0] for rank in (0, 1))
    for data in (first, second):
        assert sum(len(batch) for batch in data['cmcl']) == 12 and sum(len(batch) for batch in data['mt']) == 8
    (whole,) = run(sized, tokenizer, 2, 3)
    assert samples(whole)['cmcl'] == samples(first)['cmcl'] + samples(second)['cmcl']


def test_a_late_step_is_the_one_reached_by_iterating(config: Config, tokenizer: Tokenizer) -> None:
    walked = run(config, tokenizer, 41_322, 41_329)
    (direct,) = run(config, tokenizer, 41_327, 41_328)
    assert_same(walked[5], direct)


def test_seed_and_step_matter(home: Path, config: Config, tokenizer: Tokenizer) -> None:
    first, second = map(samples, run(config, tokenizer, 0, 2))
    (other,) = map(samples, run(make_config(home, seed=4), tokenizer, 0, 1))
    for task in TASKS:
        assert first[task] != second[task] and first[task] != other[task]


@pytest.mark.parametrize('task', TASKS)
def test_the_same_records_are_drawn_from_anew_at_another_step(
    config: Config, tokenizer: Tokenizer, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Languages, captions, crops, masks, prefixes, negatives and sides: what an epoch later would otherwise be as before."""
    batches = StepBatches(config, tokenizer, 0, 1)
    pool = batches.orders[task].batch(0)
    monkeypatch.setattr(batches.orders[task], 'batch', lambda batch: pool)
    first, again, other = (batches.batches(task, batch) for batch in (0, 0, 1))
    assert_same({task: first}, {task: again})
    assert [batch.sample_ids.tolist() for batch in first] == [batch.sample_ids.tolist() for batch in other]
    with pytest.raises(AssertionError):
        assert_same({task: first}, {task: other})


def test_a_task_does_not_depend_on_the_others(home: Path, config: Config, tokenizer: Tokenizer) -> None:
    (alone,) = run(make_config(home, tasks=['itm', 'mt']), tokenizer, 2, 3)
    (every,) = run(config, tokenizer, 2, 3)
    assert_same(alone, {task: every[task] for task in ('itm', 'mt')})


def test_a_skipped_window_is_passed_over_exactly(config: Config, tokenizer: Tokenizer) -> None:
    plain = run(config, tokenizer, 0, 8)
    skipped = run(config, tokenizer, 0, 5, skip=((2, 4), (6, 7)))
    for data, expected in zip(skipped, (0, 1, 4, 5, 7), strict=True):
        assert_same(data, plain[expected])


def sharing(home: Path, **changes: object) -> Config:
    """With two sizes: ITM's pictures are others."""
    return make_config(home, mixture={'share_images': True}, batch={'tasks': {'itm': 8}}, **changes)


def pictures_of(data: StepData) -> dict[str, dict[int, bytes]]:
    """Task -> key -> pixels; equal keys of a task have equal pixels."""
    out: dict[str, dict[int, bytes]] = {}
    for task, batches in data.items():
        found = out.setdefault(task, {})
        for batch in batches:
            if batch.images is None or batch.image_keys is None:
                assert batch.images is None and batch.image_keys is None
                continue
            for key, image in zip(batch.image_keys.tolist(), batch.images, strict=True):
                assert found.setdefault(key, image.numpy().tobytes()) == image.numpy().tobytes()
    return out


def test_tasks_share_pictures_with_their_augmentation(home: Path, tokenizer: Tokenizer) -> None:
    first, second = (pictures_of(data) for data in run(sharing(home, data={'augment_min_scale': 0.3}), tokenizer, 3, 5))
    for found in (first, second):
        assert {task for task in found if found[task]} == {'cmcl', 'itm', 'mlm', 'vplm', 'mmmt'}
        assert found['vplm'] == found['cmcl'] and len(found['cmcl']) == 16
        for task in ('mlm', 'mmmt'):
            common = found[task].keys() & found['cmcl'].keys()
            assert len(common) >= 4 and all(found[task][key] == found['cmcl'][key] for key in common)
    assert first['mlm'].keys() <= first['cmcl'].keys(), 'all of its pictures'
    assert first['cmcl'].keys() != second['cmcl'].keys()


def test_negatives_of_itm_are_pictures_of_the_batch(home: Path, tokenizer: Tokenizer) -> None:
    config = make_config(home, mixture={'share_images': True}, tasks=['cmcl', 'itm'])
    replaced = 0
    for data in run(config, tokenizer, 0, 4):
        found = pictures_of(data)
        assert found['itm'].items() <= found['cmcl'].items()
        for batch in data['itm']:
            assert batch.image_keys is not None and batch.own_image_ids is not None and batch.image_ids is not None
            other = batch.image_keys != batch.sample_ids
            assert torch.equal(other, batch.image_ids != batch.own_image_ids)
            replaced += int(other.sum())
    assert replaced > 4


def test_shared_pictures_do_not_depend_on_ranks_steps_before_or_processes(home: Path, tokenizer: Tokenizer) -> None:
    """Resuming at another number of ranks, with what was skipped, goes on with the same samples and pictures."""
    config = sharing(home, task={'itm_negatives': 'random'})
    walked = run(config, tokenizer, 0, 9)
    (skipped,) = run(sharing(home, data={'workers': 2}), tokenizer, 5, 6, skip=((2, 4),))
    assert_same(skipped, walked[7])
    shares = [run(config, tokenizer, 7, 8, rank, 2)[0] for rank in range(2)]
    assert samples(walked[7]) == {task: [row for share in shares for row in samples(share)[task]] for task in TASKS}
    together: dict[str, dict[int, bytes]] = {}
    for share in shares:
        for task, found in pictures_of(share).items():
            together.setdefault(task, {}).update(found)
    assert together == pictures_of(walked[7])


def test_loader_processes_change_nothing(home: Path, config: Config, tokenizer: Tokenizer) -> None:
    state = torch.get_rng_state()
    here = run(config, tokenizer, 4, 10)
    there = run(make_config(home, data={'workers': 2}), tokenizer, 4, 10)
    for one, other in zip(here, there, strict=True):
        assert_same(one, other)
    assert torch.equal(torch.get_rng_state(), state), 'the global generator is left alone'


@pytest.mark.parametrize('workers', [0, 2])
def test_a_broken_shard_ends_in_one_line(home: Path, tokenizer: Tokenizer, tmp_path: Path, workers: int) -> None:
    shards = Path(shutil.copytree(home / 'shards', tmp_path / 'shards'))
    for path in (shards / 'opus' / 'train' / 'de-en').rglob('*.mds'):
        path.write_bytes(path.read_bytes()[:-1])
    config = make_config(home, data={'shards': str(shards), 'workers': workers}, steps=10)
    message = r'de-en/.*mds cannot be read \(\d+ bytes instead of \d+\)'
    with TrainLoader(config, tokenizer) as loader, pytest.raises(UserError, match=message) as caught:
        list(loader)
    assert '\n' not in str(caught.value)


def test_what_does_not_fit_is_refused_at_once(config: Config, home: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r'batch\.global=16 cannot be shared equally by 3 processes'):
        TrainLoader(config, tokenizer, 0, 3)
    with pytest.raises(UserError, match='task cmcl needs cc3m'):
        TrainLoader(make_config(home, data={'shards': str(home / 'nowhere')}), tokenizer)
    manifests = TrainLoader(make_config(home, tasks=['mt']), tokenizer).manifests
    assert set(manifests) == {'opus/train/de-en', 'opus/train/en-sw', 'opus/train/en-zh'}


def test_no_step_is_left(config: Config, tokenizer: Tokenizer) -> None:
    assert run(config, tokenizer, 20, 20) == []


def test_loader_processes_start_again_when_the_thread_that_pins_has_died(
    home: Path, config: Config, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a thread of torch's gets the tensors of a killed process in vain, and ends; these are its words then."""
    words = 'Pin memory thread exited unexpectedly'
    starts: list[int] = []
    told: list[str] = []
    assert words in inspect.getsource(dataloader), 'torch says it otherwise'

    def start(self: TrainLoader, steps: range) -> Iterator[Packed | str]:
        starts.append(steps.start)
        yield from map(self.dataset.__getitem__, steps if len(starts) > 1 else steps[:1])
        raise RuntimeError(words)

    monkeypatch.setattr(TrainLoader, '_start', start)
    stopped = config.model_copy(update={'steps': 3})
    with TrainLoader(stopped, tokenizer, tell=told.append) as loader:
        got = list(loader)
    assert [step for step, _ in got] == [0, 1, 2] and starts == [0, 1]
    assert told == ['a loader process was killed before step 2; all were started again']


@pytest.mark.parametrize(('accelerator', 'pins'), [('cpu', False), ('cuda', True), (None, True)])
def test_batches_are_pinned_for_a_gpu_alone(
    home: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, accelerator: str | None, pins: bool
) -> None:
    """Not on a machine with one, in a run that leaves it to others."""
    asked = []

    def started(dataset: object, *, pin_memory: bool, **options: object) -> list[object]:
        asked.append(pin_memory)
        return []

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(loader_module, 'DataLoader', started)
    monkeypatch.delenv('DS_ACCELERATOR', raising=False)
    if accelerator is not None:
        monkeypatch.setenv('DS_ACCELERATOR', accelerator)
    TrainLoader(make_config(home, data={'workers': 1}), tokenizer)._start(range(3))
    assert asked == [pins]


TRAINER = """
import sys, time
from pretrain.config import load_config
from pretrain.data.loader import StepBatches, TrainLoader
from shards.tokenizer import Tokenizer

if __name__ == '__main__':
    config = load_config(sys.argv[1])
    loader = TrainLoader(config, Tokenizer.load(config.data.tokenizer))
    for step, data in loader:
        print(*(worker.pid for worker in loader._iterator._workers), flush=True)
        time.sleep(600)
"""


def test_loader_processes_die_with_a_killed_trainer(home: Path, tmp_path: Path) -> None:
    script, settings = tmp_path / 'trainer.py', tmp_path / 'config.yaml'
    script.write_text(TRAINER)
    settings.write_text(dump_config(make_config(home, data={'workers': 2})))
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, str(script), str(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as trainer:
        assert trainer.stdout is not None
        workers = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(workers) == 2 and all(alive(pid) for pid in workers)
        for warning in (signal.SIGINT, signal.SIGUSR1):
            os.kill(workers[0], warning)
        time.sleep(0.2)
        assert alive(workers[0]), "a warning that the whole process group gets is the trainer's to act on"
        trainer.kill()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False
