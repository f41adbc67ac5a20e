"""Random batches of every task, whole or cut into the micro-batches of one rank, without shards: for tests of the model and the step."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.config import TASKS, Batch, Config, Data, Model, Optimizer, Visual
from pretrain.data.batch import TaskBatch, Texts

VOCABULARY = 53
NUMBERED = (*TASKS, 'vtlm', 'entailment', 'answering')
LABELS = 5  # classes of the last two
MASK, EOS = 4, 2


def tiny_config(out: str, precision: str = 'fp32', micro: int = 2, **changes: object) -> Config:
    """A model of a few thousand weights, no dropout, and 8 samples a task."""
    model = Model(
        visual=Visual(image_size=16, options={'embed_dim': 12, 'depth': 1, 'num_heads': 2, 'patch_size': 8}),
        dim=16, heads=2, ffn=32, text_layers=1, cross_layers=1, decoder_layers=1, max_positions=32, dropout=0.0, projection=8,
        token_std=0.2,
    )  # fmt: skip
    data = Data(workers=0, caption_tokens=16, text_tokens=32)
    settings = {'out': out, 'precision': precision, 'model': model, 'data': data, 'batch': Batch(**{'global': 8}, micro=micro)}
    return Config(**{**settings, 'optimizer': Optimizer(lr=1e-2, clip=1e9, warmup=0), **changes})


def rows_of(generator: torch.Generator, count: int) -> list[Tensor]:
    lengths = torch.randint(2, 9, (count,), generator=generator)
    rows = [torch.randint(5, VOCABULARY, (int(length),), generator=generator) for length in lengths]
    for row in rows:
        row[-2] = EOS  # `X </s> lang`
    return rows


def texts(rows: list[Tensor]) -> Texts:
    return Texts(torch.cat(rows), torch.tensor([len(row) for row in rows]))


def task_batch(task: str, count: int = 8, seed: int = 0) -> TaskBatch:
    """`count` samples of a task; rows 0 and 3 have the same picture, rows 1 and 2 the same text (contrastive duplicates)."""
    number = NUMBERED.index(task)
    generator = torch.Generator().manual_seed(seed * 100 + number)
    source, target = rows_of(generator, count), rows_of(generator, count)
    batch = TaskBatch(task=task, sample_ids=torch.arange(count) + 1000 * number, languages=['en'] * count, text=texts(source))
    if task in ('cmcl', 'itm', 'mlm', 'vplm', 'mmmt', 'vtlm', 'entailment', 'answering'):
        rows = torch.arange(count)[1::2] if task in ('mlm', 'mmmt') else torch.arange(count)
        batch.images = torch.randint(0, 256, (len(rows), 3, 16, 16), generator=generator, dtype=torch.uint8)
        batch.image_rows = rows
    if task in ('plm', 'vplm', 'mt', 'mmmt'):
        batch.decoder_input = texts([torch.cat([row[-1:], row[:-1]]) for row in target])
        batch.labels = torch.cat(target)
    if task in ('mlm', 'mmmt', 'vtlm'):
        batch.masked = (batch.text.lengths.cumsum(0) - 1)[: count - 1]  # the last token of every row but one
        batch.masked_labels = batch.text.ids[batch.masked].clone()
        batch.text.ids[batch.masked] = MASK
    if task == 'entailment':
        batch.classes = torch.eye(LABELS)[torch.randint(0, LABELS, (count,), generator=generator)]
    if task == 'answering':  # none, one or several answers, some of them half true
        batch.classes = torch.randint(0, 3, (count, LABELS), generator=generator) / 2
    if task == 'itm':
        batch.match = torch.randint(0, 2, (count,), generator=generator).float()
        batch.replace = torch.arange(count) % 3  # with hard negatives: nothing, the picture, the text
    batch.image_ids, batch.text_ids, batch.other_ids = torch.arange(count), torch.arange(count) + 100, torch.arange(count) + 200
    batch.image_ids[3 % count] = batch.image_ids[0]
    batch.text_ids[2 % count] = batch.text_ids[1 % count]
    if task == 'clcl':
        batch.other = texts(target)
    if task == 'itm':
        # All captions of a row's record. What 3 and 4 say is also said, undrawn, by 5's and 6's, and what 4 says by 0's.
        captions = [[row[0] + 300, row[1]] for row in enumerate(batch.text_ids.tolist())]
        for row, said in ((5, 3), (6, 4), (0, 4)):
            captions[row % count].append(int(batch.text_ids[said % count]))
        batch.own_text_ids, batch.own_image_ids = texts([torch.tensor(row) for row in captions]), batch.image_ids
        # Where nothing matches, the picture was replaced; in 4 by 3's, which is 0's too: so it is true, as neither 3 nor 4 can know.
        assert batch.match is not None
        batch.match[4 % count] = 0
        batch.image_ids = batch.image_ids + 900 * (batch.match == 0)
        batch.image_ids[4 % count] = batch.own_image_ids[3 % count]
    return batch


def with_pictures_in_common(batch: TaskBatch, number: int = 0) -> None:
    """Gives the rows of a batch, in place, the pictures that these rows have in any task: 0 and 3 the same one, and row `number` one
    that no other task has. ITM's replaced pictures are those of the row after.
    """
    if batch.images is None or batch.image_rows is None:
        return
    keys = batch.image_rows.clone()
    if batch.match is not None:
        keys = torch.where(batch.match == 0, (keys + 1) % len(batch), keys)
    keys[keys == 3] = 0
    keys[number % len(keys)] = 100 + number
    pictures = torch.Generator().manual_seed(7)
    pool = torch.randint(0, 256, (110, *batch.images.shape[1:]), generator=pictures, dtype=torch.uint8)
    batch.image_keys, batch.images = keys, pool[keys]


def cut(batch: TaskBatch, low: int, high: int) -> TaskBatch:
    """Rows low..high of a batch."""

    def part(value: Texts | None) -> Texts | None:
        return None if value is None else texts(list(value.ids.split(value.lengths.tolist()))[low:high])

    def rows(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[low:high]

    out = TaskBatch(batch.task, batch.sample_ids[low:high], batch.languages[low:high], part(batch.text) or texts([]))
    out.other, out.decoder_input, out.own_text_ids = part(batch.other), part(batch.decoder_input), part(batch.own_text_ids)
    for name in ('match', 'classes', 'replace', 'prefix', 'image_ids', 'text_ids', 'other_ids', 'own_image_ids'):
        setattr(out, name, rows(getattr(batch, name)))
    if batch.images is not None and batch.image_rows is not None:
        keep = (batch.image_rows >= low) & (batch.image_rows < high)
        out.images, out.image_rows = batch.images[keep], batch.image_rows[keep] - low
        out.image_keys = None if batch.image_keys is None else batch.image_keys[keep]
    if batch.decoder_input is not None and batch.labels is not None:
        out.labels = torch.cat(batch.labels.split(batch.decoder_input.lengths.tolist())[low:high])
    if batch.masked is not None and batch.masked_labels is not None:
        ends = torch.cat([torch.zeros(1, dtype=torch.int64), batch.text.lengths.cumsum(0)])
        keep = (batch.masked >= ends[low]) & (batch.masked < ends[high])
        out.masked, out.masked_labels = batch.masked[keep] - ends[low], batch.masked_labels[keep]
    return out


def rank_data(tasks: list[str], rank: int, world: int, micro: int, seed: int = 0, count: int = 8) -> dict[str, list[TaskBatch]]:
    """The micro-batches of one rank, as the loader gives them."""
    return {task: micro_batches(task_batch(task, count, seed), rank, world, micro) for task in tasks}


def micro_batches(whole: TaskBatch, rank: int, world: int, micro: int) -> list[TaskBatch]:
    """A rank's share of a global batch, cut."""
    share = len(whole) // world
    rows = range(rank * share, (rank + 1) * share)
    return [cut(whole, start, min(start + micro, rows.stop)) for start in rows[::micro]]
