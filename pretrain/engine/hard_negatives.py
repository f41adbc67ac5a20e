"""Hard negatives of ITM: what replaces a picture or a text is drawn from the global batch by contrastive similarity (as ALBEF, arXiv
2107.07651, section 3.2; but over the global batch rather than a rank's own).

Only the model knows what is similar, so the loader marks which side of which pair is to be replaced, and the step replaces it. The choice
depends on the global batch alone, not on how ranks and micro-batches share it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.data.batch import KEEP, PICTURE, TEXT, TaskBatch, Texts
from pretrain.data.rng import generator
from pretrain.engine.collectives import gather
from pretrain.engine.known_pairs import all_captions
from pretrain.model.unix2 import UniX2
from pretrain.tasks.contrastive import same


def replace_hard(model: UniX2, batches: list[TaskBatch], seed: int, step: int, name: str) -> list[TaskBatch]:
    """The micro-batches with their negatives in place; `match` is 1 where nothing in the batch could be a negative.

    Rank by rank, pictures and texts are broadcast, so that no rank holds more than two ranks' pictures at a time.
    """
    x, y, keys, captions, marks = _scored(model, batches)
    rank, world = dist.get_rank(), dist.get_world_size()
    share = len(keys) // world
    own = range(rank * share, (rank + 1) * share)
    draws = torch.tensor([generator(seed, f'{name}/hard', step, position).random() for position in own], dtype=torch.float64)
    chosen = choose(x, y, model.scale().float().cpu(), keys, captions, marks, draws, own)  # (share,) global rows, -1: nothing is replaced
    pictures, texts = _fetched(batches, chosen, marks[own.start : own.stop])
    shown = _shown(keys, chosen, marks, own).to(batches[0].text.ids.device)
    keyed = _keyed(batches, torch.where(marks[own.start : own.stop] == PICTURE, chosen, -1), own)
    out, row = [], 0
    for batch in batches:
        rows = slice(row, row := row + len(batch))
        match = (chosen[rows] < 0).float().to(batch.text.ids.device)
        images, text = torch.stack(pictures[rows]), _texts(texts[rows])
        batch = replace(batch, images=images, image_keys=None if keyed is None else keyed[rows])
        out.append(replace(batch, text=text, match=match, image_ids=shown[rows, 0], text_ids=shown[rows, 1]))
    return out


def _shown(keys: Tensor, chosen: Tensor, marks: Tensor, own: range) -> Tensor:
    """(len(own), 2): identities of picture and text of every row of `own` with what replaces them."""
    rows = torch.arange(own.start, own.stop)
    other, text = torch.where(chosen < 0, rows, chosen), marks[rows] == TEXT
    return torch.stack([keys[torch.where(text, rows, other), 0], keys[torch.where(text, other, rows), 1]], 1)


def _keyed(batches: list[TaskBatch], pictures: Tensor, own: range) -> Tensor | None:
    """(len(own),) image_keys of every row of `own` with the global rows (-1: none) whose `pictures` replace its own; None without keys."""
    keys = [batch.image_keys for batch in batches if batch.image_keys is not None]
    if not keys:
        return None
    every = gather(torch.cat(keys).to(batches[0].text.ids.device)).cpu()
    return every[torch.where(pictures < 0, torch.arange(own.start, own.stop), pictures)]


def choose(x: Tensor, y: Tensor, scale: Tensor, keys: Tensor, captions: Tensor, marks: Tensor, draws: Tensor, own: range) -> Tensor:
    """(len(own),) int64: for every row of `own` the row of the global batch whose picture or text replaces its own; -1 for none.

    x, y (N, D) features of pictures and texts; keys (N, 2) their identities; captions (N, C) identities of all texts that belong to the
    row's picture, its own among them, some perhaps twice; marks (N,) what is replaced; draws (len(own),) uniform in [0, 1). p(j) is
    proportional to exp(scale * similarity) over the rows whose picture, or text, does not belong to the pair in truth: another caption of
    a picture is as true as the one that was drawn.
    """
    rows = torch.arange(own.start, own.stop)
    text_side = (marks[rows] == TEXT)[:, None]
    similarity = torch.where(text_side, x[rows] @ y.T, y[rows] @ x.T).double() * scale.double()
    text = keys[:, 1]
    belongs = same(keys[rows, 0], keys[:, 0])
    for column in captions.T:  # one at a time: (len(own), N, C) is large
        belongs |= torch.where(text_side, same(column[rows], text), same(text[rows], column))
    allowed = ~belongs & (marks[rows] != KEEP)[:, None]
    weights = torch.softmax(similarity.masked_fill(~allowed, -torch.inf), 1).nan_to_num(0)
    cumulated = weights.cumsum(1)
    picked = torch.searchsorted(cumulated, (draws * cumulated[:, -1])[:, None], right=True).squeeze(1).clamp(max=len(keys) - 1)
    return torch.where(allowed.any(1), picked, -1)


@torch.no_grad()
def _scored(model: UniX2, batches: list[TaskBatch]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features of pictures and texts, identities, captions and marks of the global batch, on the CPU. Without dropout: it is a choice of
    data."""
    training = model.training
    model.eval()
    pairs, keys, marks = [], [], []
    for batch in batches:
        assert batch.images is not None and batch.own_image_ids is not None and batch.text_ids is not None and batch.replace is not None
        pairs.append((model.image_features(batch.images), model.text_features(batch.text)))
        keys.append(torch.stack([batch.own_image_ids, batch.text_ids], 1))
        marks.append(batch.replace)
    model.train(training)
    x, y = (gather(torch.cat([pair[side] for pair in pairs])).cpu() for side in (0, 1))
    return x, y, gather(torch.cat(keys)).cpu(), all_captions(batches, gather, keys[0].device).cpu(), gather(torch.cat(marks)).cpu()


def _fetched(batches: list[TaskBatch], chosen: Tensor, marks: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """This rank's pictures and texts, the chosen rows of other ranks in the place of those that are replaced."""
    pictures = [picture for batch in batches if batch.images is not None for picture in batch.images]
    texts = [row for batch in batches for row in batch.text.ids.split(batch.text.lengths.tolist())]
    own_pictures, own_lengths, own_ids = torch.stack(pictures), torch.tensor([len(row) for row in texts]), torch.cat(texts)
    every = gather(own_lengths.to(own_ids.device)).view(-1, len(own_lengths)).cpu()
    for source, lengths in enumerate(every):
        ids, seen = own_ids, own_pictures
        if source != dist.get_rank():
            ids, seen = own_ids.new_empty(int(lengths.sum())), torch.empty_like(own_pictures)
        dist.broadcast(ids, source)
        dist.broadcast(seen, source)
        said = ids.split(lengths.tolist())
        for row in torch.nonzero((chosen >= 0) & (chosen // len(lengths) == source)).flatten().tolist():
            other = int(chosen[row]) % len(lengths)
            if marks[row] == TEXT:
                texts[row] = said[other]
            else:
                pictures[row] = seen[other].clone()
    return pictures, texts


def _texts(rows: list[Tensor]) -> Texts:
    return Texts(torch.cat(rows), torch.tensor([len(row) for row in rows]))
