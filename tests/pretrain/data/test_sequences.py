from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrain.data.rng import generator
from pretrain.data.sequences import Sequences, encoder_input, normalised, prefix_length, text_id
from shards.errors import UserError
from shards.tokenizer import Tokenizer


@pytest.fixture
def sequences(tokenizer: Tokenizer) -> Sequences:
    return Sequences(tokenizer)


def test_special_tokens(sequences: Sequences, tokenizer: Tokenizer) -> None:
    ids, german = np.array([10, 11, 12]), tokenizer.language('de')
    assert sequences.encoder_input(ids, 'de').tolist() == [0, 10, 11, 12, 2, german]
    assert sequences.labels(ids, 'de').tolist() == [10, 11, 12, 2, german]
    assert sequences.decoder_input(ids, 'de').tolist() == [german, 10, 11, 12, 2]
    assert encoder_input([10, 11, 12], tokenizer, 'de', 5) == [0, 10, 11, 2, german]
    with pytest.raises(UserError, match='language'):
        sequences.code('klingon')


@pytest.mark.parametrize('family', ['mbart-cc25', 'mbart-50', 'xlm-r'])
def test_families(home: Path, family: Any) -> None:
    tokenizer = Tokenizer.load(home / 'tokenizer', family)
    sequences, ids, lang = Sequences(tokenizer), np.array([10, 11, 12]), tokenizer.language('de')
    written = {'mbart-50': [lang, 10, 11, 12, 2]}.get(family, [10, 11, 12, 2, lang])
    read = {'mbart-cc25': [0, 10, 11, 12, 2, lang], 'mbart-50': [lang, 10, 11, 12, 2], 'xlm-r': [0, 10, 11, 12, 2]}[family]
    assert sequences.encoder_input(ids, 'de').tolist() == read
    assert sequences.labels(ids, 'de').tolist() == written
    assert sequences.decoder_input(ids, 'de').tolist() == written[-1:] + written[:-1]
    assert sequences.prompt('de') == ([2, lang] if family == 'mbart-50' else [lang])
    masked = sequences.blanked(ids, 'de', 0.999999, generator(0, 'mmmt', 0))
    assert masked.ids[1:4].tolist() == [tokenizer.mask] * 3 and masked.labels.tolist() == ids.tolist()
    cut = sequences.trimmed(np.arange(4, 500, dtype=np.int32), 16)
    assert max(len(sequences.encoder_input(cut, 'de')), len(sequences.decoder_input(cut, 'de'))) == 16


def test_truncation_counts_special_tokens(sequences: Sequences) -> None:
    assert len(sequences.encoder_input(sequences.caption('a dog and a cat and a mouse', 8), 'en')) == 8
    assert len(sequences.encoder_input(sequences.trimmed(np.arange(4, 500, dtype=np.int32), 128), 'en')) == 128


def test_a_text_without_a_piece_is_unknown(sequences: Sequences, tokenizer: Tokenizer) -> None:
    assert sequences.caption('\u200b', 64).tolist() == [tokenizer.unk]


def test_prefix_lengths() -> None:
    lengths = [prefix_length(23, 0.5, 0.2, generator(0, 'plm', i)) for i in range(2000)]
    assert set(lengths) == {0, 4}
    assert abs(np.mean([length > 0 for length in lengths]) - 0.5) < 4 * 0.5 / 2000**0.5
    assert {prefix_length(tokens, 1.0, 0.2, generator(0, 'plm', 0)) for tokens in (1, 2, 3, 4)} == {0}
    assert prefix_length(5, 1.0, 0.2, generator(0, 'plm', 0)) == 1
    assert prefix_length(1, 1.0, 1.0, generator(0, 'plm', 0)) == 0, 'the decoder has a token to generate'


def test_corruption_is_15_percent_and_80_10_10(sequences: Sequences, tokenizer: Tokenizer) -> None:
    ids = np.arange(10, 60)
    masked = [sequences.corrupted(ids, 'en', 0.15, generator(0, 'mlm', i)) for i in range(2000)]
    for each in masked:
        restored = each.ids.copy()
        restored[each.positions] = each.labels
        np.testing.assert_array_equal(restored, sequences.encoder_input(ids, 'en'))
    positions = np.concatenate([each.positions for each in masked])
    assert positions.min() == 1 and positions.max() == 50, 'never a special token'
    seen = np.concatenate([each.ids[each.positions] for each in masked])
    kept = seen == np.concatenate([each.labels for each in masked])
    total = len(seen)

    def near(count: float, of: int, share: float) -> bool:
        return abs(count - of * share) < 4 * (of * share * (1 - share)) ** 0.5

    assert near(total, 2000 * 50, 0.15)
    assert near((seen == tokenizer.mask).sum(), total, 0.8)
    assert near(kept.sum(), total, 0.1)
    random = seen[(seen != tokenizer.mask) & ~kept]
    assert near(len(random), total, 0.1)
    assert random.min() >= 4 and random.max() <= tokenizer.pieces and len(np.unique(random)) > 500
    counts = np.bincount(positions, minlength=52)[1:51]
    assert counts.min() > 200 and counts.max() < 400, 'every place is as likely'


def test_blanking_uses_the_mask_only(sequences: Sequences, tokenizer: Tokenizer) -> None:
    for i in range(200):
        masked = sequences.blanked(np.arange(10, 30), 'en', 0.15, generator(0, 'mmmt', i))
        assert set(masked.ids[masked.positions]) == {tokenizer.mask}
        assert masked.labels.tolist() == (masked.positions + 9).tolist()


def test_a_single_token_is_masked(sequences: Sequences) -> None:
    for i in range(20):
        assert sequences.corrupted(np.array([10]), 'en', 0.15, generator(0, 'mlm', i)).positions.tolist() == [1]


def test_normalised_texts() -> None:
    assert normalised('  Ein\u00a0HUND\tｌäuft ') == 'ein hund läuft'
    assert text_id('A  dog') == text_id('a dog') != text_id('a cat')
