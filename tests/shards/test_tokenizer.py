"""The id rule, against sentencepiece itself."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from shards.errors import UserError
from shards.languages import APPENDED, CC25, LANGUAGES, MBART50, canonical
from shards.tokenizer import DESCRIPTION, MODEL, Tokenizer, _public, save_tokenizer

TEXTS = {  # the training text has the letters of all but three
    'full width': 'ｄｏｇ　ｉｎ ｔｈｅ ｓｎｏｗ', 'ligatures': 'the oﬃce oﬀ', 'combining': 'Bu\u0308ro', 'spaces': '  a\u00a0dog \t\n',
    'chinese': '一只狗在雪地里跑。', 'japanese': '犬が雪の中を走る。ﾊﾝｶｸ', 'korean': '개가 눈 속을 달린다', 'arabic': 'كلب يركض في الثلج ﷺ',
    'emoji': 'a dog 🐶🏽 ❤️ 👩\u200d👧', 'unknown': 'a 龘 dog ꙮ 𓀀', 'specials': '<s> a dog </s> <mask> en_XX', 'empty': '',
}  # fmt: skip
SENTENCES = ['a dog runs in the snow', 'ein Hund läuft im Schnee', 'the office of the first man', 'ein Büro', 'snow and dogs'] * 20
LETTERS = [TEXTS[kind] for kind in ('chinese', 'japanese', 'korean', 'arabic')] * 5


def train(sentences: list[str] = SENTENCES, **options: Any) -> bytes:
    model = io.BytesIO()
    arguments: dict[str, Any] = {'unk_id': 0, 'bos_id': 1, 'eos_id': 2, 'pad_id': -1, 'normalization_rule_name': 'nmt_nfkc', **options}
    arguments |= {'sentence_iterator': iter(sentences), 'model_writer': model, 'minloglevel': 2}
    arguments.setdefault('vocab_size', 32)
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
    texts = [SENTENCES[0], '', '\U00013000', SENTENCES[1]]
    assert [ids.tolist() for ids in tokenizer.encode_arrays(texts)] == [tokenizer.encode(text) for text in texts]
    tokenizer._encode_with_eos = partial(_public, tokenizer._sp)  # as with a version of sentencepiece that has no other call
    assert [ids.tolist() for ids in tokenizer.encode_arrays(texts)] == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_arrays([]) == []
    assert tokenizer.encode('') == []


def test_unknown_character_is_3(tokenizer: Tokenizer) -> None:
    assert tokenizer.unk in tokenizer.encode('a 龘 dog')
    assert (tokenizer.bos, tokenizer.pad, tokenizer.eos, tokenizer.unk) == (0, 1, 2, 3)


def test_normaliser_is_applied(tokenizer: Tokenizer) -> None:
    # Loaders that drop it make these unknown (formats.md, section 2).
    assert tokenizer.encode('ｄｏｇ') == tokenizer.encode('dog')
    assert tokenizer.encode('oﬃce') == tokenizer.encode('office')
    assert tokenizer.encode('Bu\u0308ro') == tokenizer.encode('Büro')


@pytest.fixture(scope='module')
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows letters of several scripts, in a file."""
    path = tmp_path_factory.mktemp('written') / MODEL
    path.write_bytes(train(SENTENCES + LETTERS, vocab_size=80, character_coverage=1.0))
    return path


@pytest.mark.parametrize('kind', TEXTS)
def test_every_writing_follows_fairseqs_rule(written: Path, kind: str) -> None:
    """fairseq: sentencepiece's own ids, shifted by one, and 3 for its <unk> (0). The reference is the sentencepiece package alone."""
    sp = sentencepiece.SentencePieceProcessor(model_file=str(written))
    expected = [3 if piece == 0 else piece + 1 for piece in sp.encode(TEXTS[kind])]
    tokenizer = Tokenizer(written.read_bytes())
    assert tokenizer.encode(TEXTS[kind]) == expected == tokenizer.encode_batch(['dog', TEXTS[kind]])[1]
    assert (tokenizer.unk in expected) == (kind in ('emoji', 'unknown', 'specials'))
    assert all(3 <= i <= tokenizer.pieces for i in expected), 'a text never makes a special token or a code'


@pytest.mark.parametrize('family', ['mbart-cc25', 'mbart-50'])
def test_ids_are_those_of_transformers(written: Path, family: Any) -> None:
    """transformers 4's tokenizers in Python, which keep the normaliser. Version 5 drops it: there full-width letters are <unk>."""
    import transformers

    if int(transformers.__version__.partition('.')[0]) >= 5:
        pytest.skip('transformers 5 loads mBART tokenizers without their normaliser')
    theirs = (transformers.MBartTokenizer if family == 'mbart-cc25' else transformers.MBart50Tokenizer)(str(written))
    ours = Tokenizer(written.read_bytes(), family=family)
    for kind in TEXTS.keys() - {'specials'}:  # theirs takes markup in a text for the special tokens themselves
        assert ours.encode(TEXTS[kind]) == theirs(TEXTS[kind], add_special_tokens=False)['input_ids'], kind
    special = theirs.convert_tokens_to_ids(['<s>', '<pad>', '</s>', '<unk>', '<mask>'])
    assert special == [ours.bos, ours.pad, ours.eos, ours.unk, ours.mask]
    codes = CC25 + MBART50 if family == 'mbart-50' else CC25
    assert [ours.language(code) for code in codes] == theirs.convert_tokens_to_ids(list(codes))


def large_model(model: bytes) -> bytes:
    """A model of mBART's 250,000 pieces."""
    proto: Any = vars(sentencepiece_model_pb2)['ModelProto'].FromString(model)  # made at run time, unknown to type checkers
    for i in range(250_000 - len(proto.pieces)):
        proto.pieces.add(piece=f'filler{i}', score=-100)
    return bytes(proto.SerializeToString())


def test_mbart50s_ids(model: bytes) -> None:
    large = large_model(model)
    fifty, cc25 = Tokenizer(large, family='mbart-50'), Tokenizer(large)
    assert [fifty.language(code) for code in ('ar_AR', 'zh_CN', 'af_ZA', 'sl_SI')] == [250_001, 250_025, 250_026, 250_052]
    assert fifty.mask == 250_053
    others = [canonical(code) for code in APPENDED if code not in MBART50]
    assert [fifty.language(code) for code in others] == list(range(250_054, 250_054 + len(others)))
    assert fifty.languages.keys() == cc25.languages.keys() == set(LANGUAGES)
    assert fifty.vocabulary == cc25.vocabulary == len(set(fifty.languages.values())) + 250_002
    assert fifty.fingerprint == cc25.fingerprint, 'text shards fit both'


def test_mbarts_ids(model: bytes) -> None:
    """A model of 250,000 pieces gets the ids of mBART-cc25."""
    large = Tokenizer(large_model(model))
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
