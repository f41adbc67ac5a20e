"""Which records the image-text tasks have in common, and that each task still meets all of its own."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from pretrain.config import Config
from pretrain.data.order import Located
from pretrain.data.shared_order import SharedOrder, picture_walk, task_orders
from pretrain.data.streams import Catalog
from shards.tokenizer import Tokenizer
from tests.pretrain.data.orders import check_steps, names
from tests.pretrain.data.small_shards import make_config

SHARE = {'mixture': {'share_images': True}}
TASKS = ('cmcl', 'itm', 'vplm', 'mlm', 'mmmt', 'vtlm')


@pytest.fixture
def catalog(home: Path, tokenizer: Tokenizer) -> Catalog:
    return Catalog(home / 'shards', tokenizer)


@pytest.fixture
def sharing(home: Path) -> Config:
    return make_config(home, **SHARE)


def shared_order(config: Config, catalog: Catalog, task: str) -> SharedOrder:
    return SharedOrder(config, catalog, task, picture_walk(config, catalog, task))


def languages(located: Located) -> int:
    return len(located.stream.record(located.record)['captions'])


def test_only_tasks_with_pictures_share(home: Path, sharing: Config, config: Config, catalog: Catalog) -> None:
    def shared(config: Config) -> list[str]:
        orders = task_orders(config, catalog)
        assert list(orders) == config.tasks
        return [task for task, order in orders.items() if isinstance(order, SharedOrder)]

    assert shared(sharing) == ['cmcl', 'itm', 'mlm', 'vplm', 'mmmt']
    assert shared(make_config(home, task={'mlm_text_share': 1.0}, **SHARE)) == ['cmcl', 'itm', 'vplm', 'mmmt']
    assert shared(config) == []


@pytest.mark.parametrize('step', [0, 7, 41_327])
def test_at_every_position_tasks_have_the_same_record_or_one_that_suits_them(sharing: Config, catalog: Catalog, step: int) -> None:
    batches = {task: list(shared_order(sharing, catalog, task).batch(step)) for task in TASKS}
    base = batches['cmcl']
    assert batches['itm'] == batches['vplm'] == base
    for task in ('mmmt', 'vtlm'):
        for one, other in zip(batches[task], base, strict=True):
            assert one == other if languages(other) > 1 else languages(one) > 1
    assert sum(one == other for one, other in zip(batches['mmmt'], base, strict=True)) >= 8
    for one, other in zip(batches['mlm'], base, strict=True):
        assert one == other or one.stream.corpus == 'cc100'


@pytest.mark.parametrize('task', TASKS)
def test_a_step_does_not_depend_on_the_earlier_ones(home: Path, sharing: Config, tokenizer: Tokenizer, catalog: Catalog, task: str) -> None:
    direct = shared_order(sharing, Catalog(home / 'shards', tokenizer), task)
    check_steps(shared_order(sharing, catalog, task), direct, shared_order(make_config(home, seed=4, **SHARE), catalog, task))


@pytest.mark.parametrize(('task', 'text_share'), [*((task, 0.5) for task in TASKS), ('mlm', 0.25), ('mlm', 0.6), ('mlm', 0.0)])
def test_nothing_is_lost_and_nothing_comes_twice(home: Path, catalog: Catalog, task: str, text_share: float) -> None:
    """Draws of a source, in the order in which the task comes by them: every pass over its records is a permutation of them."""
    config = make_config(home, task={'mlm_text_share': text_share}, **SHARE)
    order = shared_order(config, catalog, task)
    steps = 160
    found: dict[int, list[tuple[str, int]]] = {}
    for step in range(steps):
        batch = order.batch(step)
        for source, located in zip(batch._sources, batch, strict=True):
            found.setdefault(source, []).append((located.stream.name, located.record))
    passes = 0
    for source, records in found.items():
        size = len(order.sources[source])
        for first in range(0, len(records), size):
            part = records[first : first + size]
            assert len(set(part)) == len(part), (order.sources[source].name, first)
            passes += len(part) == size
    assert passes >= len(found) - 1
    if task in ('cmcl', 'itm', 'vplm', 'mlm'):
        cells = {record for source, records in found.items() if source < len(order.rule) for record in records}
        assert len(cells) == 130 + 60 + 35, 'every picture'
    assert order.taken(steps * 16) == sum(len(records) for source, records in found.items() if source < len(order.rule))


@pytest.mark.parametrize('text_share', [0.5, 0.25, 0.6])
def test_mlm_keeps_its_share_of_texts(home: Path, catalog: Catalog, text_share: float) -> None:
    order = shared_order(make_config(home, task={'mlm_text_share': text_share}, **SHARE), catalog, 'mlm')
    texts = Counter(located.stream.corpus == 'cc100' for step in range(400) for located in order.batch(step))
    assert texts[True] / texts.total() == pytest.approx(text_share, abs=0.02)


def test_corpora_keep_their_shares(sharing: Config, catalog: Catalog) -> None:
    drawn = Counter(located.stream.name for step in range(400) for located in shared_order(sharing, catalog, 'cmcl').batch(step))
    assert {name: number / drawn.total() for name, number in drawn.items()} == pytest.approx(
        {'cc3m/train': 130 / 225, 'cc12m/train': 60 / 225, 'wit/train': 35 / 225}, abs=0.02
    )


def test_a_task_of_another_size_has_its_own_pace(home: Path, catalog: Catalog) -> None:
    config = make_config(home, batch={'tasks': {'itm': 8}}, **SHARE)
    itm, cmcl = shared_order(config, catalog, 'itm'), shared_order(config, catalog, 'cmcl')
    assert names(itm, 6) + names(itm, 7) == names(cmcl, 3)


def test_what_cannot_be_shared_is_an_error() -> None:
    with pytest.raises(ValidationError, match=r'mixture\.share_images needs batch\.merge=all'):
        Config.model_validate({'batch': {'merge': 'drawn'}, **SHARE})
    with pytest.raises(ValidationError, match=r'task\.mlm_text_share=0\.47; the nearest that it can is 0\.466667'):
        Config.model_validate({'task': {'mlm_text_share': 0.47}, **SHARE})
    Config.model_validate({'task': {'mlm_text_share': 0.47}, 'tasks': ['cmcl'], **SHARE})
    thirds = Config.model_validate({'task': {'mlm_text_share': 0.3333333}, **SHARE})
    assert thirds.task.mlm_pictures == Fraction(2, 3)
