from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from pretrain.config import TASKS, Config
from pretrain.data.batch import Example, TaskBatch, Texts, collate
from pretrain.data.examples import Examples
from pretrain.data.order import TaskOrder
from pretrain.data.packing import pack, unpack
from pretrain.data.rng import generator, hash63
from pretrain.data.sequences import text_id
from pretrain.data.streams import Catalog
from shards.tokenizer import Tokenizer
from tests.support.synthetic import task_batch

FIELDS = {
    'cmcl': {'images', 'image_rows', 'image_ids', 'text_ids'},
    'clcl': {'other', 'text_ids', 'other_ids'},
    'itm': {'images', 'image_rows', 'match', 'image_ids', 'text_ids', 'own_image_ids', 'own_text_ids'},
    'mlm': {'images', 'image_rows', 'masked', 'masked_labels'},
    'plm': {'decoder_input', 'labels', 'prefix'},
    'vplm': {'images', 'image_rows', 'decoder_input', 'labels', 'prefix'},
    'mt': {'decoder_input', 'labels'},
    'mmmt': {'images', 'image_rows', 'decoder_input', 'labels', 'masked', 'masked_labels'},
}


def equal(one: object, other: object) -> bool:
    if isinstance(one, Texts):
        return isinstance(other, Texts) and torch.equal(one.ids, other.ids) and torch.equal(one.lengths, other.lengths)
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other


def tokens_of(example: Example) -> list[tuple[str, int]]:
    """(language, tokens) of a sample's sides, by what the task has there."""
    read, written = len(example.text), 0 if example.labels is None else len(example.labels)
    if example.second is None:
        return [(example.language, read + written)]
    assert example.second[0] != example.language
    if example.other is not None:
        return [(example.language, read), (example.second[0], len(example.other))]
    return [(example.second[0], read), (example.language, written)]


@pytest.mark.parametrize('task', TASKS)
def test_collated_examples_come_apart_again(config: Config, tokenizer: Tokenizer, task: str) -> None:
    catalog = Catalog(config.data.shards, tokenizer)
    pool = TaskOrder(config, catalog, task).batch(0)
    examples = [Examples(config, tokenizer).make(task, pool, position, generator(0, task, position)) for position in range(len(pool))]
    batch = collate(task, examples)
    present = {field.name for field in fields(batch) if getattr(batch, field.name) is not None}
    assert present == {'task', 'sample_ids', 'languages', 'text', 'tokens'} | FIELDS[task]
    counted: dict[str, int] = {}
    for example in examples:
        for language, number in tokens_of(example):
            counted[language] = counted.get(language, 0) + number
    assert {language: number for language, number in batch.tokens.items() if number} == counted
    assert len(batch) == 16 and batch.languages == [example.language for example in examples]
    rows = batch.text.ids.split(batch.text.lengths.tolist())
    assert [row.tolist() for row in rows] == [example.text.tolist() for example in examples]
    if batch.image_rows is not None and batch.images is not None:
        assert batch.images.dtype == torch.uint8
        for row, image in zip(batch.image_rows.tolist(), batch.images, strict=True):
            expected = examples[row].image
            assert expected is not None and torch.equal(image, expected)
        assert len(batch.images) == sum(example.image is not None for example in examples)
    if batch.masked is not None and batch.masked_labels is not None:
        restored = batch.text.ids.clone()
        restored[batch.masked] = batch.masked_labels
        special = torch.cat([torch.tensor([start, end - 2, end - 1]) for start, end in spans(batch.text)])
        assert not torch.isin(batch.masked, special).any()
        assert torch.equal(restored[special], batch.text.ids[special])
    if batch.decoder_input is not None and batch.labels is not None:
        lengths = batch.decoder_input.lengths.tolist()
        for labels, inputs in zip(batch.labels.split(lengths), batch.decoder_input.ids.split(lengths), strict=True):
            assert torch.equal(labels, inputs.roll(-1))
    targets = sum(len(part) for part in (batch.labels, batch.masked) if part is not None)
    assert batch.targets == (targets if task in ('mlm', 'plm', 'vplm', 'mt', 'mmmt') else 16)


@pytest.mark.parametrize('negatives', ['random', 'hard'])
def test_matching_brings_every_caption_of_the_record(config: Config, tokenizer: Tokenizer, negatives: str) -> None:
    """And the identities of what is shown: of the record itself, or of what replaces one side of it."""
    config = config.model_copy(update={'task': config.task.model_copy(update={'itm_negatives': negatives})})
    pool = TaskOrder(config, Catalog(config.data.shards, tokenizer), 'itm').batch(0)
    made = [Examples(config, tokenizer).make('itm', pool, position, generator(0, 'itm', position)) for position in range(len(pool))]
    whole = collate('itm', made)
    (batch,) = unpack(pack({'itm': [whole]}))['itm']
    assert batch.image_ids is not None and batch.text_ids is not None and batch.own_image_ids is not None and batch.match is not None
    assert batch.own_text_ids is not None
    rows = batch.own_text_ids.ids.split(batch.own_text_ids.lengths.tolist())
    for position, (located, captions) in enumerate(zip(pool, rows, strict=True)):
        record = located.stream.record(located.record)
        assert captions.tolist() == [text_id(text) for texts in record['captions'].values() for text in texts]
        assert batch.own_image_ids[position] == hash63(record['image_id'])
        own = batch.image_ids[position] == batch.own_image_ids[position], batch.text_ids[position] in captions
        assert all(own) if batch.match[position] else sum(own) == 1
    assert max(map(len, rows)) > 1 and (batch.match.all() if negatives == 'hard' else not batch.match.all())


def test_what_layouts_are_made_of_stays_on_the_host() -> None:
    """Read back from a device they would make the host wait for it at every forward."""
    batch = task_batch('vplm').to('meta')
    assert batch.text.ids.is_meta and batch.images is not None and batch.images.is_meta and batch.image_rows is not None
    assert batch.decoder_input is not None
    assert not any(kept.is_meta for kept in (batch.text.lengths, batch.decoder_input.lengths, batch.image_rows))


def spans(texts: Texts) -> list[tuple[int, int]]:
    ends = texts.lengths.cumsum(0).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def test_packing_changes_nothing(config: Config, tokenizer: Tokenizer) -> None:
    catalog = Catalog(config.data.shards, tokenizer)
    data: dict[str, list[TaskBatch]] = {}
    for task in TASKS:
        pool = TaskOrder(config, catalog, task).batch(1)
        examples = [Examples(config, tokenizer).make(task, pool, position, generator(0, task, position)) for position in range(len(pool))]
        data[task] = [collate(task, examples[:7]), collate(task, examples[7:])]
    packed = pack(data)
    assert packed.buffer.dtype == torch.uint8
    back = unpack(packed)
    assert list(back) == list(data)
    for task, batches in data.items():
        for one, other in zip(batches, back[task], strict=True):
            moved = other.to('cpu')
            for field in fields(TaskBatch):
                assert equal(getattr(one, field.name), getattr(other, field.name)), (task, field.name)
                assert equal(getattr(one, field.name), getattr(moved, field.name)), (task, field.name)
