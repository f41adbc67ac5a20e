"""Shards of a world that a tiny model understands within seconds: coloured pictures, and sentences of three words in three languages.

What is held out, pictures and sentences alike, is never in the training part, but follows the same rules: so a held-out loss falls only by
learning them.
"""

from __future__ import annotations

import hashlib
import io
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import Record, train_tokenizer, write_pictures, write_texts

COLOURS = {
    'red': (220, 30, 30), 'green': (30, 200, 30), 'blue': (30, 30, 220),
    'yellow': (230, 230, 30), 'black': (10, 10, 10), 'white': (245, 245, 245),
}  # fmt: skip
WORDS = {
    language: dict(zip([*COLOURS, 'above', 'below', 'one', 'two', 'six', 'ten'], words.split(), strict=True))
    for language, words in {
        'en': 'red green blue yellow black white above below one two six ten',
        'de': 'rot grün blau gelb schwarz weiß oben unten eins zwei sechs zehn',
        'fr': 'rouge vert bleu jaune noir blanc dessus dessous un deux six dix',
    }.items()
}
NUMBERS, PLACES = ('one', 'two', 'six', 'ten'), ('above', 'below')
PICTURES = 10  # of every colour and place in training, and 2 held out


def said(language: str, *what: str) -> str:
    return ' '.join(WORDS[language][word] for word in what)


def picture(colour: str, place: str, generator: np.random.Generator) -> bytes:
    """Grey noise, with its upper or lower half in the colour."""
    pixels = generator.integers(96, 160, (32, 32, 3))
    half = slice(0, 16) if place == 'above' else slice(16, 32)
    pixels[half] = np.clip(np.array(COLOURS[colour]) + generator.integers(-20, 20, (16, 32, 3)), 0, 255)
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, 'PNG')
    return out.getvalue()


def pictures(count: int, seed: int) -> list[Record]:
    generator = np.random.default_rng(seed)
    records = []
    for colour, place in [*product(COLOURS, PLACES)] * count:
        image = picture(colour, place, generator)
        name = hashlib.sha256(image).hexdigest()
        captions = {language: [said(language, colour, place)] for language in WORDS}
        records.append({'image': image, 'captions': captions, 'url': f'https://toy/{name}', 'licence': 'none', 'image_id': name})
    return records


def build(home: Path) -> Tokenizer:
    """Write `home`/tokenizer and `home`/shards."""
    shards = home / 'shards'
    for split, records in (('train', pictures(PICTURES, 0)), ('val', pictures(2, 1))):
        write_pictures(shards / 'cc3m' / split, 'cc3m', records)
    sentences = [*product(NUMBERS, COLOURS, PLACES)]
    order = np.random.default_rng(2).permutation(len(sentences))
    parts = {'train': [sentences[i] for i in order[12:]], 'val': [sentences[i] for i in order[:12]]}
    tokenizer = train_tokenizer([said(language, *what) for language in WORDS for what in sentences] * 20, home / 'tokenizer')

    def ids(language: str, what: tuple[str, ...]) -> np.ndarray:
        return np.array(tokenizer.encode(said(language, *what)), np.int32)

    for split, part in parts.items():
        for language in WORDS:
            texts = [{'ids': ids(language, what)} for what in part]
            write_texts(shards / 'cc100' / split / language, 'cc100', texts, tokenizer.fingerprint)
        for one, other in (('de', 'en'), ('en', 'fr')):
            rows = [{'source_ids': ids(one, what), 'target_ids': ids(other, what)} for what in part]
            write_texts(shards / 'opus' / split / f'{one}-{other}', 'opus', rows, tokenizer.fingerprint)
    return tokenizer
