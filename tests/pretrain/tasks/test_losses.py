"""Each task's loss against a few lines of plain PyTorch on padded tensors, in one process, without the step that merges them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pretrain.config import TASKS, Task
from pretrain.data.batch import TaskBatch
from pretrain.model.packed import Encoded
from pretrain.model.unix2 import UniX2
from pretrain.tasks import CONTRASTIVE, SUMMED
from pretrain.tasks.contrastive import contrastive_loss, feature_gradient
from pretrain.tasks.forward import features, forward
from pretrain.tasks.token_loss import token_loss
from tests.support.synthetic import VOCABULARY, task_batch, tiny_config

IGNORED = -100


@pytest.fixture(scope='module')
def model() -> UniX2:
    torch.manual_seed(0)
    return UniX2(tiny_config('').model, VOCABULARY)


def padded(rows: Tensor, lengths: Tensor, value: float = 0.0) -> Tensor:
    """(T, …) -> (B, longest, …)."""
    return pad_sequence(list(rows.split(lengths.tolist())), batch_first=True, padding_value=value)


def cross_entropy(states_BLD: Tensor, labels_BL: Tensor, model: UniX2, bias: Tensor | float = 0.0) -> Tensor:
    """Mean over the labels that are not padding."""
    logits = states_BLD @ model.embed_tokens.T + bias
    return F.cross_entropy(logits.transpose(1, 2), labels_BL, ignore_index=IGNORED)


def generation(model: UniX2, batch: TaskBatch, memory: Encoded) -> Tensor:
    assert batch.decoder_input is not None and batch.labels is not None
    lengths = batch.decoder_input.lengths
    states = model.decode(batch.decoder_input, memory)[: len(batch.labels)]
    return cross_entropy(padded(states, lengths), padded(batch.labels, lengths, IGNORED), model)


def masked(model: UniX2, batch: TaskBatch, encoded: Encoded) -> Tensor:
    """The text's part of the padded stream follows [MM_CLS]; labels stand at masked places only."""
    assert batch.masked is not None and batch.masked_labels is not None
    labels = torch.full_like(batch.text.ids, IGNORED)
    labels[batch.masked] = batch.masked_labels
    labels_BL = padded(labels, batch.text.lengths, IGNORED)
    states_BLD = padded(encoded.tokens, encoded.layout.lengths)[:, 1 : 1 + labels_BL.shape[1]]
    head = model.mlm_norm(F.gelu(states_BLD @ model.mlm_dense.weight.T + model.mlm_dense.bias))
    return cross_entropy(head, labels_BL, model, model.mlm_bias)


def matching(model: UniX2, batch: TaskBatch, encoded: Encoded) -> Tensor:
    assert batch.match is not None
    cls_BD = padded(encoded.tokens, encoded.layout.lengths)[:, 0]
    return F.binary_cross_entropy(torch.sigmoid(cls_BD @ model.itm_head.weight[0] + model.itm_head.bias), batch.match)


def gradients(model: UniX2, losses: list[Tensor]) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(torch.stack(losses).sum(), list(model.parameters()), allow_unused=True, retain_graph=True)


TERMS: dict[str, list[Callable[[UniX2, TaskBatch, Encoded], Tensor]]] = {
    'itm': [matching], 'mlm': [masked], 'plm': [generation], 'vplm': [generation], 'mt': [generation], 'mmmt': [generation, masked],
}  # fmt: skip


@pytest.mark.parametrize('task', TERMS)
def test_sums_over_counts_are_the_plain_means(model: UniX2, task: str) -> None:
    """Losses and the gradient of every weight."""
    batch = task_batch(task)
    counts = SUMMED[task].counts(batch)
    outcome = forward(model, {task: batch}, {task: {name: 1 / count for name, count in counts.items()}})
    sums = outcome.sums[task]
    assert list(sums) == list(counts) and len(sums) == len(TERMS[task])
    encoded = model.fuse(batch.text, batch.images, batch.image_rows)
    plain = [term(model, batch, encoded) for term in TERMS[task]]
    for (name, value), wanted in zip(sums.items(), plain, strict=True):
        torch.testing.assert_close(value / counts[name], wanted.detach(), atol=1e-6, rtol=1e-5)
    ours, theirs = gradients(model, [outcome.total]), gradients(model, plain)
    for (name, _), got, want in zip(model.named_parameters(), ours, theirs, strict=True):
        assert (got is None) == (want is None), name
        if got is not None and want is not None:
            torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4, msg=partial('{}: {}'.format, name))


def test_what_is_counted() -> None:
    batches = {task: task_batch(task) for task in TASKS}
    assert SUMMED['itm'].counts(batches['itm']) == {'itm': 8}
    assert SUMMED['mlm'].counts(batches['mlm']) == {'mlm': 7}
    for task in ('plm', 'vplm', 'mt'):
        labels = batches[task].labels
        assert labels is not None and SUMMED[task].counts(batches[task]) == {task: len(labels)}
    assert SUMMED['mmmt'].counts(batches['mmmt'])['mmmt_masked'] == 7


def test_every_task_that_the_settings_name_is_registered() -> None:
    assert {*SUMMED, *CONTRASTIVE} == {*get_args(Task)} and not SUMMED.keys() & CONTRASTIVE.keys()
    assert {*TASKS, 'vtlm', 'entailment', 'answering', 'translation', 'captioning'} <= {*SUMMED, *CONTRASTIVE}


def test_vtlm_is_mlm_on_a_text_that_is_two_captions(model: UniX2) -> None:
    """Which words are masked is the batch's doing (tests/pretrain/data/test_lexicon.py); the loss is that of masked words."""
    batch = task_batch('mlm')
    assert SUMMED['vtlm'].counts(batch) == {'vtlm': 7}
    assert batch.masked is not None and batch.masked_labels is not None
    fused = model.fuse(batch.text, batch.images, batch.image_rows)
    states = model.mlm_states(fused, model.encode_texts(batch.text).layout, batch.masked)[:7]
    plain = F.cross_entropy(states @ model.embed_tokens.T + model.mlm_bias, batch.masked_labels, reduction='sum')
    batch.task = 'vtlm'
    torch.testing.assert_close(forward(model, {'vtlm': batch}).total, plain, atol=1e-5, rtol=1e-5)


def test_a_batch_without_a_masked_token_is_zero(model: UniX2) -> None:
    batch = task_batch('mlm')
    batch.masked, batch.masked_labels = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    loss = forward(model, {'mlm': batch}).total
    (gradient,) = torch.autograd.grad(loss, [model.embed_tokens])
    assert loss.item() == 0.0 and not gradient.any() and SUMMED['mlm'].counts(batch) == {'mlm': 0}


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True)


def plain_contrastive(x: Tensor, y: Tensor, scale: Tensor, positives: list[set[int]]) -> Tensor:
    """InfoNCE row by row and column by column, a row's positives with equal weight; the paper's two sums, each divided by N, averaged."""
    loss = torch.zeros((), dtype=x.dtype)
    for i, belongs in enumerate(positives):
        for scores in (scale * (y @ x[i]), scale * (x @ y[i])):
            loss = loss - sum(torch.log(scores[j].exp() / scores.exp().sum()) for j in belongs) / len(belongs) / 2
    return (loss / len(positives)).squeeze()


def pairs(*groups: set[int], count: int = 8) -> list[set[int]]:
    """Every row alone, but for the groups."""
    return [next((group for group in groups if row in group), {row}) for row in range(count)]


def test_cmcl(model: UniX2) -> None:
    """Rows 0 and 3 show the same picture, rows 1 and 2 have the same text: positives, never negatives."""
    batch, task = task_batch('cmcl'), CONTRASTIVE['cmcl']
    x, y = features(model, batch)
    positives = task.positives(task.keys(batch))
    assert batch.images is not None
    visual = unit(model.encode_images(batch.images)[:, 0] @ model.visual_projection.weight.T)
    encoded = model.encode_texts(batch.text)
    text = unit(padded(encoded.tokens, batch.text.lengths)[:, 0] @ model.text_projection.weight.T)
    scale = model.logit_scale.exp()
    wanted = plain_contrastive(visual, text, scale, pairs({0, 3}, {1, 2}))
    torch.testing.assert_close(contrastive_loss(x, y, model.scale(), positives), wanted, atol=1e-6, rtol=1e-5)


def test_clcl_with_doubles_within_and_across_sides(model: UniX2) -> None:
    batch, task = task_batch('clcl'), CONTRASTIVE['clcl']
    assert batch.text_ids is not None and batch.other_ids is not None and batch.other is not None
    batch.other_ids[4] = batch.text_ids[6]  # the sentence of one row is the translation of another
    positives = task.positives(task.keys(batch))
    states = [padded(model.encode_texts(side).tokens, side.lengths)[:, 0] for side in (batch.text, batch.other)]
    x, y = (unit(cls_BD @ model.text_projection.weight.T) for cls_BD in states)
    related = {(row, row) for row in range(8)} | {(1, 2), (2, 1), (6, 4)}
    assert {(i, j) for i, j in positives.nonzero().tolist()} == related
    loss = torch.zeros(())
    for i in range(8):
        row, column = (model.logit_scale.exp() * scores for scores in (y @ x[i], x @ y[i]))
        for scores, belongs in ((row, [j for a, j in related if a == i]), (column, [j for j, b in related if b == i])):
            loss = loss + (scores.logsumexp(0) - scores[belongs]).mean() / 16
    torch.testing.assert_close(contrastive_loss(*features(model, batch), model.scale(), positives), loss, atol=1e-6, rtol=1e-5)


def test_a_pair_of_the_batch_is_a_positive_wherever_it_meets() -> None:
    """Pictures P, Q and captions a, b in the pairs Pa, Pb, Qb, Rc: P with b and Q with b belong together, Q with a is not known to."""
    keys = torch.tensor([[1, 10], [1, 11], [2, 11], [3, 12]])
    wanted = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(CONTRASTIVE['cmcl'].positives(keys), wanted)
    # Sentences: 1-10, 1-11, 2-11, and 10-2, whose sides are the other way round: 2 belongs to 10 as well.
    found = CONTRASTIVE['clcl'].positives(torch.tensor([[1, 10], [1, 11], [2, 11], [10, 2]]))
    wanted = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(found, wanted)


def test_without_doubles_it_is_plain_infonce() -> None:
    torch.manual_seed(1)
    x, y, scale = unit(torch.randn(6, 4)), unit(torch.randn(6, 4)), torch.tensor([14.0])
    logits, diagonal = scale * x @ y.T, torch.arange(6)
    wanted = (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
    torch.testing.assert_close(contrastive_loss(x, y, scale, torch.eye(6, dtype=torch.bool)), wanted)


def test_feature_gradient_is_autograds_and_that_of_finite_differences() -> None:
    torch.manual_seed(2)
    x, y, scale = unit(torch.randn(8, 5)), unit(torch.randn(8, 5)), torch.tensor([3.0])
    positives = pairs({0, 3}, {1, 2})
    matrix = torch.tensor([[j in positives[i] for j in range(8)] for i in range(8)])
    got = feature_gradient(x, y, scale, matrix)
    leaves = [tensor.double().requires_grad_() for tensor in (x, y, scale)]
    wanted = plain_contrastive(leaves[0], leaves[1], leaves[2], positives)
    gradients = torch.autograd.grad(wanted, leaves)
    torch.testing.assert_close(got.loss.double(), wanted.detach(), atol=1e-6, rtol=1e-5)
    step = 1e-5
    for ours, theirs, position in zip((got.x, got.y, got.scale), gradients, range(3), strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=1e-4)
        for index in torch.randperm(ours.numel())[:6].tolist():
            values = []
            for sign in (1, -1):
                moved = [leaf.detach().clone() for leaf in leaves]
                moved[position].view(-1)[index] += sign * step
                values.append(contrastive_loss(moved[0], moved[1], moved[2], matrix))
            assert float((values[0] - values[1]) / (2 * step)) == pytest.approx(float(ours.flatten()[index]), abs=1e-5)
    assert not got.loss.requires_grad and not got.x.requires_grad


def test_scale_is_learnt_up_to_100(model: UniX2) -> None:
    """Beyond 100 nothing raises it further, and what lowers it is followed: it does not stay there for ever."""
    assert model.logit_scale.shape == (1,)
    before = model.logit_scale.detach().clone()
    torch.testing.assert_close(before, torch.tensor([math.log(1 / 0.07)]))
    try:
        for value, expected, raising, lowering in ((50.0, 50.0, -50.0, 50.0), (99.9, 99.9, -99.9, 99.9), (101.0, 100.0, 0.0, 101.0)):
            model.logit_scale.data.fill_(math.log(value))
            for sign, slope in ((-1, raising), (1, lowering)):
                scale = model.scale()
                torch.testing.assert_close(scale.detach(), torch.tensor([expected]))
                (gradient,) = torch.autograd.grad(sign * scale.sum(), [model.logit_scale])
                torch.testing.assert_close(gradient, torch.tensor([slope]))
    finally:
        model.logit_scale.data.copy_(before)


def test_a_scale_that_was_carried_beyond_100_comes_back(model: UniX2) -> None:
    """As CLIP's own does, which sets the parameter back after every update."""
    before = model.logit_scale.detach().clone()
    theirs = torch.nn.Parameter(torch.tensor([math.log(90.0)]))
    optimizers = [torch.optim.SGD([one], lr=1e-3) for one in (model.logit_scale, theirs)]
    try:
        model.logit_scale.data.copy_(theirs.data)
        highest = []
        for step in range(40):
            sign = -1 if step < 20 else 1
            for optimizer, scale in zip(optimizers, (model.scale(), theirs.exp()), strict=True):
                optimizer.zero_grad()
                (sign * scale.sum()).backward()
                optimizer.step()
            theirs.data.clamp_(max=math.log(100))
            highest.append((model.scale().item(), theirs.exp().item()))
        assert max(ours for ours, _ in highest) == pytest.approx(100)
        assert highest[-1][0] < 40 and highest[-1][0] == pytest.approx(highest[-1][1], rel=0.1)
    finally:
        model.logit_scale.data.copy_(before)
        model.logit_scale.grad = None


@pytest.fixture(scope='module')
def half() -> UniX2:
    """A model as bf16 training runs it."""
    torch.manual_seed(0)
    return UniX2(tiny_config('').model, VOCABULARY).bfloat16()


@pytest.mark.parametrize('task', CONTRASTIVE)
def test_contrast_of_a_bf16_model_runs_in_fp32(half: UniX2, task: str) -> None:
    """From the division by the length on: bf16 would be off by 0.4 % there, and at a scale of 100 by half a nat in the softmax."""
    batch = task_batch(task)
    x, y = features(half, batch)
    assert x.dtype == y.dtype == half.scale().dtype == torch.float32
    for side in (x, y):
        torch.testing.assert_close(side.norm(dim=1), torch.ones(8), atol=1e-6, rtol=0)
    scale, positives = torch.tensor([100.0]), CONTRASTIVE[task].positives(CONTRASTIVE[task].keys(batch))
    got = feature_gradient(x, y, scale, positives)
    leaves = [tensor.detach().double().requires_grad_() for tensor in (x, y, scale)]
    wanted = plain_contrastive(leaves[0], leaves[1], leaves[2], [set(row.nonzero().flatten().tolist()) for row in positives])
    torch.testing.assert_close(got.loss.double(), wanted.detach(), atol=1e-5, rtol=1e-5)
    for ours, theirs in zip((got.x, got.y, got.scale), torch.autograd.grad(wanted, leaves), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_sums_of_a_bf16_model_run_in_fp32(half: UniX2) -> None:
    """What the output layer gives is bf16; the softmax over it, its logarithm and the sum over hundreds of tokens are not."""
    generator = torch.Generator().manual_seed(3)
    states, labels = torch.randn(700, 16, generator=generator).bfloat16(), torch.randint(0, VOCABULARY, (700,), generator=generator)
    total, sums = token_loss(states, labels, half.embed_tokens, half.mlm_bias)
    logits = (states @ half.embed_tokens.T).double() + half.mlm_bias.double()
    assert total.dtype == sums.dtype == torch.float32
    torch.testing.assert_close(total.double(), F.cross_entropy(logits, labels, reduction='sum'), atol=0, rtol=1e-5)
    batch = task_batch('itm')
    assert batch.match is not None
    first = half.fuse(batch.text, batch.images, batch.image_rows).first()
    wanted = F.binary_cross_entropy_with_logits(half.itm_head(first).squeeze(1).double(), batch.match.double(), reduction='sum')
    (found,) = forward(half, {'itm': batch}).sums['itm'].values()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, atol=0, rtol=1e-6)
