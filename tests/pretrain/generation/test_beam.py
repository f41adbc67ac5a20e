"""Our search against transformers' `generate` with the same weights: greedy and beam, languages, padding, pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from pretrain.config import Model, Visual
from pretrain.data.batch import Texts
from pretrain.generation import Decoding, Diverged, search
from pretrain.model.packed import Encoded, pad
from pretrain.model.unix2 import UniX2
from tests.support.copying import PAD, mbart_of
from tests.support.published import scrambled

VOCABULARY, EOS = 29, 2
LANGUAGES = (25, 26, 27)
LENGTHS = [5, 2, 11, 1, 7, 3]
SMALL = Model(
    visual=Visual(name='vit_base_patch16_224', image_size=32, options={'embed_dim': 24, 'depth': 1, 'num_heads': 2, 'patch_size': 16}),
    dim=32, heads=4, ffn=64, text_layers=1, cross_layers=1, decoder_layers=2, max_positions=40, dropout=0.1, projection=16,
)  # fmt: skip


@pytest.fixture(scope='module')
def model() -> UniX2:
    """Random, but of sizes with which what is written depends on all before it, and ends early and late: else every text of a random
    model repeats one token to the end."""
    model = scrambled(UniX2(SMALL, VOCABULARY), seed=1, std=0.7)
    model.embed_tokens.data /= 7
    model.embed_tokens.data[EOS] *= 1.3
    model.decoder.layer_norm.bias.data.zero_()
    return model


@pytest.fixture(scope='module')
def reference(model: UniX2) -> Any:
    return mbart_of(model)


def sources(seed: int) -> tuple[Texts, Tensor, Tensor]:
    """Packed texts, and the same right-padded with their mask."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(4, 25, (length,), generator=generator) for length in LENGTHS]
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    return Texts(torch.cat(rows), torch.tensor(LENGTHS)), padded, (padded != PAD).long()


def generated(reference: Any, prompt: list[int], decoding: Decoding, **inputs: Any) -> list[list[int]]:
    """What transformers writes after the prompt: its first token starts the decoder, a second one is the forced first."""
    forced = {'forced_bos_token_id': prompt[1]} if len(prompt) > 1 else {}
    out = reference.generate(
        **inputs, **forced, decoder_start_token_id=prompt[0], forced_eos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False,
        num_beams=decoding.beams, max_length=len(prompt) + decoding.max_tokens,
        **({'length_penalty': decoding.length_penalty, 'early_stopping': decoding.early_stopping} if decoding.beams > 1 else {}),
    )  # fmt: skip
    rows = [row[len(prompt) :] for row in out.tolist()]
    return [row[: row.index(EOS)] for row in rows]


CASES = [
    Decoding(beams=1, max_tokens=20), Decoding(beams=4, max_tokens=20), Decoding(beams=4, max_tokens=20, early_stopping=True),
    Decoding(beams=4, max_tokens=12, length_penalty=0.8, early_stopping='never'), Decoding(beams=3, max_tokens=15, length_penalty=0.3),
    Decoding(beams=5, max_tokens=1),
]  # fmt: skip


@pytest.mark.parametrize('decoding', CASES, ids=str)
@pytest.mark.parametrize('start', ['lang', '</s> lang'])
def test_texts_are_those_of_transformers(model: UniX2, reference: Any, decoding: Decoding, start: str) -> None:
    """cc25 starts from the language, mBART-50 from `</s>` with the language forced."""
    lengths = set()
    for seed, language in enumerate(LANGUAGES):
        texts, padded, mask = sources(seed)
        prompt = [language] if start == 'lang' else [EOS, language]
        ours = search(model, model.encode_texts(texts), torch.tensor([prompt] * len(LENGTHS)), decoding)
        assert ours.ids == generated(reference, prompt, decoding, input_ids=padded, attention_mask=mask)
        lengths |= {len(row) for row in ours.ids}
    assert decoding.max_tokens == 1 or len(lengths) > 1, 'texts that all end alike prove little'


def test_languages_mix_in_a_batch(model: UniX2) -> None:
    """A row's text depends on its own source and language alone."""
    texts, _, _ = sources(0)
    prompts = torch.tensor([[EOS, LANGUAGES[row % 3]] for row in range(len(LENGTHS))])
    decoding = Decoding(max_tokens=20)
    together = search(model, model.encode_texts(texts), prompts, decoding)
    for row, ids in enumerate(texts.ids.split(LENGTHS)):
        alone = search(model, model.encode_texts(Texts(ids, torch.tensor([len(ids)]))), prompts[row : row + 1], decoding)
        assert alone.ids[0] == together.ids[row]
        torch.testing.assert_close(alone.scores[0], together.scores[row])


@torch.no_grad()
def fused(model: UniX2, seed: int) -> Encoded:
    """Rows 0, 2 and 5 with a picture."""
    texts, _, _ = sources(seed)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return model.fuse(texts, images, torch.tensor([0, 2, 5]))


@pytest.mark.parametrize('decoding', CASES[:3], ids=str)
def test_with_pictures(model: UniX2, reference: Any, decoding: Decoding) -> None:
    """transformers' decoder and search over the padded stream of text and picture."""
    for seed, language in enumerate(LANGUAGES):
        memory = fused(model, seed)
        states, lengths = pad(memory.states, memory.layout), memory.layout.lengths
        mask = (torch.arange(states.shape[1]) < lengths[:, None]).long()
        ours = search(model, memory, torch.tensor([[language]] * len(LENGTHS)), decoding)
        outputs: Any = BaseModelOutput(last_hidden_state=states)  # type: ignore[arg-type]
        assert ours.ids == generated(reference, [language], decoding, encoder_outputs=outputs, attention_mask=mask)


@torch.no_grad()
def test_scores_are_the_uncached_models(model: UniX2) -> None:
    """The score of a text, by one forward over all of it."""
    memory, decoding = fused(model, 1), Decoding(max_tokens=20, length_penalty=0.7)
    prompts = torch.tensor([[LANGUAGES[0]]] * len(LENGTHS))
    written = search(model, memory, prompts, decoding)
    inputs = [[LANGUAGES[0], *ids] for ids in written.ids]
    packed = Texts(torch.tensor([token for row in inputs for token in row]), torch.tensor([len(row) for row in inputs]))
    states = model.decode(packed, memory)[: len(packed.ids)]
    log_probabilities = torch.log_softmax(states @ model.embed_tokens.T, 1).split(packed.lengths.tolist())
    for row, ids in enumerate(written.ids):
        ended = [*ids, EOS]
        forced = len(ended) == decoding.max_tokens
        total = sum(log_probabilities[row][place, token] for place, token in enumerate(ended[:-1] if forced else ended))
        torch.testing.assert_close(written.scores[row], torch.as_tensor(total / len(ended) ** 0.7), atol=1e-4, rtol=1e-4)


def test_what_cannot_be(model: UniX2) -> None:
    memory, prompts = fused(model, 0), torch.tensor([[LANGUAGES[0]]] * len(LENGTHS))
    with pytest.raises(ValueError, match='40 tokens after a prompt of 1 do not fit'):
        search(model, memory, prompts, Decoding(max_tokens=40))
    with pytest.raises(ValueError, match='beams=0'):
        search(model, memory, prompts, Decoding(beams=0))


@pytest.mark.parametrize('decoding', CASES[:3])
@pytest.mark.parametrize('row', [0, 3])
def test_a_model_that_gives_no_numbers_writes_nothing(model: UniX2, decoding: Decoding, row: int) -> None:
    """Also where it is so of one source alone."""
    texts, _, _ = sources(3)
    memory = model.eval().encode_texts(texts)
    states = memory.states.clone()
    start = sum(LENGTHS[:row])
    states[start : start + LENGTHS[row]] = float('nan')
    with pytest.raises(Diverged, match='what the decoder gives is not finite: the model has diverged'):
        search(model, replace(memory, states=states), torch.tensor([[LANGUAGES[0]]] * len(LENGTHS)), decoding)
