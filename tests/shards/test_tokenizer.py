"""The id rule, against sentencepiece itself."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from shards.errors import UserError
from shards.languages import APPENDED, CC25, canonical
from shards.tokenizer import DESCRIPTION, MODEL, Tokenizer, save_tokenizer

SENTENCES = ['a dog runs in the snow', 'ein Hund läuft im Schnee', 'the office of the first man', 'ein Büro', 'snow and dogs'] * 20


def train(**options: Any) -> bytes:
    model = io.BytesIO()
    arguments: dict[str, Any] = {'unk_id': 0, 'bos_id': 1, 'eos_id': 2, 'pad_id': -1, 'normalization_rule_name': 'nmt_nfkc', **options}
    arguments |= {'sentence_iterator': iter(SENTENCES), 'model_writer': model, 'vocab_size': 32, 'minloglevel': 2}
    sentencepiece.SentencePieceTrainer.train(**arguments)
    return model.getvalue()


@pytest.fixture(scope='module')
def model() -> bytes:
    return train()


@pytest.fixture
def tokenizer(model: bytes) -> Tokenizer:
    return Tokenizer(model)


def test_ids_are_sentencepieces_plus_one(model: bytes, tokenizer: Tokenizer) -> None:
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    for text in SENTENCES[:5]:
        assert tokenizer.encode(text) == [i + 1 for i in sp.encode(text)]
        assert tokenizer.decode([tokenizer.bos, *tokenizer.encode(text), tokenizer.eos, tokenizer.language('de'), tokenizer.mask]) == text
    assert tokenizer.encode_batch(SENTENCES[:5]) == [tokenizer.encode(text) for text in SENTENCES[:5]]
    assert tokenizer.encode('') == []


def test_unknown_character_is_3(tokenizer: Tokenizer) -> None:
    assert tokenizer.unk in tokenizer.encode('a 龘 dog')
    assert (tokenizer.bos, tokenizer.pad, tokenizer.eos, tokenizer.unk) == (0, 1, 2, 3)


def test_normaliser_is_applied(tokenizer: Tokenizer) -> None:
    # Loaders that drop it make these unknown (formats.md, section 2).
    assert tokenizer.encode('ｄｏｇ') == tokenizer.encode('dog')
    assert tokenizer.encode('oﬃce') == tokenizer.encode('office')
    assert tokenizer.encode('Bu\u0308ro') == tokenizer.encode('Büro')


def test_mbarts_ids(model: bytes) -> None:
    """A model of 250,000 pieces gets the ids of mBART-cc25."""
    proto: Any = vars(sentencepiece_model_pb2)['ModelProto'].FromString(model)  # made at run time, unknown to type checkers
    for i in range(250_000 - len(proto.pieces)):
        proto.pieces.add(piece=f'filler{i}', score=-100)
    large = Tokenizer(proto.SerializeToString())
    assert large.pieces == 250_000
    assert [large.language(code) for code in ('ar_AR', 'cs', 'de', 'en', 'zh_CN')] == [250_001, 250_002, 250_003, 250_004, 250_025]
    assert [large.language(canonical(code)) for code in CC25] == list(range(250_001, 250_026))
    assert large.mask == 250_026
    assert [large.language(canonical(code)) for code in APPENDED] == list(range(250_027, 250_027 + len(APPENDED)))
    assert large.vocabulary == 250_027 + len(APPENDED)


def test_saved_and_loaded(model: bytes, tmp_path: Path) -> None:
    saved = save_tokenizer(tmp_path, model, {'trained': 'here'})
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.fingerprint, loaded.vocabulary, loaded.encode('a dog')) == (saved.fingerprint, saved.vocabulary, saved.encode('a dog'))
    assert json.loads((tmp_path / DESCRIPTION).read_text())['origin'] == {'trained': 'here'}


def test_fingerprint_tells_models_apart(model: bytes, tokenizer: Tokenizer) -> None:
    assert Tokenizer(train(model_type='bpe')).fingerprint != tokenizer.fingerprint
    assert Tokenizer(model, APPENDED[:-1]).fingerprint != tokenizer.fingerprint


def test_a_folder_keeps_its_own_list_of_codes(model: bytes, tmp_path: Path) -> None:
    """Languages that are added to the program later leave the ids of existing shards and models alone."""
    save_tokenizer(tmp_path, model, {})
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    short = Tokenizer(model, APPENDED[:-1])
    (tmp_path / DESCRIPTION).write_text(json.dumps(description | {'appended': APPENDED[:-1], 'fingerprint': short.fingerprint}))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.vocabulary == short.vocabulary
    with pytest.raises(UserError, match='no code for language'):
        loaded.language(APPENDED[-1])


def test_bad_folders(model: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match='is no tokenizer folder'):
        Tokenizer.load(tmp_path / 'missing')
    save_tokenizer(tmp_path, model, {})
    (tmp_path / MODEL).write_bytes(train(model_type='bpe'))
    with pytest.raises(UserError, match='fingerprint'):
        Tokenizer.load(tmp_path)
    (tmp_path / MODEL).write_bytes(model[: len(model) // 2])
    with pytest.raises(UserError, match=f'{MODEL}.*(fingerprint|not a sentencepiece model)'):
        Tokenizer.load(tmp_path)
    (tmp_path / DESCRIPTION).write_text('{')
    with pytest.raises(UserError, match='cannot be read'):
        Tokenizer.load(tmp_path)
    (tmp_path / DESCRIPTION).write_text('[]')
    with pytest.raises(UserError, match='does not describe a tokenizer'):
        Tokenizer.load(tmp_path)


def test_other_layouts_are_refused() -> None:
    with pytest.raises(UserError, match='instead of <unk> <s> </s>'):
        save_tokenizer(Path('unused'), train(pad_id=0, unk_id=3), {})
    with pytest.raises(UserError, match='is not a sentencepiece model'):
        save_tokenizer(Path('unused'), b'not a model', {})
