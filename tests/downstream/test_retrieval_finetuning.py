"""`downstream multi30k-retrieval finetune` on a set that a tiny model learns, and its training examples."""

from __future__ import annotations

import math
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from downstream.cli import run
from downstream.finetuning import FineTuning
from downstream.retrieval_finetuning import Retrieval
from pretrain.records import EVALUATION, read_lines
from pretrain.tasks import CONTRASTIVE
from shards.errors import UserError
from tests.downstream.in_ranks import train_in_ranks
from tests.support import finetunings
from tests.support.toy_benchmarks import write_multi30k
from tests.support.toy_world import COLOURS, PLACES, said

SETTINGS = [
    'steps=150', 'optimizer.lr=1e-2', 'optimizer.warmup=20', 'eval.every=50', 'checkpoint.every=150', 'batch.global=48', 'batch.micro=24',
    *finetunings.SETTINGS,
]  # fmt: skip
KINDS = len(COLOURS) * len(PLACES)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('retrieval') / 'multi30k'
    write_multi30k(root)
    return root


def workload(export: Path, data: Path, *settings: str) -> FineTuning:
    return finetunings.workload(Retrieval, export, data, *settings)


def test_recipe_of_the_paper(export: Path, data: Path) -> None:
    config = workload(export, data).config
    assert (config.batch.global_, config.optimizer.lr, config.data.caption_tokens, config.model.labels) == (4096, 5e-5, 64, None)
    assert config.finetune and (config.finetune.epochs, config.finetune.languages, config.finetune.classes) == (10, ['en'], [])
    long = workload(export, data, 'batch.global=5').config
    assert (long.steps, long.optimizer.warmup) == (math.ceil(10 * 5 * KINDS / 5), 50)


def test_every_caption_of_every_language_is_an_example(export: Path, data: Path) -> None:
    work = workload(export, data, 'finetune.languages=[en, de]', 'batch={global: 24, micro: 24}', 'steps=5', 'optimizer.warmup=0')
    assert len(work.benchmark) == 2 * 5 * KINDS == 5 * 24
    seen = [batch for _, step in work.loader(0, 1, 0, (), lambda news: None) for batch in step['cmcl']]
    assert sorted(torch.cat([batch.sample_ids for batch in seen]).tolist()) == list(range(120))
    texts = [work.tokenizer.decode(ids.tolist()) for batch in seen for ids in batch.text.ids.split(batch.text.lengths.tolist())]
    assert sorted(texts) == sorted([said(language, *kind) for language in ('en', 'de') for kind in product(COLOURS, PLACES)] * 5)
    pictures = torch.cat([batch.image_ids for batch in seen if batch.image_ids is not None])
    assert torch.unique(pictures, return_counts=True)[1].tolist() == [2] * 5 * KINDS  # a picture is the same in both languages
    captions = torch.cat([batch.text_ids for batch in seen if batch.text_ids is not None])
    assert torch.unique(captions, return_counts=True)[1].tolist() == [5] * 2 * KINDS


def test_one_rank_and_two_see_the_same_batches(export: Path, data: Path) -> None:
    work = workload(export, data, 'batch={global: 24, micro: 8}', 'steps=3', 'optimizer.warmup=0')

    def seen(world: int) -> list[list[Any]]:
        ranks = [[step['cmcl'] for _, step in work.loader(rank, world, 0, (), lambda news: None)] for rank in range(world)]
        steps: list[list[Any]] = []
        for parts in zip(*ranks, strict=True):
            columns = [(batch.sample_ids, batch.image_ids, batch.text_ids) for part in parts for batch in part]
            steps.append(torch.cat([torch.stack(ids, 1) for ids in columns]).tolist())
        return steps

    one, two = seen(1), seen(2)
    assert [sorted(step) for step in two] == [sorted(step) for step in one]
    assert [len(step) for step in one] == [24] * 3 and one[0] != one[1]


def test_what_belongs_together_is_no_negative(export: Path, data: Path, tmp_path: Path) -> None:
    """The captions of a picture, the pictures of a caption, and a picture that is there twice under two names."""
    copy = Path(shutil.copytree(data, tmp_path / 'copy'))
    shutil.copyfile(copy / 'images/train1.jpg', copy / 'images/train0.jpg')
    work = workload(export, copy, 'finetune.languages=[en, de]', 'batch={global: 120, micro: 120}', 'steps=1', 'optimizer.warmup=0')
    ((_, step),) = work.loader(0, 1, 0, (), lambda news: None)
    (batch,) = step['cmcl']
    positives = CONTRASTIVE['cmcl'].positives(CONTRASTIVE['cmcl'].keys(batch))
    rows = batch.sample_ids.tolist()  # of the picture row % 60, whose captions say what row % KINDS does; 0 and 1 are one picture
    for (i, row), (j, other) in product(enumerate(rows), repeat=2):
        if row % KINDS == other % KINDS or {row % 60, other % 60} == {0, 1}:
            assert positives[i, j], (row, other)
        elif {row % KINDS, other % KINDS} != {0, 1}:
            assert not positives[i, j], (row, other)


def test_hashes_depend_on_captions_and_pictures(export: Path, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / 'copy'))
    before = workload(export, copy).check()
    assert workload(export, data).check() == before
    picture = copy / 'images/val3.jpg'
    picture.write_bytes(picture.read_bytes() + b'\0')
    assert [name for name, value in workload(export, copy).check().items() if value != before[name]] == ['dev pictures']
    assert workload(export, copy, 'finetune.languages=[de]').check()['train'] != before['train']


@pytest.mark.slow
@pytest.mark.launcher
def test_learns_to_find_pictures(export: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'out'
    folders = ['--model', str(export), '--data', str(data), '--out', str(out)]
    train_in_ranks(2, tmp_path, 'multi30k-retrieval', 'finetune', *folders, *SETTINGS)
    assert run(['multi30k-retrieval', 'evaluate', '--model', str(out), *folders[2:]]) == 0
    assert 'fine-tuned on en' in capsys.readouterr().out
    result = finetunings.result(out)
    luck = np.mean([min(1, k / KINDS) for k in (1, 5, 10)])
    assert result['setting'] == 'fine-tuned on en'
    assert list(result['languages']) == ['de', 'en'] and result['languages']['en']['chance']['mR'] == pytest.approx(luck)
    assert result['languages']['en']['mR'] > 0.7 > luck + 0.25
    history = read_lines(out / EVALUATION)
    assert [line['step'] for line in history] == [0, 50, 100, 150] and set(history[0]['dev']) == {'en'}
    assert history[-1]['dev']['en'] > history[0]['dev']['en'] + 0.15
    with pytest.raises(UserError, match=r'was trained with finetune.languages = .*, this run asks for'):
        run(['multi30k-retrieval', 'finetune', *folders, *SETTINGS, 'finetune.languages=[en, de]'])


def test_a_training_set_that_is_not_there(export: Path, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / 'copy'))
    with pytest.raises(UserError, match='has no captions in fr for train; it has de en'):
        workload(export, copy, 'finetune.languages=[fr]')
    (copy / 'images/train7.jpg').unlink()
    with pytest.raises(UserError, match=r'picture .*train7.jpg is missing; put the pictures there'):
        workload(export, copy)
    (copy / 'data/task1/image_splits/train.txt').unlink()
    with pytest.raises(UserError, match=r'train.txt is missing; the folder has test_2016_flickr val'):
        workload(export, copy)
