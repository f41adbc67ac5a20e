"""Which pairs are true in the light of the whole batch; that the step asks all ranks is in tests/distributed/test_parity.py."""

from __future__ import annotations

from pathlib import Path

import torch

from pretrain.data.batch import TaskBatch, Texts, collate
from pretrain.data.examples import Examples
from pretrain.data.images import evaluation_image
from pretrain.data.order import TaskOrder
from pretrain.data.rng import generator
from pretrain.data.streams import Catalog
from pretrain.engine.known_pairs import with_known_pairs
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import Record, make_config, write_pictures

CPU = torch.device('cpu')


def test_a_third_record_may_say_so() -> None:
    """Records P:{a}, P:{b, c}, Q:{b}, R:{d}: P with Q's b is true, and so it is with c, which nobody drew; with d it is not."""
    captions = Texts(torch.tensor([10, 11, 12, 11, 13]), torch.tensor([1, 2, 1, 1]))
    none = Texts(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))

    def matches(images: list[int], texts: list[int], match: list[float]) -> list[float]:
        batch = TaskBatch(
            'itm', torch.arange(4), ['en'] * 4, none, match=torch.tensor(match), image_ids=torch.tensor(images),
            text_ids=torch.tensor(texts), own_image_ids=torch.tensor([1, 1, 2, 3]), own_text_ids=captions,
        )  # fmt: skip
        (batch,) = with_known_pairs([batch], lambda own: own, CPU)
        assert batch.match is not None
        return batch.match.tolist()

    assert matches([1, 1, 2, 3], [11, 12, 13, 11], [0, 0, 0, 0]) == [1, 1, 0, 0]
    assert matches([1, 1, 2, 3], [10, 11, 11, 13], [1, 1, 1, 1]) == [1, 1, 1, 1]
    assert matches([2, 3, 1, 1], [10, 12, 13, 13], [0, 0, 0, 0]) == [0, 0, 0, 0]


def test_no_negative_is_what_a_record_of_the_batch_has(home: Path, tmp_path: Path, tokenizer: Tokenizer, pictures: list[Record]) -> None:
    """Two corpora with the same pictures and few captions: of the negatives as made some are true. Told apart by pixels and words."""
    words = ['a dog', 'a cat', 'a red car', 'two birds']
    records = {
        corpus: [{**record, 'captions': {'en': [words[(place + number) % 4]]}} for place, record in enumerate(pictures[:8])]
        for number, corpus in enumerate(('cc3m', 'cc12m'))
    }
    for corpus, some in records.items():
        write_pictures(tmp_path / corpus / 'train', corpus, some)
    data = {'shards': str(tmp_path), 'pictures': [*records], 'augment_min_scale': 1}
    config = make_config(home, batch={'global': 16}, data=data, model={'visual': {'image_size': 16}}, tasks=['itm'])
    order, examples = TaskOrder(config, Catalog(tmp_path, tokenizer), 'itm'), Examples(config, tokenizer)
    changed = 0
    for step in range(20):
        pool = order.batch(step)
        rows = [located.stream.record(located.record) for located in pool]
        true = {(evaluation_image(row['image'], 16).numpy().tobytes(), row['captions']['en'][0]) for row in rows}
        made = collate('itm', [examples.make('itm', pool, position, generator(0, 'itm', step, position)) for position in range(16)])
        (batch,) = with_known_pairs([made], lambda own: own, CPU)
        assert batch.images is not None and batch.match is not None and made.match is not None
        said = [tokenizer.decode(row) for row in batch.text.ids.split(batch.text.lengths.tolist())]
        shown = zip([image.numpy().tobytes() for image in batch.images], said, strict=True)
        assert batch.match.tolist() == [float(pair in true) for pair in shown]
        changed += int((batch.match != made.match).sum())
    assert changed > 10
