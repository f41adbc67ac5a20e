"""Which setting an unknown one may mean."""

from __future__ import annotations

import pytest

from pretrain.config import Config
from pretrain.config.nearest import ELSEWHERE, nearest
from pretrain.config.section import keys


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        # as others call it
        ('learning_rate', 'optimizer.lr'),
        ('optimizer.learning_rate', 'optimizer.lr'),
        ('optimizer.learnin_rate', 'optimizer.lr'),
        ('optimizer.learning-rate', 'optimizer.lr'),
        ('batch_size', 'batch.global'),
        ('batch.size', 'batch.global'),
        ('finetune.num_epochs', 'steps (of a fine-tuning: finetune.epochs)'),
        # misspelt
        ('batch.gloabl', 'batch.global'),
        ('finetune.epoch', 'finetune.epochs'),
        ('optimizer.rl', 'optimizer.lr'),
        ('stepz', 'steps'),
        # of another section
        ('workers', 'data.workers'),
        ('language', 'eval.retrieval.languages'),
        ('model.image_size', 'model.visual.image_size'),
        # by its words
        ('random_seed', 'seed'),
        ('max_lr', 'optimizer.lr'),
        ('optimizer.warmup_ratio', 'optimizer.warmup'),
        ('task.code_switching', 'task.code_switch'),
        # like nothing
        ('foo', None),
        ('a', None),
        ('temperature', None),
        ('optimizer.sped', None),
        ('data.path', None),
        ('1', None),
    ],
)
def test_what_is_meant(key: str, meant: str | None) -> None:
    assert nearest(key) == meant


def test_names_of_elsewhere_lead_to_settings() -> None:
    known = keys(Config)
    assert [meant for meant in ELSEWHERE.values() if meant.split()[0] not in known] == []
    assert not ELSEWHERE.keys() & set(known)


def test_in_a_wrong_section_it_is_the_setting_of_that_name() -> None:
    names = {key.rpartition('.')[2] for key in keys(Config)} - ELSEWHERE.keys()
    assert len(names) > 80
    assert [name for name in names if (nearest(f'nowhere.{name}') or '').rpartition('.')[2] != name] == []
