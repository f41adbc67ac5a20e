"""Small shards of all five corpora, for whatever trains on or reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrain.config import Config
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import (
    PAIRS,
    TEXTS,
    Record,
    bitext,
    make_config,
    monolingual,
    sample_pictures,
    train_tokenizer,
    write_pictures,
    write_texts,
)
from tests.pretrain.init.started import CODES
from tests.support.published import mbart, xlmr


@pytest.fixture(scope='session')
def pictures() -> list[Record]:
    return sample_pictures()


@pytest.fixture(scope='session')
def home(tmp_path_factory: pytest.TempPathFactory, pictures: list[Record]) -> Path:
    """A folder with `tokenizer` and `shards` of all corpora, train and val."""
    home = tmp_path_factory.mktemp('data')
    texts = {language: monolingual(language, count) for language, count in TEXTS.items()}
    pairs = {pair: bitext(pair, count) for pair, count in PAIRS.items()}
    captions = [text for record in pictures for group in record['captions'].values() for text in group]
    tokenizer = train_tokenizer([*captions, *(text for group in texts.values() for text in group)], home / 'tokenizer')
    shards = home / 'shards'
    several = [record for record in pictures if len(record['captions']) > 1]
    one = [{**record, 'captions': {'en': record['captions']['en']}} for record in pictures[100:160]]
    parts = {
        'cc3m': (several[:130], several[130:160]),
        'cc12m': (several[160:200] + one[:20], one[20:26]),
        'wit': (one[30:] + several[200:205], several[205:208]),
    }
    for corpus, halves in parts.items():
        for split, records in zip(('train', 'val'), halves, strict=True):
            write_pictures(shards / corpus / split, corpus, records)

    def ids(text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        return np.array(tokenizer.encode(text), np.int32)

    for language, group in texts.items():
        rows = [{'ids': ids(text)} for text in group]
        write_texts(shards / 'cc100' / 'train' / language, 'cc100', rows, tokenizer.fingerprint)
        if language != 'yo':
            write_texts(shards / 'cc100' / 'val' / language, 'cc100', rows[:6], tokenizer.fingerprint)
    for pair, sides in pairs.items():
        rows = [{'source_ids': ids(source), 'target_ids': ids(target)} for source, target in sides]
        write_texts(shards / 'opus' / 'train' / '-'.join(pair), 'opus', rows, tokenizer.fingerprint)
        write_texts(shards / 'opus' / 'val' / '-'.join(pair), 'opus', rows[:4], tokenizer.fingerprint)
    return home


@pytest.fixture(scope='session')
def tokenizer(home: Path) -> Tokenizer:
    return Tokenizer.load(home / 'tokenizer')


@pytest.fixture(scope='session')
def config(home: Path) -> Config:
    return make_config(home)


@pytest.fixture(scope='session')
def published(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Family -> the model, and the folder it was saved to."""
    models = {family: mbart(tokenizer.pieces, codes) for family, codes in CODES.items()} | {'xlm-r': xlmr(tokenizer.pieces)}
    folder = tmp_path_factory.mktemp('published')
    for family, model in models.items():
        model.save_pretrained(folder / family)
    return {family: (model, folder / family) for family, model in models.items()}
