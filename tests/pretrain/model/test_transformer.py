"""Our packed transformer against transformers' MBart and timm's ViT with copied weights (issue 2: each loss and state against an
independent implementation)."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MBartConfig

from pretrain.config import Model, Visual
from pretrain.data.batch import Texts
from pretrain.model.packed import Layout, pack, pad
from pretrain.model.unix2 import EOS, UniX2
from pretrain.tasks.token_loss import token_loss
from tests.support.copying import PAD, copy_stack, mbart_of
from tests.support.output_shapes import OutputShapes

VOCABULARY = 97
SMALL = Model(
    visual=Visual(name='vit_base_patch16_224', image_size=32, options={'embed_dim': 24, 'depth': 2, 'num_heads': 2, 'patch_size': 8}),
    dim=32, heads=4, ffn=64, text_layers=2, cross_layers=2, decoder_layers=2, max_positions=40, dropout=0.0, projection=16, token_std=0.2,
)  # fmt: skip


@pytest.fixture(scope='module')
def model() -> UniX2:
    torch.manual_seed(0)
    model = UniX2(SMALL, VOCABULARY).eval()
    for parameter in model.parameters():  # biases and norms that differ from 0 and 1, so that a swapped one shows
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope='module')
def reference(model: UniX2) -> Any:
    return mbart_of(model)


def ragged(lengths: list[int], seed: int = 1) -> tuple[Texts, Tensor, Tensor]:
    """Packed texts, and the same right-padded with their mask."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(4, VOCABULARY, (length,), generator=generator) for length in lengths]
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    mask = (torch.arange(padded.shape[1])[None] < torch.tensor(lengths)[:, None]).long()
    return Texts(torch.cat(rows), torch.tensor(lengths)), padded, mask


@pytest.mark.parametrize('lengths', [[7, 3, 12, 1], [5, 5, 5]])
def test_text_encoder_is_mbarts(model: Any, reference: Any, lengths: list[int]) -> None:
    texts, padded, mask = ragged(lengths)
    theirs = reference.model.encoder(input_ids=padded, attention_mask=mask).last_hidden_state[mask.bool()]
    torch.testing.assert_close(model.encode_texts(texts).tokens, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('whole', [0, 2, 5])
@pytest.mark.parametrize('pooling', ['cls', 'eos'])
def test_one_token_of_the_later_rows_is_mbarts(
    model: Any, reference: Any, whole: int, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are only contrasted leave the last layer as one token; that and the whole rows before them are as when all are computed,
    and so are the gradients."""
    monkeypatch.setattr(model, 'config', SMALL.model_copy(update={'text_pooling': pooling}))
    texts, padded, mask = ragged([7, 3, 12, 1, 9])
    ends = [4, 2, 0, 0, 8]  # of row 2 none: its first token stands for it
    for row, end in enumerate(ends):
        if end:
            padded[row, [end - 1, end]] = EOS
    texts = Texts(padded[mask.bool()], texts.lengths)
    encoded = model.encode_texts(texts, whole=whole)
    states = reference.model.encoder(input_ids=padded, attention_mask=mask).last_hidden_state
    places = ends if pooling == 'eos' else [0] * 5
    lengths = texts.lengths.tolist()
    theirs = torch.cat([states[row, :length] if row < whole else states[row, places[row]][None] for row, length in enumerate(lengths)])
    torch.testing.assert_close(encoded.tokens, theirs, atol=1e-5, rtol=1e-5)
    pooled = model.pooled(encoded, whole) if whole < 5 else encoded.tokens
    torch.testing.assert_close(pooled, theirs[-len(pooled) :], atol=1e-5, rtol=1e-5)

    weights = torch.randn_like(theirs)
    ours, wanted = (
        torch.autograd.grad((values * weights).sum(), [*parameters])
        for values, parameters in (
            (encoded.tokens, (model.embed_tokens, model.text_encoder.layers[1].fc1.weight, model.text_encoder.layers[0].fc1.weight)),
            (theirs, (reference.model.shared.weight, *(reference.model.encoder.layers[layer].fc1.weight for layer in (1, 0)))),
        )
    )
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_decoder_loss_and_gradients_are_mbarts(model: Any, reference: Any) -> None:
    source, source_padded, source_mask = ragged([6, 9, 2])
    target, target_padded, target_mask = ragged([4, 11, 7], seed=2)
    labels = target_padded.masked_fill(target_mask == 0, -100)
    out = reference(input_ids=source_padded, attention_mask=source_mask, labels=labels)
    # MBART: the last token wraps to the front
    shifted = torch.cat([torch.cat([row[-1:], row[:-1]]) for row in target.ids.split(target.lengths.tolist())])

    states = model.decode(Texts(shifted, target.lengths), model.encode_texts(source))
    loss = token_loss(states, target.ids, model.embed_tokens)[0] / len(target.ids)
    torch.testing.assert_close(loss, out.loss, atol=1e-5, rtol=1e-5)
    model.zero_grad(), reference.zero_grad()
    loss.backward(), out.loss.backward()
    pairs = [
        (model.embed_tokens.grad, reference.model.shared.weight.grad),
        (model.decoder.layers[0].fc1.weight.grad, reference.model.decoder.layers[0].fc1.weight.grad),
        (model.text_encoder.layers[0].self_attn.qkv_proj.weight.grad[:32], reference.model.encoder.layers[0].self_attn.q_proj.weight.grad),
        (model.decoder.layers[1].encoder_attn.kv_proj.weight.grad[32:], reference.model.decoder.layers[1].encoder_attn.v_proj.weight.grad),
        (model.text_positions.weight.grad, reference.model.encoder.embed_positions.weight.grad),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_visual_encoder_is_timms(model: Any) -> None:
    options: dict[str, Any] = {'img_size': 32, 'embed_dim': 24, 'depth': 2, 'num_heads': 2, 'patch_size': 8}
    theirs: Any = timm.create_model('vit_base_patch16_224', num_classes=0, **options).eval()
    theirs.load_state_dict(model.visual_encoder.state_dict())
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(model.encode_images(images), theirs.forward_features((images / 255 - 0.5) / 0.5), atol=1e-5, rtol=1e-5)


def test_cross_encoder_fuses_as_a_padded_stream(model: Any) -> None:
    """Row 1 has no picture. The reference pads, concatenates and masks, with transformers' encoder layers holding our weights."""
    texts, _, _ = ragged([4, 6, 2])
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    rows = torch.tensor([0, 2])
    encoded = model.fuse(texts, images, rows)

    from transformers.models.mbart.modeling_mbart import MBartEncoder

    config = MBartConfig(vocab_size=9, d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, dropout=0.0)
    cross: Any = MBartEncoder(config).eval()
    copy_stack(cross, model.cross_encoder)
    text = model.encode_texts(texts)
    visual = model.visual_norm(model.visual_bridge(model.encode_images(images))) + model.modality[2]
    for row, states in enumerate(text.tokens.split(texts.lengths.tolist())):
        parts = [model.mm_cls + model.modality[0], states + model.modality[1]]
        if row in rows.tolist():
            parts.append(visual[rows.tolist().index(row)])
        stream = F.pad(cross.layernorm_embedding(torch.cat(parts))[None], (0, 0, 0, 3))  # and three places of padding, masked
        padding = torch.arange(stream.shape[1]) >= stream.shape[1] - 3
        keep = torch.zeros(1, 1, 1, stream.shape[1]).masked_fill(padding, torch.finfo(torch.float32).min)
        for layer in cross.layers:
            out = layer(stream, attention_mask=keep, layer_head_mask=None)
            stream = out[0] if isinstance(out, tuple) else out
        expected = cross.layer_norm(stream[0, :-3])
        ours = encoded.tokens.split(encoded.layout.lengths.tolist())[row]
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoded.first()[1], encoded.states[encoded.layout.starts[1]])


def test_packing_is_exact_and_differentiable() -> None:
    layout = Layout.of(torch.tensor([2, 5, 1]), 'cpu')
    assert (layout.tokens, layout.total) == (8, 64)
    x = torch.randn(64, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(pack(pad(x, layout), layout)[:8], x[:8])
    assert not pack(pad(x, layout), layout)[8:].any()
    assert not pad(x, layout)[0, 2:].any()
    assert torch.autograd.gradcheck(lambda y: pad(y, layout) ** 2, x)
    padded = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: pack(y, layout) ** 2, padded)
    even = Layout.of(torch.tensor([4, 4]), 'cpu')
    assert even.valid is None and torch.equal(pad(x, even), x[:8].view(2, 4, 3))


@pytest.mark.parametrize('chunk', [1, 7, 10_000])
def test_token_loss_is_cross_entropy(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('pretrain.tasks.token_loss.CHUNK_LOGITS', chunk * 11)
    monkeypatch.setattr('pretrain.tasks.token_loss.MIN_ROWS', 1)
    states, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((23, 6), (11, 6), (11,)))
    labels = torch.randint(0, 11, (23,))
    ours, sums = token_loss(states, labels, weight, bias)
    theirs = F.cross_entropy(states @ weight.T + bias, labels, reduction='sum')
    torch.testing.assert_close(ours, theirs)
    assert sums.tolist() == [ours.item()]
    leaves = (states, weight, bias)
    for a, b in zip(torch.autograd.grad(ours * 3, leaves), torch.autograd.grad(theirs * 3, leaves), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert token_loss(states[:0], labels[:0], weight, bias)[0].item() == 0


def test_token_loss_ignores_idle_rows() -> None:
    states, weight, labels = torch.randn(64, 6, requires_grad=True), torch.randn(11, 6, requires_grad=True), torch.randint(0, 11, (23,))
    ours = torch.autograd.grad(token_loss(states, labels, weight)[0], (states, weight))
    theirs = torch.autograd.grad(F.cross_entropy(states[:23] @ weight.T, labels, reduction='sum'), (states, weight))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('frozen', [False, True])
def test_token_loss_without_gradient_holds_none(frozen: bool) -> None:
    """Neither under `no_grad`, though the weights are a model's parameters, nor where nothing wants one: one product, of the logits."""
    states, weight, bias = torch.randn(3, 4), nn.Parameter(torch.randn(5, 4), not frozen), nn.Parameter(torch.randn(5), not frozen)
    with torch.set_grad_enabled(frozen), OutputShapes() as seen:
        loss, _ = token_loss(states, torch.tensor([0, 1, 2]), weight, bias)
    assert not loss.requires_grad
    assert seen.count('mm') == 1 and not seen.of((5, 4))


@pytest.mark.parametrize('family', ['mbart-cc25', 'xlm-r'])
def test_recomputed_layers_give_the_same_loss_and_gradients_and_keep_less(family: str) -> None:
    """Activation checkpointing with dropout against the same model without."""

    def run(recompute: bool) -> tuple[Tensor, dict[str, Tensor], int]:
        torch.manual_seed(0)
        model = UniX2(SMALL.model_copy(update={'dropout': 0.3, 'recompute': recompute, 'family': family}), VOCABULARY)
        source, target = ragged([6, 9, 2])[0], ragged([4, 11, 7], seed=2)[0]
        images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        saved = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.nbytes
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            states = model.decode(target, model.fuse(source, images, torch.arange(3)))
            loss, _ = token_loss(states, target.ids, model.embed_tokens)
        kept = saved
        loss.backward()
        return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, kept

    (loss, gradients, kept), (again, regained, kept_less) = run(False), run(True)
    torch.testing.assert_close(again, loss)
    assert set(gradients) == set(regained) and any(name.startswith('visual_encoder.blocks') for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(regained[name], gradient, atol=1e-6, rtol=1e-5)
    assert kept_less < 0.6 * kept
