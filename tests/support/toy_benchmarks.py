"""Small sets in the layouts of XVNLI and xGQA that a tiny model learns within seconds: a picture has one of three colours, a text names
one, and which class is right says neither of them alone.
"""

from __future__ import annotations

import gzip
import io
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from downstream.data.xvnli import CLASSES
from tests.support import toy_world
from tests.support.toy_world import COLOURS, PLACES, WORDS, said

NAMES = ('red', 'green', 'blue')
SPLITS = {'train': 0, 'dev': 1, 'test': 2}


def picture(colour: str, generator: np.random.Generator) -> bytes:
    """Noise of a colour."""
    pixels = np.clip(np.array(COLOURS[colour]) + generator.integers(-40, 40, (32, 32, 3)), 0, 255)
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, 'JPEG', quality=95)
    return out.getvalue()


def pictures(folder: Path, split: str, count: int) -> list[tuple[str, str]]:
    """Write `count` pictures of every colour; (name without suffix, colour) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(SPLITS[split])
    made = [(f'{split}{number}', colour) for number, colour in enumerate(NAMES * count)]
    for name, colour in made:
        (folder / f'{name}.jpg').write_bytes(picture(colour, generator))
    return made


def label(said: str, seen: str) -> str:
    return CLASSES[(NAMES.index(said) - NAMES.index(seen)) % 3]


def write_xvnli(root: Path, count: int = 6) -> None:
    """Every picture with every sentence; in the tests also a row without a label."""
    for split in SPLITS:
        made = pictures(root / 'images', split, count)
        for language in ('en', 'de') if split == 'test' else ('en',):
            rows = [xvnli_row(name, f'{name}.{said}', WORDS[language][said], label(said, seen)) for name, seen in made for said in NAMES]
            if split == 'test':
                rows.append(xvnli_row(made[0][0], 'unlabelled', WORDS[language]['black'], '-'))
            write_lines(root / language / f'{split}.jsonl', rows)


def xvnli_row(picture: str, pair: str, sentence: str, gold: str) -> dict[str, str]:
    return {
        'gold_label': gold, 'sentence1': '', 'sentence2': sentence, 'captionID': f'{picture}.jpg#0', 'pairID': pair, 'Flikr30kID': picture,
    }  # fmt: skip


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows), encoding='utf8')


ANSWERS = ('blue', 'green', 'no', 'red', 'yes')


def questions(picture: str, seen: str, language: str) -> list[tuple[str, str, str]]:
    """(question id, question, English answer): what colour a picture has, and whether it has each of the three."""
    asked = [(f'{picture}.what', WORDS[language]['one'], seen)]
    return asked + [(f'{picture}.{said}', WORDS[language][said], 'yes' if said == seen else 'no') for said in NAMES]


def write_xgqa(root: Path, count: int = 6) -> None:
    """Of GQA train.json, valid.json and the answers; of xGQA the tests in two languages, English with an answer that the list has not."""
    for split, name in (('train', 'train.json'), ('dev', 'valid.json'), ('test', '')):
        made = pictures(root / 'images', split, count)
        asked = {language: [(seen[0], *row) for seen in made for row in questions(*seen, language)] for language in ('en', 'de')}
        if name:
            keys = ('img_id', 'question_id', 'sent', 'label')
            write_json(root / name, [dict(zip(keys, (*row[:3], {row[3]: 1.0}), strict=True)) for row in asked['en']])
            continue
        for language, rows in asked.items():
            tests = {which: {'question': text, 'imageId': image, 'answer': answer} for image, which, text, answer in rows}
            if language == 'en':
                tests['rare'] = {'question': WORDS['en']['two'], 'imageId': made[0][0], 'answer': 'ultramarine'}
            write_json(root / 'few_shot' / language / 'test.json', tests)
    write_json(root / 'trainval_ans2label.json', {answer: number for number, answer in enumerate(ANSWERS)})


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding='utf8')


def write_translations(root: Path, count: int = 4) -> None:
    """Multi30k's task 1: the English caption says how many and where, the picture alone of what colour, the German one all of it.

    `count` pictures of every kind in the training set, one in the others. (BLEU-4 needs four words.)
    """
    (root / 'images').mkdir(parents=True)
    for number, (split, times) in enumerate({'train': count, 'val': 1, 'test_2016_flickr': 1}.items()):
        generator = np.random.default_rng(number)
        kinds = [*product(toy_world.NUMBERS, COLOURS, PLACES)] * times
        names = [f'{split}{row}.jpg' for row in range(len(kinds))]
        for name, (_, colour, place) in zip(names, kinds, strict=True):
            (root / 'images' / name).write_bytes(toy_world.picture(colour, place, generator))
        write_text(root / f'data/task1/image_splits/{split}.txt', names)
        write_captions(root, split, 'en', [said('en', number, place) for number, _, place in kinds])
        write_captions(root, split, 'de', [said('de', number, colour, place, colour, number) for number, colour, place in kinds])


def write_captions(root: Path, split: str, language: str, texts: list[str]) -> None:
    """A file of Multi30k's task 1."""
    path = root / f'data/task1/raw/{split}.{language}.gz'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(''.join(f'{text}\n' for text in texts).encode()))


def write_coco(root: Path, count: int = 8) -> None:
    """COCO in Karpathy's split: two captions a picture, `count` pictures of every kind in train and restval, one in the others."""
    (root / 'val2014').mkdir(parents=True)
    generator = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    for split, times in {'train': count - 2, 'restval': 2, 'val': 1, 'test': 1}.items():
        for colour, place in [*product(COLOURS, PLACES)] * times:
            name = f'COCO_val2014_{len(images):012d}.jpg'
            (root / 'val2014' / name).write_bytes(toy_world.picture(colour, place, generator))
            texts = said('en', 'one', colour, place, colour), said('en', 'one', place, colour, place)
            images.append({'filepath': 'val2014', 'filename': name, 'split': split, 'sentences': [{'raw': text} for text in texts]})
    write_json(root / 'dataset_coco.json', {'images': images, 'dataset': 'coco'})


def write_multi30k(root: Path, count: int = 5) -> None:
    """Pictures of the toy world with captions in two languages: `count` of every kind in the training set, one in the others."""
    (root / 'images').mkdir(parents=True)
    for number, (split, times) in enumerate({'train': count, 'val': 1, 'test_2016_flickr': 1}.items()):
        generator = np.random.default_rng(number)
        kinds = [*product(COLOURS, PLACES)] * times
        names = [f'{split}{row}.jpg' for row in range(len(kinds))]
        for name, (colour, place) in zip(names, kinds, strict=True):
            (root / 'images' / name).write_bytes(toy_world.picture(colour, place, generator))
        write_text(root / f'data/task1/image_splits/{split}.txt', names)
        for language in ('en', 'de'):
            write_captions(root, split, language, [said(language, *kind) for kind in kinds])


def write_text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf8')
