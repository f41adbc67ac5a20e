"""The order of a fine-tuning's data, which model is kept, and when there are enough evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from downstream.classification import class_scores, rows_batch
from downstream.data.order import example_at
from downstream.finetuning import FineTuning, check_bound
from downstream.xvnli import XVNLI
from pretrain.data.batch import TaskBatch
from pretrain.data.loader import StepLoader
from pretrain.model.load import load_model
from pretrain.model.unix2 import UniX2
from shards.errors import UserError
from tests.support import finetunings
from tests.support.toy_benchmarks import write_xvnli

SIZE = 54  # training rows


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('xvnli')
    write_xvnli(root)
    return root


def workload(export: Path, data: Path, *settings: str) -> FineTuning:
    return finetunings.workload(XVNLI, export, data, 'steps=6', 'batch={global: 12, micro: 4}', *settings)


@pytest.fixture(scope='module')
def work(export: Path, data: Path) -> FineTuning:
    return workload(export, data)


def ids(batches: Sequence[TaskBatch]) -> list[int]:
    return torch.cat([batch.sample_ids for batch in batches]).tolist()


def load(work: FineTuning, rank: int, world: int, start: int = 0, skip: Sequence[Sequence[int]] = ()) -> list[list[TaskBatch]]:
    """The micro-batches of a rank, step by step."""
    loader: StepLoader = work.loader(rank, world, start, skip, lambda news: None)
    return [data['entailment'] for _, data in loader]


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    epochs = [[example_at(7, epoch * SIZE + place, SIZE) for place in range(SIZE)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != list(range(SIZE))
    assert [example_at(8, place, SIZE) for place in range(SIZE)] != epochs[0]


def test_steps_take_the_order_one_after_the_other(work: FineTuning) -> None:
    seen = [row for step in load(work, 0, 1) for row in ids(step)]
    assert seen == [example_at(work.config.seed, place, SIZE) for place in range(6 * 12)]
    assert [len(batch) for batch in load(work, 0, 1)[0]] == [4, 4, 4]


def test_ranks_share_a_global_batch_and_a_resumed_run_its_steps(work: FineTuning) -> None:
    """The same examples, pictures included, whatever the ranks, and wherever it starts."""
    alone = load(work, 0, 1)
    shared = [load(work, rank, 3) for rank in range(3)]
    for step, batches in enumerate(alone):
        others = [batch for rank in shared for batch in rank[step]]
        assert ids(others) == ids(batches)
        assert torch.equal(torch.cat([batch.images for batch in others]), torch.cat([batch.images for batch in batches]))  # type: ignore[misc]
    assert [ids(step) for step in load(work, 0, 1, start=4)] == [ids(step) for step in alone[4:]]
    assert [ids(step) for step in load(work, 0, 1, skip=[(1, 3)])][1] == ids(alone[3])


def test_a_batch_says_what_is_true(work: FineTuning) -> None:
    train = work.benchmark.train  # type: ignore[attr-defined]
    for batch in load(work, 0, 1)[0]:
        assert batch.classes is not None and batch.classes.sum(1).eq(1).all()
        for row, classes in zip(batch.sample_ids.tolist(), batch.classes, strict=True):
            assert int(classes.argmax()) == train.targets[row][0][0]
        texts = [work.tokenizer.decode(text.tolist()) for text in batch.text.ids.split(batch.text.lengths.tolist())]
        assert texts == [train.texts[row] for row in batch.sample_ids.tolist()]


def test_text_alone(export: Path, data: Path) -> None:
    work = workload(export, data, 'finetune.text_only=true')
    batch = load(work, 0, 1)[0][0]
    assert batch.images is None and batch.classes is not None
    loaded = load_model(export)
    fine_tuned = UniX2(work.config.model, loaded.tokenizer.vocabulary).eval()
    kind = work.benchmark
    assert isinstance(kind, XVNLI)
    configs = work.config, workload(export, data).config
    blank, full = (rows_batch(config, loaded.tokenizer, kind.task, kind.dev, kind.pictures, range(9)) for config in configs)
    assert blank.images is None and full.images is not None and len(full.images) == 9
    scores = class_scores(fine_tuned, blank)
    assert torch.allclose(scores[:3], scores[3:6], atol=1e-6)  # three pictures, the same three texts
    first, second = class_scores(fine_tuned, full)[::3][:2]
    assert not torch.allclose(first, second, atol=1e-6)


def test_a_broken_picture_ends_the_loader_in_one_line(export: Path, data: Path, tmp_path: Path) -> None:
    write_xvnli(tmp_path, 2)
    (tmp_path / 'images/train0.jpg').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'train0.jpg cannot be decoded .*; replace it by the original'):
        load(workload(export, tmp_path), 0, 1)
    (tmp_path / 'images/train0.jpg').unlink()
    with pytest.raises(UserError, match=r'train0.jpg, which en/train.jsonl names, is missing'):
        workload(export, tmp_path)


def evaluations(*scores: float) -> list[dict[str, Any]]:
    return [{'step': 10 * number, 'dev': {'en': score}} for number, score in enumerate(scores)]


def test_the_first_of_the_best_is_kept(work: FineTuning) -> None:
    assert work.best(evaluations(0.9)) is None  # not trained yet
    assert work.best(evaluations(0.9, 0.2, 0.5, 0.5, 0.4)) == 20


def test_early_stopping(export: Path, data: Path) -> None:
    patient = workload(export, data, 'finetune.patience=2')
    assert not patient.settled(evaluations(0.9, 0.4, 0.3))
    assert patient.settled(evaluations(0.9, 0.4, 0.3, 0.4))
    assert not patient.settled(evaluations(0.9, 0.4, 0.3, 0.5))
    assert not workload(export, data, 'finetune.patience=0').settled(evaluations(*[0.5] * 50))
    assert not patient.settled(evaluations(*[0.0] * 50))  # BLEU before a word is right


def test_what_a_run_is_bound_to(work: FineTuning, tmp_path: Path) -> None:
    hashes = work.check()
    assert set(hashes) == {'model', 'train', 'train pictures', 'dev', 'dev pictures'}
    check_bound(hashes, hashes, tmp_path, work.config)
    for name, message in (('model', 'comes from another model than'), ('dev pictures', 'comes from another dev pictures set than')):
        with pytest.raises(UserError, match=message):
            check_bound(hashes, {**hashes, name: '0' * 64}, tmp_path, work.config)
