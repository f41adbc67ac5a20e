from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pretrain.config import TASKS, Config
from pretrain.data.order import TaskOrder, data_step, rank_positions
from pretrain.data.sources import check_data
from pretrain.data.streams import Catalog
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.data.orders import check_steps, names
from tests.pretrain.data.small_shards import TEXTS, Record, make_config, write_pictures


@pytest.fixture
def catalog(home: Path, tokenizer: Tokenizer) -> Catalog:
    return Catalog(home / 'shards', tokenizer)


@pytest.mark.parametrize('task', TASKS)
def test_a_step_does_not_depend_on_the_earlier_ones(home: Path, config: Config, tokenizer: Tokenizer, catalog: Catalog, task: str) -> None:
    direct = TaskOrder(config, Catalog(home / 'shards', tokenizer), task)
    check_steps(TaskOrder(config, catalog, task), direct, TaskOrder(make_config(home, seed=4), catalog, task))
    assert direct.batch(41_327)[3:5] == list(direct.batch(41_327))[3:5]


@pytest.mark.parametrize('task', TASKS)
def test_every_epoch_of_a_stream_is_a_permutation(config: Config, catalog: Catalog, task: str) -> None:
    order = TaskOrder(config, catalog, task)
    seen: Counter[tuple[str, int, int]] = Counter()
    for step in range(120):
        seen.update(names(order, step))
    assert set(seen.values()) == {1}, 'nothing comes twice in an epoch'
    finished = 0
    for source in order.sources:
        epochs = sorted({epoch for name, _, epoch in seen if name == source.stream.name})
        for epoch in epochs[:-1]:
            records = {record for name, record, each in seen if (name, each) == (source.stream.name, epoch)}
            assert records == set(range(len(source.stream)) if source.subset is None else source.subset.tolist()), 'nothing is left out'
            finished += 1
    assert finished >= len(order.sources)


def test_streams_of_the_tasks(config: Config, catalog: Catalog) -> None:
    corpora = {task: {source.stream.corpus for source in TaskOrder(config, catalog, task).sources} for task in TASKS}
    pictures = {'cc3m', 'cc12m', 'wit'}
    assert corpora == {
        'cmcl': pictures, 'itm': pictures, 'vplm': pictures, 'mmmt': pictures, 'mlm': pictures | {'cc100'},
        'clcl': {'opus'}, 'mt': {'opus'}, 'plm': {'cc100'},
    }  # fmt: skip


def test_tasks_have_orders_of_their_own(config: Config, catalog: Catalog) -> None:
    assert len({tuple(names(TaskOrder(config, catalog, task), 0)) for task in ('cmcl', 'itm', 'vplm')}) == 3


def test_weights(home: Path, catalog: Catalog) -> None:
    def weights(task: str, **data: object) -> dict[str, float]:
        return {source.stream.name: source.weight for source in TaskOrder(make_config(home, data=data), catalog, task).sources}

    assert weights('cmcl') == pytest.approx({'cc3m/train': 130 / 225, 'cc12m/train': 60 / 225, 'wit/train': 35 / 225})
    assert weights('cmcl', pictures=['wit', 'cc3m'], corpus_alpha=0) == {'wit/train': 0.5, 'cc3m/train': 0.5}
    assert weights('mmmt') == pytest.approx({'cc3m/train': 130 / 175, 'cc12m/train': 40 / 175, 'wit/train': 5 / 175})
    total = 70**0.5 + 30**0.5 + 7**0.5
    pairs = {'opus/train/de-en': 70, 'opus/train/en-zh': 30, 'opus/train/en-sw': 7}
    assert weights('mt', language_alpha=0.5) == pytest.approx({pair: size**0.5 / total for pair, size in pairs.items()})
    tokens = {stream.name: stream.manifest.tokens[stream.languages[0]] ** 0.7 for stream in catalog.streams('cc100', 'train')}
    assert weights('plm') == pytest.approx({name: size / sum(tokens.values()) for name, size in tokens.items()})


def test_mlm_alternates_pictures_and_text(home: Path, catalog: Catalog) -> None:
    for share in (0.5, 0.25):
        order = TaskOrder(make_config(home, task={'mlm_text_share': share}), catalog, 'mlm')
        steps = order._mix.cycle * 64 // 16
        texts = sum(located.stream.corpus == 'cc100' for step in range(steps) for located in order.batch(step))
        assert abs(texts - share * steps * 16) <= len(order.sources)
    only = TaskOrder(make_config(home, task={'mlm_text_share': 1.0}), catalog, 'mlm')
    assert {source.stream.corpus for source in only.sources} == {'cc100'}


def test_a_rare_language_appears(config: Config, catalog: Catalog) -> None:
    order = TaskOrder(config, catalog, 'plm')
    steps = order._mix.cycle * 64 // 16
    seen = Counter(located.stream.languages[0] for step in range(steps) for located in order.batch(step))
    assert set(seen) == set(TEXTS) and seen['yo'] >= 1


def test_mmmt_takes_records_with_two_languages_only(config: Config, catalog: Catalog) -> None:
    order = TaskOrder(config, catalog, 'mmmt')
    for step in range(10):
        assert all(len(located.stream.record(located.record)['captions']) > 1 for located in order.batch(step))


def test_ranks_share_the_global_batch() -> None:
    config = Config.model_validate({'batch': {'global': 12}})
    for world in (1, 2, 3, 4):
        assert [position for rank in range(world) for position in rank_positions(config, 'cmcl', rank, world)] == list(range(12))
    with pytest.raises(UserError, match=r'batch.global=12 .* by 5 processes; start 1, 2, 3, 4, 6 or 12, or set .* 5, e.g. 10 or 15'):
        rank_positions(config, 'cmcl', 0, 5)
    with pytest.raises(UserError, match=r'e\.g\. 32$'):
        rank_positions(config, 'cmcl', 0, 32)


def test_a_task_may_have_a_size_of_its_own() -> None:
    config = Config.model_validate({'batch': {'global': 12, 'tasks': {'cmcl': 20}}})
    assert [len(rank_positions(config, task, 1, 4)) for task in ('cmcl', 'mlm')] == [5, 3]
    with pytest.raises(UserError, match=r'batch\.tasks\.cmcl=20 cannot be shared equally by 3'):
        rank_positions(config, 'cmcl', 0, 3)


def test_skipped_windows_are_passed_over() -> None:
    skip = [(7, 9), (2, 4), (3, 5), (5, 5)]
    assert [data_step(step, skip) for step in range(8)] == [0, 1, 5, 6, 9, 10, 11, 12]
    assert [data_step(step, []) for step in range(3)] == [0, 1, 2]
    assert data_step(0, [[0, 10]]) == 10
    rng = np.random.default_rng(0)
    for _ in range(50):
        windows = [(int(first), int(first + length)) for first, length in rng.integers(0, 12, (4, 2))]
        left = [step for step in range(100) if not any(first <= step < last for first, last in windows)]
        assert [data_step(step, windows) for step in range(40)] == left[:40]


def test_all_data_is_there(config: Config, tokenizer: Tokenizer) -> None:
    digests = check_data(config, tokenizer)
    assert len(digests) == 3 + len(TEXTS) + 3 and all(len(digest) == 64 for digest in digests.values())


@pytest.mark.parametrize(
    ('missing', 'message'),
    [
        (
            'cc12m',
            r'task cmcl needs cc12m, and .*/cc12m/train has no samples; build it with `data_pipeline build cc12m --raw DIR --out .*`, '
            r'take it out of data\.pictures, or set tasks=\[clcl, plm, mt\], which can be trained on what is there$',
        ),
        ('opus', r'task clcl needs opus, .*`data_pipeline build opus --raw DIR --out .* --tokenizer .*`, or set tasks=\[cmcl, itm, mlm,'),
        ('cc100', r'task mlm needs cc100, .*, or set tasks=\[cmcl, clcl, itm, vplm, mt, mmmt\], which'),
    ],
)
def test_a_missing_corpus_is_named_with_its_command(home: Path, tmp_path: Path, tokenizer: Tokenizer, missing: str, message: str) -> None:
    shards = Path(shutil.copytree(home / 'shards', tmp_path / 'shards', ignore=shutil.ignore_patterns(missing)))
    config = make_config(home, data={'shards': str(shards)})
    with pytest.raises(UserError, match=message) as caught:
        check_data(config, tokenizer)
    assert '\n' not in str(caught.value)
    needing = {'cc12m': 'cmcl itm mlm vplm mmmt', 'opus': 'clcl mt', 'cc100': 'mlm plm'}[missing].split()
    others = [task for task in TASKS if task not in needing]
    assert check_data(make_config(home, data={'shards': str(shards)}, tasks=others), tokenizer), 'the other tasks do not need it'


def test_mmmt_without_a_second_language_is_an_error(home: Path, tmp_path: Path, tokenizer: Tokenizer, pictures: list[Record]) -> None:
    english = [{**record, 'captions': {'en': ['a dog']}} for record in pictures[:5]]
    write_pictures(tmp_path / 'cc3m' / 'train', 'cc3m', english)
    config = make_config(home, data={'shards': str(tmp_path), 'pictures': ['cc3m']}, tasks=['cmcl', 'mmmt'])
    message = r'task mmmt needs pictures with captions in two languages, .* translations, or set tasks=\[cmcl\], which'
    with pytest.raises(UserError, match=message):
        check_data(config, tokenizer)
