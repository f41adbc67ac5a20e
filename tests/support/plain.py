"""The merged loss in plain PyTorch: one process, the whole global batch, no DeepSpeed, no gradient caching, no shares of ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.batch import TEXT, TaskBatch, Texts
from pretrain.data.rng import generator
from pretrain.model.unix2 import UniX2, text_places
from tests.support.synthetic import texts

DOUBLES = {'cmcl': [{0, 3}, {1, 2}], 'clcl': [{1, 2}]}  # rows of `task_batch` that belong together


def plain_loss(model: UniX2, task: str, batch: TaskBatch, ignore_doubles: bool = False, factor: float = 0.5) -> Tensor:
    """The paper's losses in a few lines of PyTorch."""
    if task in DOUBLES:
        return plain_contrastive(model, task, batch, ignore_doubles, factor)
    encoded = model.fuse(batch.text, batch.images, batch.image_rows)
    if task == 'itm':
        match = true_match(batch, batch)
        probability = torch.sigmoid(model.itm_head(encoded.states[encoded.layout.starts]).squeeze(1))
        return -(match * probability.log() + (1 - match) * (1 - probability).log()).mean()
    if batch.classes is not None:
        return plain_classes(model, encoded.states[encoded.layout.starts], batch.classes, exclusive=task == 'entailment')
    loss = torch.zeros((), dtype=model.embed_tokens.dtype)
    if batch.masked is not None and batch.masked_labels is not None:
        states = encoded.states[text_places(model.encode_texts(batch.text).layout, encoded.layout)[batch.masked]]
        logits = model.mlm_norm(F.gelu(model.mlm_dense(states))) @ model.embed_tokens.T + model.mlm_bias
        loss = loss + F.cross_entropy(logits, batch.masked_labels)
    if batch.decoder_input is not None and batch.labels is not None:
        loss = loss + F.cross_entropy(model.decode(batch.decoder_input, encoded)[: len(batch.labels)] @ model.embed_tokens.T, batch.labels)
    return loss


def plain_classes(model: UniX2, first: Tensor, classes: Tensor, exclusive: bool) -> Tensor:
    """An MLP on [MM_CLS]: -sum q log p over classes that exclude each other, or over yes and no of every class; mean over rows."""
    hidden = F.gelu(first @ model.class_dense.weight.T + model.class_dense.bias)
    hidden = (hidden - hidden.mean(1, keepdim=True)) / (hidden.var(1, unbiased=False, keepdim=True) + model.class_norm.eps).sqrt()
    hidden = hidden * model.class_norm.weight + model.class_norm.bias
    scores = hidden @ model.class_scores.weight.T + model.class_scores.bias
    if exclusive:
        return -(classes * (scores - scores.logsumexp(1, keepdim=True))).sum(1).mean()
    yes = torch.sigmoid(scores)
    return -(classes * yes.log() + (1 - classes) * (1 - yes).log()).sum(1).mean()


def sides(model: UniX2, task: str, batch: TaskBatch) -> tuple[Tensor, Tensor]:
    """Unit vectors of pictures and captions, or of both sides of a translation."""
    if task == 'clcl':
        assert batch.other is not None
        return text_vectors(model, batch.text), text_vectors(model, batch.other)
    assert batch.images is not None
    return F.normalize(model.visual_projection(model.encode_images(batch.images)[:, 0]), dim=1), text_vectors(model, batch.text)


def text_vectors(model: UniX2, rows: Texts) -> Tensor:
    """Row by row: the state at position 0, at </s> (id 2), or the mean of all."""
    states = model.encode_texts(rows).tokens.split(rows.lengths.tolist())
    ids = rows.ids.split(rows.lengths.tolist())
    pooled = {
        'cls': lambda state, row: state[0],
        'eos': lambda state, row: state[row.tolist().index(2)],
        'mean': lambda state, row: state.mean(0),
    }[model.config.text_pooling]
    return F.normalize(model.text_projection(torch.stack([pooled(*pair) for pair in zip(states, ids, strict=True)])), dim=1)


def plain_contrastive(model: UniX2, task: str, batch: TaskBatch, ignore_doubles: bool, factor: float) -> Tensor:
    """InfoNCE, or SigLIP's loss where the model has a bias, row by row; doubles are positives with equal weight, or left out."""
    x, y = sides(model, task, batch)
    scores = model.logit_scale.exp() * x @ y.T
    loss = torch.zeros((), dtype=scores.dtype)
    for row in range(len(scores)):
        together = next((sorted(pair) for pair in DOUBLES[task] if row in pair), [row])
        positives, left_out = ([row], set(together) - {row}) if ignore_doubles else (together, set())
        kept = [column for column in range(len(scores)) if column not in left_out]
        if model.logit_bias is not None:
            for column in kept:
                sign = 1 if column in positives else -1
                loss = loss + torch.log1p(torch.exp(-sign * (scores[row, column] + model.logit_bias[0])))
            continue
        for direction in (scores[row], scores[:, row]):
            loss = loss - factor * (direction[positives] - direction[kept].logsumexp(0)).mean()
    return loss / len(scores)


def with_hard_negatives(model: UniX2, batch: TaskBatch, seed: int, step: int) -> TaskBatch:
    """The batch after its marked sides are replaced, chosen one row at a time by walking along the probabilities."""
    assert batch.images is not None and batch.replace is not None and batch.own_image_ids is not None and batch.text_ids is not None
    assert batch.own_text_ids is not None
    every = [set(row.tolist()) for row in batch.own_text_ids.ids.split(batch.own_text_ids.lengths.tolist())]
    seen, drawn = batch.own_image_ids.tolist(), batch.text_ids.tolist()
    with torch.no_grad():
        pictures, captions = sides(model, 'cmcl', batch)
    scale = float(model.logit_scale.detach().exp())
    images, rows = batch.images.clone(), list(batch.text.ids.split(batch.text.lengths.tolist()))
    match = torch.ones(len(batch))
    for i, mark in enumerate(batch.replace.tolist()):
        others = [j for j in range(len(batch)) if seen[i] != seen[j]]
        others = [j for j in others if (drawn[j] not in every[i] if mark == TEXT else drawn[i] not in every[j])]
        if mark == 0 or not others:
            continue
        weights = [float(torch.exp(scale * (pictures[i] @ captions[j] if mark == TEXT else captions[i] @ pictures[j]))) for j in others]
        draw = generator(seed, 'itm/hard', step, i).random() * sum(weights)
        j = next(j for number, j in enumerate(others) if draw < sum(weights[: number + 1]))
        pair = (seen[i], drawn[j]) if mark == TEXT else (seen[j], drawn[i])
        match[i] = pair in true_pairs(batch)
        if mark == TEXT:
            rows[i] = batch.text.ids.split(batch.text.lengths.tolist())[j]
        else:
            images[i] = batch.images[j]
    return TaskBatch('itm', batch.sample_ids, batch.languages, texts(rows), images, batch.image_rows, match=match)


def true_match(batch: TaskBatch, whole: TaskBatch) -> Tensor:
    """(B,) `match`, with 1 also where a record of ITM's global batch `whole` has what the row shows."""
    assert batch.match is not None
    if batch.image_ids is None or batch.text_ids is None:  # of `with_hard_negatives`, which has seen to it
        return batch.match
    shown = zip(batch.image_ids.tolist(), batch.text_ids.tolist(), strict=True)
    return torch.tensor([float(bool(match) or pair in true_pairs(whole)) for match, pair in zip(batch.match, shown, strict=True)])


def true_pairs(batch: TaskBatch) -> set[tuple[int, int]]:
    """(picture, text) that a record of ITM's global batch has together."""
    assert batch.own_image_ids is not None and batch.own_text_ids is not None
    captions = batch.own_text_ids.ids.split(batch.own_text_ids.lengths.tolist())
    return {(picture, text) for picture, row in zip(batch.own_image_ids.tolist(), captions, strict=True) for text in row.tolist()}
