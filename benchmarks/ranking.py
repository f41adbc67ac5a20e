#!/usr/bin/env python
"""Peak memory of an exact ranking both ways, with that of all scores at once: `OMP_NUM_THREADS=1 python benchmarks/ranking.py`.

Random unit vectors of so many pictures and texts, each text near one of the pictures; some pictures and some texts are there twice, so that
there are equal scores. `pretrain/evaluation/retrieval.py` ranks them, as in an evaluation. Ours is the largest resident size of the process
until then, the peer the bytes of the matrix of all scores in float64. Afterwards a slice of the queries is ranked among all candidates by
counting over its whole matrix: exit code 1 when a recall of the two differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pretrain.evaluation.retrieval import KS, image_to_text, text_to_image
from shards.arguments import Parser
from shards.errors import run_command

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

DIM = 256
NOISE = 4.0  # length of what a text adds to its picture's vector: neither all are found nor none
TWICE = 10  # one in so many is a copy of the one before it


def vectors(pictures: int, texts: int, seed: int) -> tuple[Vectors, Vectors, Rows]:
    """(pictures (I, DIM), texts (T, DIM), the picture of each text (T,)); the first two of length 1."""
    generator = np.random.default_rng(seed)
    rows = np.arange(texts) % pictures
    images = _units(generator.standard_normal((pictures, DIM), np.float32))
    images[1::TWICE] = images[::TWICE][: len(images[1::TWICE])]
    captions = generator.standard_normal((texts, DIM), np.float32)
    captions *= np.float32(NOISE / DIM**0.5)
    captions += images[rows]
    captions = _units(captions)
    captions[1::TWICE] = captions[::TWICE][: len(captions[1::TWICE])]
    return images, captions, rows


def _units(values: Vectors) -> Vectors:
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def counted(queries: Vectors, candidates: Vectors, right: NDArray[np.bool_]) -> list[float]:
    """R@k of the queries by their whole matrix of scores: every order of equal scores as probable. right (Q, C): what answers a query."""
    scores = np.round(queries.astype(np.float64) @ candidates.astype(np.float64).T, 9)
    hits = np.zeros(len(KS))
    for row, own in zip(scores, right, strict=True):
        best = row[own].max()
        equal = int((row == best).sum())
        wrong = equal - int((row[own] == best).sum())
        for at, k in enumerate(KS):
            missed = 1.0  # probability that none of the places left over by better ones holds a right one
            for place in range(k - int((row > best).sum())):
                missed *= max(0, wrong - place) / (equal - place) if place < equal else 0
            hits[at] += 1 - missed
    return [float(value) for value in hits / len(queries)]


def compare(images: Vectors, texts: Vectors, rows: Rows, size: int) -> dict[str, dict[str, list[float]]]:
    """Recalls of the first `size` queries each way among all candidates: ours and counted."""
    ours = text_to_image(texts[:size], images, rows[:size]), image_to_text(images[:size], texts, rows)
    by_hand = (
        counted(texts[:size], images, rows[:size, None] == np.arange(len(images))[None]),
        counted(images[:size], texts, np.arange(min(size, len(images)))[:, None] == rows[None]),
    )
    names = ('text_to_image', 'image_to_text')
    return {name: {'ours': list(mine.values()), 'counted': other} for name, mine, other in zip(names, ours, by_hand, strict=True)}


def peak() -> int:
    """Largest resident size of this program, in bytes. (getrusage's is at least that of the process that started it.)"""
    status = Path('/proc/self/status').read_text(encoding='utf8').splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith('VmHWM'))


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pictures', type=int, default=30_000)
    parser.add_argument('--texts', type=int, default=150_000)
    parser.add_argument('--slice', type=int, default=300, help='queries each way that are counted by hand; default: %(default)s')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args(arguments)
    if not 0 < options.slice <= options.pictures <= options.texts:
        parser.error('--slice must be at least 1 and at most --pictures, and those at most --texts')
    images, texts, rows = vectors(options.pictures, options.texts, options.seed)
    recalls, seconds = {}, {}
    for name, rank, sides in (('text_to_image', text_to_image, (texts, images)), ('image_to_text', image_to_text, (images, texts))):
        began = time.perf_counter()
        recalls[name] = {k: round(value, 4) for k, value in rank(*sides, rows).items()}
        seconds[name] = round(time.perf_counter() - began, 1)
        print(f'{name}: {seconds[name]:.1f} s, {recalls[name]}, peak {peak() / 2**20:.0f} MiB', flush=True)
    ours, peer = peak(), 8 * options.pictures * options.texts
    checked = compare(images, texts, rows, options.slice)
    within = all(np.allclose(of['ours'], of['counted'], rtol=0, atol=1e-12) for of in checked.values())
    line: dict[str, Any] = {
        'benchmark': 'ranking', 'ratio': round(ours / peer, 4), 'ours': ours, 'peer': peer,
        'what': 'peak resident bytes of ranking both ways, against those of all scores in float64',
        'within': within, 'pictures': options.pictures, 'texts': options.texts, 'dim': DIM, 'seconds': seconds,
        'recalls': recalls, 'slice': {'queries': options.slice, **checked},
    }  # fmt: skip
    print(json.dumps(line))
    return 0 if within else 1


if __name__ == '__main__':
    sys.exit(run_command(main))
