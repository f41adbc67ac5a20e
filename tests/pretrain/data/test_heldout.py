from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from pretrain.config import TASKS, Config
from pretrain.data.heldout import HeldOut
from pretrain.data.images import evaluation_image
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import make_config
from tests.pretrain.data.test_loader import assert_same

CAPTIONS = {'cs', 'de', 'en', 'fr', 'ja', 'zh'}


@pytest.fixture(scope='module')
def held(home: Path, tokenizer: Tokenizer) -> HeldOut:
    return HeldOut(make_config(home, eval={'samples': 40}), tokenizer)


def test_languages_of_every_task(held: HeldOut) -> None:
    languages = {task: set(held.pools(task)) for task in TASKS}
    texts, pairs = {'de', 'en', 'tr', 'zh'}, {'de', 'en', 'sw', 'zh'}
    assert languages == {
        'cmcl': CAPTIONS, 'itm': CAPTIONS, 'vplm': CAPTIONS, 'mmmt': CAPTIONS, 'mlm': CAPTIONS | texts,
        'plm': texts, 'clcl': pairs, 'mt': pairs,
    }  # fmt: skip


def test_records_come_from_all_val_streams_and_hold_the_language(held: HeldOut) -> None:
    for task in TASKS:
        for language, pool in held.pools(task).items():
            assert len(pool) <= 40 and len({(located.stream.name, located.record) for located in pool}) == len(pool)
            assert all(located.stream.split == 'val' and located.record < len(located.stream) for located in pool)
            for located in pool:
                known = located.stream.languages if located.stream.kind != 'pictures' else located.stream.record(located.record)['captions']
                assert language in known and (task != 'mmmt' or len(known) > 1)
    assert Counter(located.stream.corpus for located in held.pools('cmcl')['en']) == {'cc3m': 30, 'cc12m': 6, 'wit': 3}
    assert Counter(located.stream.corpus for located in held.pools('cmcl')['de']) == {'cc3m': 30, 'wit': 3}
    assert Counter(located.stream.folder.name for located in held.pools('mt')['en']) == {'de-en': 4, 'en-sw': 4, 'en-zh': 4}


def test_mlm_takes_its_share_of_texts_and_fills_up(home: Path, held: HeldOut, tokenizer: Tokenizer) -> None:
    small = HeldOut(make_config(home, eval={'samples': 8}), tokenizer)
    kinds = {language: Counter(located.stream.kind for located in small.pools('mlm')[language]) for language in ('de', 'tr', 'fr')}
    assert kinds == {'de': {'text': 4, 'pictures': 4}, 'tr': {'text': 6}, 'fr': {'pictures': 8}}
    only = HeldOut(make_config(home, task={'mlm_text_share': 0.0}), tokenizer)
    assert set(only.pools('mlm')) == CAPTIONS


@pytest.mark.parametrize('task', TASKS)
def test_examples_are_of_the_language_and_not_augmented(held: HeldOut, task: str) -> None:
    for language, pool in held.pools(task).items():
        for example, located in zip(held.make(task, language), pool, strict=True):
            assert example.language == language and example.sample_id == located.stream.sample_id(located.record)
            if example.image is not None and task != 'itm':
                assert torch.equal(example.image, evaluation_image(located.stream.record(located.record)['image'], 32))


def test_half_of_the_matching_pairs_are_negative(held: HeldOut) -> None:
    matches = [example.match for language in held.pools('itm') for example in held.make('itm', language)]
    assert 0.35 < sum(map(bool, matches)) / len(matches) < 0.65


def test_ranks_share_the_languages_and_seeds_change_nothing(home: Path, held: HeldOut, tokenizer: Tokenizer) -> None:
    other = make_config(home, eval={'samples': 40}, seed=99, batch={'global': 32}, data={'workers': 3})
    for task in ('cmcl', 'itm', 'mlm', 'mmmt'):
        whole = dict(held.batches(task))
        shared = [dict(HeldOut(other, tokenizer).batches(task, rank, 3)) for rank in range(3)]
        assert sorted(language for part in shared for language in part) == list(whole)
        for part in shared:
            for language, batches in part.items():
                assert_same({task: batches}, {task: whole[language]})


def test_missing_val_streams_are_reported_once(home: Path, tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    shards = Path(shutil.copytree(home / 'shards', tmp_path / 'shards'))
    shutil.rmtree(shards / 'opus' / 'val')
    shutil.rmtree(shards / 'cc100' / 'val' / 'tr')
    shutil.rmtree(shards / 'cc3m' / 'val')
    config: Config = make_config(home, data={'shards': str(shards)})
    held = HeldOut(config, tokenizer)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert list(held.batches('mt')) == []
            assert set(held.pools('plm')) == {'de', 'en', 'zh'} and 'en' in held.pools('cmcl')
    assert [record.getMessage().split(' under')[0] for record in caplog.records] == ['task mt has no held-out samples']
    caplog.clear()
    assert list(HeldOut(config, tokenizer, speaks=False).batches('mt')) == [] and not caplog.records


def test_a_single_pair_is_no_contrast(home: Path, tokenizer: Tokenizer) -> None:
    held = HeldOut(make_config(home, data={'pictures': ['wit']}), tokenizer)
    assert len(held.pools('cmcl')['de']) == 3
    held = HeldOut(make_config(home, eval={'samples': 2}, data={'pictures': ['wit']}), tokenizer)
    held._captions = {False: {'de': held._pictures(False)['de'][:1], 'en': held._pictures(False)['en']}, True: {}}
    assert set(held.pools('cmcl')) == {'en'} and set(held.pools('vplm')) == {'de', 'en'}
