from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretrain.config import Config
from pretrain.data.batch import Example
from pretrain.data.examples import Examples
from pretrain.data.images import evaluation_image
from pretrain.data.order import GlobalBatch, Located, TaskOrder
from pretrain.data.rng import generator
from pretrain.data.sequences import normalised
from pretrain.data.streams import Catalog, RecordStream
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import Record, make_config, write_pictures

STEPS = 8


@pytest.fixture(scope='module')
def big(home: Path) -> Config:
    """Batches large enough to count in; long texts are cut at 40 tokens; pictures are not augmented, so that they can be told apart."""
    return make_config(home, batch={'global': 128}, data={'text_tokens': 40, 'augment_min_scale': 1}, model={'visual': {'image_size': 16}})


@pytest.fixture(scope='module')
def catalog(home: Path, tokenizer: Tokenizer) -> Catalog:
    return Catalog(home / 'shards', tokenizer)


def made(config: Config, catalog: Catalog, task: str, steps: int = STEPS) -> Iterator[tuple[Example, Located, GlobalBatch]]:
    examples, order = Examples(config, catalog.tokenizer), TaskOrder(config, catalog, task)
    for step in range(steps):
        pool = order.batch(step)
        for position in range(len(pool)):
            yield examples.make(task, pool, position, generator(0, task, step, position)), pool[position], pool


def near(count: float, of: int, share: float) -> bool:
    """Within four standard deviations of a binomial."""
    return abs(count - of * share) < 4 * (of * share * (1 - share)) ** 0.5


def content(example: Example, tokenizer: Tokenizer, language: str) -> list[int]:
    """The ids between the special tokens of the encoder's input."""
    ids = example.text.tolist()
    assert ids[0] == tokenizer.bos and ids[-2:] == [tokenizer.eos, tokenizer.language(language)]
    return ids[1:-2]


def generated(example: Example, tokenizer: Tokenizer) -> list[int]:
    """The decoder's content; checks that labels are the input shifted by one with the language code wrapped to the front."""
    assert example.labels is not None and example.decoder_input is not None
    labels = example.labels.tolist()
    assert labels[-2:] == [tokenizer.eos, tokenizer.language(example.language)]
    assert example.decoder_input.tolist() == labels[-1:] + labels[:-1]
    return labels[:-2]


def record_of(located: Located) -> Record:
    return located.stream.record(located.record)


def caption_ids(record: Record, language: str, tokenizer: Tokenizer) -> list[list[int]]:
    return [ids[:61] for ids in tokenizer.encode_batch(record['captions'][language])]


def test_cmcl(big: Config, catalog: Catalog, tokenizer: Tokenizer) -> None:
    ids: dict[str, set[Any]] = {'image': set(), 'text': set()}
    pictures = set()
    for example, located, _ in made(big, catalog, 'cmcl'):
        record = record_of(located)
        assert content(example, tokenizer, example.language) in caption_ids(record, example.language, tokenizer)
        assert example.image is not None and torch.equal(example.image, evaluation_image(record['image'], 16))
        assert example.labels is None and example.masked is None and example.match is None
        ids['image'].add(example.image_id)
        ids['text'].add((example.text_id, normalised(record['captions'][example.language][0])))
        pictures.add(record['image_id'])
    assert len(ids['image']) == len(pictures)
    assert len({text for text, _ in ids['text']}) == len(ids['text']) == len({caption for _, caption in ids['text']})


def test_the_language_is_drawn_by_temperature(home: Path, tokenizer: Tokenizer, tmp_path: Path, pictures: list[Record]) -> None:
    english, both = {'en': ['a dog', 'a cat']}, {'en': ['a dog', 'a cat'], 'de': ['ein Hund']}
    records = [{**record, 'captions': both if i < 4 else english} for i, record in enumerate(pictures[:20])]
    write_pictures(tmp_path / 'cc3m' / 'train', 'cc3m', records)
    data = {'shards': str(tmp_path), 'pictures': ['cc3m'], 'language_alpha': 0.5}
    config = make_config(home, batch={'global': 500}, data=data, tasks=['cmcl'])
    catalog = Catalog(tmp_path, tokenizer)
    drawn = [example for example, located, _ in made(config, catalog, 'cmcl', 4) if located.record < 4]
    german = sum(example.language == 'de' for example in drawn)
    assert near(german, len(drawn), 4**0.5 / (4**0.5 + 40**0.5))
    captions = Counter(example.text_id for example in drawn if example.language == 'en')
    assert len(captions) == 2 and near(max(captions.values()), captions.total(), 0.5), 'captions of a language are equally likely'


def test_clcl(big: Config, catalog: Catalog, tokenizer: Tokenizer) -> None:
    first = 0
    for example, located, _ in made(big, catalog, 'clcl'):
        source, target = located.stream.languages
        record = record_of(located)
        assert example.other is not None
        sides = {source: record['source_ids'].tolist()[:37], target: record['target_ids'].tolist()[:37]}
        other = target if example.language == source else source
        assert content(example, tokenizer, example.language) == sides[example.language]
        assert example.other.tolist() == [tokenizer.bos, *sides[other], tokenizer.eos, tokenizer.language(other)]
        assert example.second == (other, len(sides[other]) + 3)
        same = normalised(tokenizer.decode(sides[source])) == normalised(tokenizer.decode(sides[target]))
        assert (example.text_id == example.other_id) == same
        first += example.language == source
    assert near(first, STEPS * 128, 0.5)


def test_mt(big: Config, catalog: Catalog, tokenizer: Tokenizer) -> None:
    forward = 0
    for example, located, _ in made(big, catalog, 'mt'):
        source, target = located.stream.languages
        record = record_of(located)
        sides = {source: record['source_ids'].tolist()[:37], target: record['target_ids'].tolist()[:37]}
        other = target if example.language == source else source
        assert generated(example, tokenizer) == sides[example.language]
        assert content(example, tokenizer, other) == sides[other] and example.second == (other, len(sides[other]) + 3)
        forward += example.language == target
    assert near(forward, STEPS * 128, 0.5)


@pytest.mark.parametrize('task', ['plm', 'vplm'])
def test_prefix_language_models(big: Config, catalog: Catalog, tokenizer: Tokenizer, task: str) -> None:
    prefixed = long = 0
    for example, located, _ in made(big, catalog, task):
        prefix, rest = content(example, tokenizer, example.language), generated(example, tokenizer)
        whole = prefix + rest
        if task == 'plm':
            assert whole == record_of(located)['ids'].tolist()[:37] and example.image is None
        else:
            assert whole in caption_ids(record_of(located), example.language, tokenizer) and example.image is not None
        assert len(prefix) in (0, len(whole) // 5) and rest
        if len(whole) >= 5:
            long, prefixed = long + 1, prefixed + bool(prefix)
    assert near(prefixed, long, 0.5)


def test_mlm(big: Config, catalog: Catalog, tokenizer: Tokenizer) -> None:
    kinds: Counter[bool] = Counter()
    masked = tokens = 0
    for example, located, _ in made(big, catalog, 'mlm'):
        assert example.masked is not None and example.masked_labels is not None and len(example.masked) >= 1
        restored = example.text.copy()
        restored[example.masked] = example.masked_labels
        whole = restored.tolist()[1:-2]
        assert restored[0] == tokenizer.bos and restored[-2:].tolist() == [tokenizer.eos, tokenizer.language(example.language)]
        if located.stream.kind == 'text':
            assert whole == record_of(located)['ids'].tolist()[:37] and example.image is None
            tokens, masked = tokens + len(whole), masked + len(example.masked)
        else:
            assert whole in caption_ids(record_of(located), example.language, tokenizer) and example.image is not None
        kinds[example.image is None] += 1
    assert near(kinds[True], STEPS * 128, 0.5)
    assert near(masked, tokens, 0.15)


def test_mmmt(big: Config, catalog: Catalog, tokenizer: Tokenizer) -> None:
    dropped = 0
    codes = {tokenizer.language(language): language for stream in catalog.streams('cc3m', 'train') for language in stream.languages}
    targets: Counter[str] = Counter()
    for example, located, _ in made(big, catalog, 'mmmt'):
        record = record_of(located)
        source = codes[int(example.text[-1])]
        assert source != example.language and example.second == (source, len(example.text))
        assert example.masked is not None and example.masked_labels is not None and len(example.masked) >= 1
        assert set(example.text[example.masked].tolist()) == {tokenizer.mask}
        assert (example.text == tokenizer.mask).sum() == len(example.masked)
        restored = example.text.copy()
        restored[example.masked] = example.masked_labels
        assert restored[1:-2].tolist() in caption_ids(record, source, tokenizer)
        assert generated(example, tokenizer) in caption_ids(record, example.language, tokenizer)
        dropped += example.image is None
        targets[example.language] += 1
    assert near(dropped, STEPS * 128, 0.2)
    assert set(targets) == set(codes.values())


def test_itm_negatives_are_none_in_truth_and_half(big: Config, catalog: Catalog, tokenizer: Tokenizer) -> None:
    negatives = replaced_text = 0
    pixels: dict[str, bytes] = {}
    ids: dict[str, list[int]] = {}

    def looks(record: Record) -> bytes:
        if record['image_id'] not in pixels:
            pixels[record['image_id']] = evaluation_image(record['image'], 16).numpy().tobytes()
        return pixels[record['image_id']]

    def encoded(caption: str) -> list[int]:
        if caption not in ids:
            ids[caption] = tokenizer.encode(caption)[:61]
        return ids[caption]

    for example, located, pool in made(big, catalog, 'itm'):
        own = record_of(located)
        text = content(example, tokenizer, example.language)
        own_text = text in map(encoded, own['captions'].get(example.language, []))
        assert example.image is not None
        seen = example.image.numpy().tobytes()
        own_image = seen == looks(own)
        if example.match:
            assert own_text and own_image
            continue
        negatives += 1
        replaced_text += not own_text
        assert own_text != own_image, 'one of the two is replaced'
        others = [record_of(other) for other in pool]
        pictured = own if own_image else next(other for other in others if looks(other) == seen)
        captions = {normalised(caption) for captions in pictured['captions'].values() for caption in captions}
        said = [caption for other in others for caption in other['captions'].get(example.language, []) if encoded(caption) == text]
        assert said, 'the text is from the global batch'
        assert not any(normalised(caption) in captions for caption in said)
    assert near(negatives, STEPS * 128, 0.5)
    assert near(replaced_text, negatives, 0.5)


def test_itm_without_a_possible_negative_stays_positive(home: Path, tmp_path: Path, tokenizer: Tokenizer, pictures: list[Record]) -> None:
    """Four copies of one picture, and two pictures with the same caption but for case."""
    config = make_config(home, batch={'global': 4}, data={'shards': str(tmp_path), 'pictures': ['cc3m']}, tasks=['itm'])
    same_text = [{**pictures[i], 'captions': {'en': [caption]}} for i, caption in enumerate(('a dog', 'A  Dog'))]
    for records in ([pictures[0]] * 4, same_text * 2):
        write_pictures(tmp_path / 'cc3m' / 'train', 'cc3m', records)
        assert all(example.match for example, *_ in made(config, Catalog(tmp_path, tokenizer), 'itm'))
        for path in sorted((tmp_path / 'cc3m' / 'train').rglob('*'), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_the_language_can_be_given(big: Config, catalog: Catalog) -> None:
    examples = Examples(big, catalog.tokenizer)
    for task, language in (('cmcl', 'de'), ('vplm', 'zh'), ('mmmt', 'fr'), ('mt', 'en'), ('mt', 'de'), ('clcl', 'de')):
        stream = catalog.streams('opus' if task in ('mt', 'clcl') else 'cc3m', 'train')[0]
        pool = [Located(stream, index, 0) for index in range(20)]
        assert {examples.make(task, pool, i, generator(0, task, i), language).language for i in range(20)} == {language}


def test_a_broken_picture_is_named(home: Path, tmp_path: Path, tokenizer: Tokenizer, pictures: list[Record]) -> None:
    folder = tmp_path / 'cc3m' / 'train'
    write_pictures(folder, 'cc3m', [pictures[0], {**pictures[1], 'image': b'no picture'}])
    stream = RecordStream(folder, 'cc3m', 'train', 0)
    examples = Examples(make_config(home), tokenizer)
    pool = [Located(stream, index, 0) for index in range(2)]
    examples.make('cmcl', pool, 0, generator(0, 'cmcl'))
    message = rf'{folder}: the picture of record 1 \(https://.*\) cannot be decoded .* `data_pipeline verify {folder}`'
    with pytest.raises(UserError, match=message) as caught:
        examples.make('cmcl', pool, 1, generator(0, 'cmcl'))
    assert '\n' not in str(caught.value)


def test_every_choice_comes_from_the_generator(big: Config, catalog: Catalog) -> None:
    for task in ('itm', 'mlm', 'mmmt', 'mt', 'plm'):
        first, second = (list(made(big, catalog, task, 1)) for _ in range(2))
        for (one, *_), (other, *_) in zip(first, second, strict=True):
            for name, value in vars(one).items():
                np.testing.assert_array_equal(value, getattr(other, name))
