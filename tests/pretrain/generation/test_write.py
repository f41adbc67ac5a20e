"""Texts from batches, on published weights: the same as transformers' `generate` and the tokenizer give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretrain.data.batch import Texts
from pretrain.data.sequences import Sequences
from pretrain.generation import Decoding, search, write
from shards.errors import UserError
from tests.pretrain.init.started import CODES, started
from tests.support.published import padded, widened


def packed(rows: list[list[int]]) -> Texts:
    return Texts(torch.tensor([token for row in rows for token in row]), torch.tensor([len(row) for row in rows]))


@pytest.mark.parametrize('family', CODES)
def test_published_weights_write_the_same(home: Path, published: dict[str, tuple[Any, Path]], family: str) -> None:
    theirs, folder = published[family]
    model, tokenizer = started(home, family, folder)
    sequences = Sequences(tokenizer)
    captions = [('a red apple', 'en'), ('zwei Hunde am Strand', 'de'), ('x', 'ar')]
    rows = [sequences.encoder_input(np.array(tokenizer.encode(text)), language).tolist() for text, language in captions]
    ids, mask = padded(rows)
    reference = widened(theirs, tokenizer.pieces, model.vocabulary)
    memory = model.encode_texts(packed(rows))
    for language in ('de', 'zh', 'sw'):
        prompt = sequences.prompt(language)
        forced = {'forced_bos_token_id': prompt[1]} if len(prompt) > 1 else {}
        out = reference.generate(
            input_ids=ids, attention_mask=mask, decoder_start_token_id=prompt[0], **forced, num_beams=4, max_length=len(prompt) + 12,
            forced_eos_token_id=2, do_sample=False,
        )  # fmt: skip
        expected = [row[: row.index(2)] for row in out[:, len(prompt) :].tolist()]
        assert search(model, memory, torch.tensor([prompt] * 3), Decoding(max_tokens=12)).ids == expected


def test_texts_for_a_batch(home: Path, published: dict[str, tuple[Any, Path]]) -> None:
    model, tokenizer = started(home, 'mbart-cc25', published['mbart-cc25'][1])
    sequences = Sequences(tokenizer)
    rows = [sequences.encoder_input(np.array([], np.int64), 'de').tolist(), sequences.encoder_input(np.array([30, 31]), 'en').tolist()]
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    model.train()
    texts = write(model, tokenizer, packed(rows), ['de', 'fr'], images, torch.tensor([0]), Decoding(max_tokens=500))
    assert model.training and len(texts) == 2 and all(isinstance(text, str) for text in texts)
    memory = model.eval().fuse(packed(rows), images, torch.tensor([0]))
    prompts = torch.tensor([sequences.prompt('de'), sequences.prompt('fr')])
    assert texts == [tokenizer.decode(ids) for ids in search(model, memory, prompts, Decoding(max_tokens=39)).ids]
    with pytest.raises(UserError, match='klingon'):
        write(model, tokenizer, packed(rows), ['de', 'klingon'])
