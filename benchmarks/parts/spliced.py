"""Texts in CC100's layout that compress about as CC100 does: the sample's words in new orders.

CC100's English shrinks to a quarter; rows that are repeated with new numbers shrink to a thirtieth, which leaves xz next to nothing to do.
"""

from __future__ import annotations

import lzma
import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.memory import LANGUAGES, SAMPLE

_WITHOUT_SPACES = ('th', 'zh-Hans')


def generate_spliced(folder: Path, size: int) -> int:
    """Five languages, as much of English as of the four others; the number of bytes of text.

    Documents and paragraphs have the lengths of the sample's, and consist of runs of one to three of its words (two to six letters).
    """
    total = 0
    for language in LANGUAGES:
        mine = size // 2 if language == 'en' else size // 8
        with lzma.open(folder / f'{language}.txt.xz', 'wb', preset=4) as out:
            written = 0
            for block in _blocks(language):
                written += out.write(block)
                if written >= mine:
                    break
        total += written
    return total


def _blocks(language: str) -> Iterator[bytes]:
    """A thousand documents at a time, without end."""
    chance = random.Random(language)
    documents = lzma.decompress((SAMPLE / f'cc100/{language}.txt.xz').read_bytes()).decode().strip('\n').split('\n\n')
    space, longest = ('', 6) if language in _WITHOUT_SPACES else (' ', 3)
    shapes, runs = [], []
    for document in documents:
        paragraphs = document.strip('\n').split('\n')
        shapes.append([len(paragraph) for paragraph in paragraphs])
        for paragraph in paragraphs:
            words = paragraph.split() if space else list(paragraph)
            while words:
                number = chance.randint(1, longest) if space else chance.randint(2, longest)
                runs.append(space.join(words[:number]))
                words = words[number:]
    mean = sum(map(len, runs)) / len(runs) + len(space)
    while True:
        new = ['\n'.join(space.join(chance.choices(runs, k=max(1, round(n / mean)))) for n in chance.choice(shapes)) for _ in range(1000)]
        yield ''.join(f'{document}\n\n' for document in new).encode()
