"""Loaded by our path, published text weights do what they do in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretrain.data.batch import Texts
from pretrain.data.sequences import Sequences
from pretrain.model.packed import Layout, pack, pad
from pretrain.tasks.token_loss import token_loss
from shards.errors import UserError
from shards.languages import CC25, MBART50, canonical
from shards.tokenizer import MODEL, Tokenizer
from tests.pretrain.init.started import CODES, started
from tests.support.published import mbart_states_and_loss, padded, widened

Published = dict[str, tuple[Any, Path]]
CLOSE: dict[str, Any] = {'atol': 1e-5, 'rtol': 1e-5}
ROWS = [('de', [10, 11, 12, 13]), ('ar', [20]), ('zh', list(range(30, 41))), ('en', [7, 7, 8])]


def texts(rows: list[list[int]]) -> Texts:
    return Texts(torch.tensor([token for row in rows for token in row]), torch.tensor([len(row) for row in rows]))


@pytest.mark.parametrize('family', CODES)
@torch.no_grad()
def test_mbart_states_and_loss(home: Path, published: Published, family: str) -> None:
    """Ids of the reference by fairseq's rule: pieces end at n, the code of language k is n + 1 + k, <mask> is the last."""
    theirs, folder = published[family]
    model, tokenizer = started(home, family, folder)
    n, codes = tokenizer.pieces, {code.partition('_')[0]: place for place, code in enumerate(CC25 + MBART50)}
    rows = ROWS if family == 'mbart-cc25' else [*ROWS, ('pt', [50, 51]), ('uk', [60])]
    mask = n + 1 + CODES[family]
    rows = [(language, [*ids, mask]) for language, ids in rows]
    if family == 'mbart-cc25':
        sources = [[0, *ids, 2, n + 1 + codes[language]] for language, ids in rows]
        labels = [[*ids, 2, n + 1 + codes[language]] for language, ids in rows[::-1]]
    else:
        sources = [[n + 1 + codes[language], *ids, 2] for language, ids in rows]
        labels = [[n + 1 + codes[language], *ids, 2] for language, ids in rows[::-1]]
    encoded, decoded, loss = mbart_states_and_loss(widened(theirs, n, model.vocabulary), sources, labels)

    sequences = Sequences(tokenizer)
    ours = model.encode_texts(texts([sequences.encoder_input(np.array(ids), language).tolist() for language, ids in rows]))
    torch.testing.assert_close(ours.tokens, encoded, **CLOSE)
    inputs = texts([sequences.decoder_input(np.array(ids), language).tolist() for language, ids in rows[::-1]])
    states = model.decode(inputs, ours)
    torch.testing.assert_close(states[: len(inputs.ids)], decoded, **CLOSE)
    targets = torch.from_numpy(np.concatenate([sequences.labels(np.array(ids), language) for language, ids in rows[::-1]]))
    torch.testing.assert_close(token_loss(states, targets, model.embed_tokens)[0] / len(targets), loss, **CLOSE)


def test_the_pickle_of_mbart_cc25_gives_the_same(home: Path, published: Published, tmp_path: Path) -> None:
    """In the older layout of pytorch_model.bin, where every tied embedding stands under its own name."""
    theirs, folder = published['mbart-cc25']
    (tmp_path / 'config.json').write_bytes((folder / 'config.json').read_bytes())
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    assert {'model.shared.weight', 'model.encoder.embed_tokens.weight', 'lm_head.weight', 'final_logits_bias'} <= state.keys()
    torch.save(state, tmp_path / 'pytorch_model.bin', _use_new_zipfile_serialization=False)
    (ours, _), (same, _) = started(home, 'mbart-cc25', tmp_path), started(home, 'mbart-cc25', folder)
    for (name, parameter), other in zip(ours.named_parameters(), same.parameters(), strict=True):
        assert torch.equal(parameter, other), name


@torch.no_grad()
def test_cross_encoder_is_a_second_copy_of_the_encoder(home: Path, published: Published) -> None:
    theirs, folder = published['mbart-cc25']
    model, _ = started(home, 'mbart-cc25', folder)
    encoder = theirs.model.encoder
    stream = torch.randn(2, 9, 32)
    expected = encoder.layernorm_embedding(stream)
    for layer in encoder.layers:
        out = layer(expected, attention_mask=None, layer_head_mask=None)
        expected = out[0] if isinstance(out, tuple) else out
    layout = Layout.of(torch.tensor([9, 9]), 'cpu')
    torch.testing.assert_close(pad(model.cross_encoder(pack(stream, layout), layout), layout), encoder.layer_norm(expected), **CLOSE)
    text, cross = dict(model.text_encoder.named_parameters()), dict(model.cross_encoder.named_parameters())
    assert all(torch.equal(text[name], cross[name]) and text[name] is not cross[name] for name in text)


@pytest.mark.parametrize(('weights', 'family'), [('mbart-cc25', 'mbart-cc25'), ('mbart-50', 'mbart-50'), ('mbart-50', 'mbart-cc25')])
def test_codes_and_mask(home: Path, published: Published, weights: str, family: str) -> None:
    """Codes go by language, whatever the order of the ids; a language without one gets the mean of those that there are."""
    theirs, folder = published[weights]
    model, tokenizer = started(home, family, folder)
    table, n = theirs.model.shared.weight.detach(), tokenizer.pieces
    assert torch.equal(model.embed_tokens[: n + 1], table[: n + 1])
    assert torch.equal(model.embed_tokens[tokenizer.mask], table[-1])
    mean = table[n + 1 : -1].mean(0)
    own = {canonical(code): n + 1 + place for place, code in enumerate((CC25 + MBART50)[: CODES[weights]])}
    for language, row in tokenizer.languages.items():
        torch.testing.assert_close(model.embed_tokens[row], table[own[language]] if language in own else mean)
    assert len(own) < len(tokenizer.languages)


@torch.no_grad()
def test_xlmr_layers(home: Path, published: Published) -> None:
    """Layers 1-2 in the text encoder, 3-4 in the cross encoder: transformers' hidden states, and its MLM logits."""
    theirs, folder = published['xlm-r']
    model, tokenizer = started(home, 'xlm-r', folder)
    rows = [[0, *ids, 2] for _, ids in ROWS]
    rows[2][4] = tokenizer.mask
    ids, mask = padded([[tokenizer.pieces + 1 if token == tokenizer.mask else token for token in row] for row in rows])
    hidden = theirs.roberta(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    sequences = Sequences(tokenizer)
    assert [sequences.encoder_input(np.array(ids), language).tolist() for language, ids in ROWS[:2]] == rows[:2]
    packed = texts(rows)
    text = model.encode_texts(packed)
    torch.testing.assert_close(text.tokens, hidden[2][mask.bool()], **CLOSE)
    torch.testing.assert_close(model.pooled(model.encode_texts(packed, whole=0)), hidden[2][:, 0], **CLOSE)
    top = model.cross_encoder(text.states, text.layout)
    torch.testing.assert_close(top[: len(packed.ids)], hidden[4][mask.bool()], **CLOSE)

    logits = theirs.lm_head(hidden[4])[mask.bool()]
    heads = model.mlm_norm(torch.nn.functional.gelu(model.mlm_dense(top[: len(packed.ids)]))) @ model.embed_tokens.T + model.mlm_bias
    n = tokenizer.pieces
    torch.testing.assert_close(heads[:, : n + 1], logits[:, : n + 1], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(heads[:, tokenizer.mask], logits[:, n + 1], atol=1e-4, rtol=1e-5)
    fresh = model.embed_tokens[[tokenizer.language('de'), tokenizer.language('sw')]]
    assert 0.01 < fresh.std() < 0.04, 'XLM-R has no language codes: they stay random'
    assert dict(model.named_parameters())['decoder.layers.0.fc1.weight'].std() < 0.04, 'and no decoder'


def refusal(home: Path, family: str, folder: Path | str, **model: Any) -> str:
    with pytest.raises(UserError) as caught:
        started(home, family, Path(folder), **model)
    message = str(caught.value)
    assert message.startswith(f'init.text = {folder}: ') and '\n' not in message
    return message


@pytest.mark.parametrize(
    ('weights', 'family', 'model', 'words'),
    [
        ('mbart-cc25', 'mbart-cc25', {'dim': 64}, 'model.dim is 64, these weights fit model.dim=32'),
        ('mbart-cc25', 'mbart-cc25', {'heads': 8}, 'model.heads is 8, these weights fit model.heads=4'),
        ('mbart-cc25', 'mbart-cc25', {'ffn': 48, 'cross_layers': 1}, 'these weights fit model.ffn=64 model.cross_layers=2'),
        ('mbart-cc25', 'mbart-cc25', {'decoder_layers': 3}, 'these weights fit model.decoder_layers=2'),
        ('mbart-cc25', 'mbart-cc25', {'max_positions': 41}, 'model.max_positions is 41, these weights have 40; lower it'),
        ('mbart-cc25', 'xlm-r', {}, "its model_type is 'mbart', model.family is xlm-r; set model.family=mbart-cc25 or mbart-50"),
        ('xlm-r', 'mbart-cc25', {}, "its model_type is 'xlm-roberta', model.family is mbart-cc25; set model.family=xlm-r"),
        ('xlm-r', 'xlm-r', {'text_layers': 3}, 'model.text_layers + model.cross_layers is 3 + 2, these weights have 4 layers for both'),
    ],
)
def test_misfits_are_named(home: Path, published: Published, weights: str, family: str, model: dict[str, int], words: str) -> None:
    assert words in refusal(home, family, published[weights][1], **model)


def test_another_vocabulary(home: Path, published: Published, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs, _ = published['mbart-cc25']
    larger = type(theirs)(type(theirs.config)(**{**theirs.config.to_dict(), 'vocab_size': theirs.config.vocab_size + 3}))
    larger.save_pretrained(tmp_path / 'larger')
    message = refusal(home, 'mbart-cc25', tmp_path / 'larger')
    assert f'it has {theirs.config.vocab_size + 3} token ids, which do not fit the' in message
    assert "take over the weights' own sentencepiece.bpe.model with `data_pipeline tokenizer import`" in message

    theirs.save_pretrained(tmp_path / 'other')
    unsure = f'{tmp_path / "other"} has no {MODEL}: whether it was trained with data.tokenizer cannot be checked'
    started(home, 'mbart-cc25', tmp_path / 'other')
    assert [record.getMessage() for record in caplog.records] == [unsure]
    caplog.clear()
    ours = (home / 'tokenizer' / MODEL).read_bytes()
    (tmp_path / 'other' / MODEL).write_bytes(ours)
    started(home, 'mbart-cc25', tmp_path / 'other')
    assert not caplog.records
    piece = Tokenizer(ours).piece_list()[300].encode()
    (tmp_path / 'other' / MODEL).write_bytes(ours.replace(piece, piece[:-1] + bytes([piece[-1] ^ 1]), 1))
    assert 'has other pieces than data.tokenizer' in refusal(home, 'mbart-cc25', tmp_path / 'other')


def test_weights_that_do_not_fit_their_config(home: Path, published: Published, tmp_path: Path) -> None:
    theirs, _ = published['mbart-cc25']
    state = {name: tensor for name, tensor in theirs.state_dict().items() if not name.endswith('layers.1.fc1.bias')}
    theirs.save_pretrained(tmp_path / 'lacking', state_dict=state)
    assert 'it has no tensor model.encoder.layers.1.fc1.bias' in refusal(home, 'mbart-cc25', tmp_path / 'lacking')
    state = {**theirs.state_dict(), 'model.encoder.layers.1.fc1.bias': torch.zeros(63)}
    theirs.save_pretrained(tmp_path / 'short', state_dict=state)
    assert 'model.encoder.layers.1.fc1.bias has 63, text_encoder.layers.1.fc1.bias needs 64' in refusal(
        home, 'mbart-cc25', tmp_path / 'short'
    )
    biased = {**theirs.state_dict(), 'final_logits_bias': torch.ones(1, theirs.config.vocab_size)}
    theirs.save_pretrained(tmp_path / 'biased', state_dict=biased)
    assert 'final_logits_bias is not zero' in refusal(home, 'mbart-cc25', tmp_path / 'biased')
