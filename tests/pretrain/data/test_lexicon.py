from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.data.examples import Examples
from pretrain.data.lexicon import Lexicon, places, words
from pretrain.data.order import Located, TaskOrder
from pretrain.data.rng import generator
from pretrain.data.streams import Catalog, RecordStream
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import Record, make_config, write_pictures

COLOURS = {'red': 'rotes', 'blue': 'blaues', 'green': 'grünes', 'black': 'schwarzes'}
THINGS = {'car': 'Auto', 'book': 'Buch', 'house': 'Haus', 'bike': 'Fahrrad'}


@pytest.fixture(scope='module')
def stream(tmp_path_factory: pytest.TempPathFactory, pictures: list[Record]) -> RecordStream:
    """Every colour with every thing, the words of the German caption in another order; and one record that only English describes."""
    both = [{'en': [f'a {colour} {thing}'], 'de': [f'{THINGS[thing]}, ein {COLOURS[colour]}']} for colour in COLOURS for thing in THINGS]
    records = [{**record, 'captions': captions} for record, captions in zip(pictures, [*both, {'en': ['a car']}], strict=False)]
    folder = tmp_path_factory.mktemp('lexicon') / 'cc3m' / 'train'
    write_pictures(folder, 'cc3m', records)
    return RecordStream(folder, 'cc3m', 'train', 0)


def spoken(text: list[tuple[int, ...]], tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode(word).strip() for word in text]


def test_words_make_up_the_text(tokenizer: Tokenizer) -> None:
    for text in ('a red car, and two dogs!', '一只红色的狗', 'สวัสดีครับ', 'weiß 白い'):
        ids = tokenizer.encode(text)
        cut = words(ids, tokenizer)
        assert [token for word in cut for token in word] == ids
        assert places(cut, list(range(len(cut)))).tolist() == list(range(len(ids)))
    cut = words(tokenizer.encode('a red car'), tokenizer)
    assert spoken(cut, tokenizer) == ['a', 'red', 'car']
    assert places(cut, [1]).tolist() == list(range(len(cut[0]), len(cut[0]) + len(cut[1])))
    assert len(words(tokenizer.encode('一只红色的狗'), tokenizer)) > 1, 'no spaces, yet more than one word'


def test_translations_are_found_in_any_order(stream: RecordStream, tokenizer: Tokenizer) -> None:
    lexicon = Lexicon(stream, tokenizer, 100)
    for colour, farbe in COLOURS.items():
        for thing, ding in THINGS.items():
            source = words(tokenizer.encode(f'a {colour} {thing}'), tokenizer)
            target = words(tokenizer.encode(f'{ding}, ein {farbe}'), tokenizer)
            links = lexicon.align('en', source, 'de', target)
            german = spoken(target, tokenizer)
            found = {word: german[link] for word, link in zip(spoken(source, tokenizer), links, strict=True) if link is not None}
            assert found[colour] == farbe and found[thing].rstrip(',') == ding and found['a'] == 'ein'
    assert lexicon.align('en', words(tokenizer.encode('zebra'), tokenizer), 'de', target) == [None], 'an unknown word has no translation'
    assert lexicon.align('en', source, 'fr', target) == [None] * len(source)
    few = Lexicon(stream, tokenizer, 1)
    assert few.align('en', source, 'de', target) == [None] * len(source), 'what met once may have met by chance'


def test_vtlm_masks_a_word_and_its_translation(stream: RecordStream, tokenizer: Tokenizer, home: Path) -> None:
    examples = Examples(make_config(home, task={'vtlm_mask_ratio': 0.3}, model={'visual': {'image_size': 16}}), tokenizer)
    pool = [Located(stream, index, 0) for index in range(16)]
    both = 0
    for position in range(16):
        example = examples.make('vtlm', pool, position, generator(0, 'vtlm', position))
        assert example.masked is not None and example.masked_labels is not None and example.image is not None
        assert (example.text == tokenizer.mask).nonzero()[0].tolist() == example.masked.tolist()
        restored = example.text.copy()
        restored[example.masked] = example.masked_labels
        (end, _), codes = (restored == tokenizer.eos).nonzero()[0], {tokenizer.language(code): code for code in ('en', 'de')}
        captions = stream.record(position)['captions']
        first, second = codes[int(restored[end + 1])], codes[int(restored[-1])]
        assert {first, second} == {'en', 'de'} and example.language == first and example.second == (second, len(restored) - end - 2)
        assert restored[1:end].tolist() == tokenizer.encode(captions[first][0])
        assert restored[end + 2 : -2].tolist() == tokenizer.encode(captions[second][0])
        masked = {'de': set(), 'en': set()}  # type: ignore[var-annotated]
        for language, low, high in ((first, 1, end), (second, end + 2, len(restored) - 2)):
            ids, hidden = restored[low:high].tolist(), set((example.masked - low).tolist())
            at = 0
            for word in words(ids, tokenizer):
                inside = set(range(at, at := at + len(word)))
                assert not hidden & inside or inside <= hidden, 'whole words'
                if inside <= hidden:
                    masked[language].add(tokenizer.decode(word).strip().rstrip(','))
        translated = {{**COLOURS, **THINGS, 'a': 'ein'}[word] for word in masked['en']}
        assert translated == {word for word in masked['de'] if word}
        both += bool(translated)
    assert both == 16


def test_code_switching_takes_words_of_the_records_other_captions(stream: RecordStream, tokenizer: Tokenizer, home: Path) -> None:
    pool = [Located(stream, index, 0) for index in range(17)]
    german = {**COLOURS, **THINGS, 'a': 'ein'}
    switched = total = 0
    for task in ('cmcl', 'itm', 'mlm'):
        settings = {'code_switch': 0.5, 'itm_negative_share': 0, 'mask_ratio': 1e-9}
        examples = Examples(make_config(home, task=settings, model={'visual': {'image_size': 16}}), tokenizer)
        for position in range(17):
            example = examples.make(task, pool, position, generator(1, task, position), 'en')
            if example.masked is not None and example.masked_labels is not None:
                example.text[example.masked] = example.masked_labels
            assert example.text[-1] == tokenizer.language('en'), 'the code stays'
            said = [word.rstrip(',') for word in spoken(words(example.text[1:-2], tokenizer), tokenizer)]
            plain = stream.record(position)['captions']['en'][0].split()
            assert all(now in (word, german[word]) for now, word in zip(said, plain, strict=True)), (said, plain)
            if position == 16:
                assert said == plain, 'no other language'
                continue
            switched, total = switched + sum(now != word for now, word in zip(said, plain, strict=True)), total + len(plain)
    assert abs(switched - total / 2) < 4 * (total / 4) ** 0.5


def test_vtlm_needs_pictures_with_two_languages(home: Path, tokenizer: Tokenizer) -> None:
    config = make_config(home, tasks=['vtlm'])
    order = TaskOrder(config, Catalog(home / 'shards', tokenizer), 'vtlm')
    assert all(len(located.stream.record(located.record)['captions']) > 1 for located in list(order.batch(0)))
