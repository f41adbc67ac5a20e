"""The floor that a trained model must beat: closed-form ridge regression from 16x16 pixels to hashed character n-grams.

No network, a second to fit. Trains on the pictures of RAW/cc3m (img2dataset tars) and RAW/cc12m (img2dataset parquet) with their captions
in all languages, ranks the pictures of a Multi30k folder for each caption and the captions for each picture. In scripts that it never saw
it is at chance.

    python benchmarks/ridge_floor.py sample/raw sample/evaluation/multi30k_seen [--result OUT/result.json]
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from downstream.files import write_json
from downstream.paper import PAPER_LANGUAGES
from pretrain.evaluation.multi30k import Split, read_split
from pretrain.evaluation.retrieval import KS, chance, image_to_text, text_to_image
from shards.arguments import Parser
from shards.errors import UserError, run_command

HASHES = 4096
NGRAMS = (2, 3, 4)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ridge:
    """A fitted regression. weights (side * side * 3, HASHES) act on centred pixels."""

    side: int
    pictures: int  # that it was fitted on
    weights: Floats
    mean_pixels: Floats
    mean_ngrams: Floats

    def rank(self, split: Split) -> dict[str, Any]:
        """Recalls of a split: {'pool', 'text_to_image': {language: [R@1, R@5, R@10]}, 'image_to_text': the same}."""
        images = np.stack([pixels(split.picture(row), self.side) for row in range(len(split.names))])
        predicted = (images - self.mean_pixels) @ self.weights
        predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
        forth, back = {}, {}
        for language, captions in split.captions.items():
            texts = np.stack([ngrams(text) for text in captions.texts]) - self.mean_ngrams
            rows = np.asarray(captions.rows, np.int64)
            forth[language] = list(text_to_image(texts, predicted, rows).values())
            back[language] = list(image_to_text(predicted, texts, rows).values())
        return {'pool': len(split.names), 'text_to_image': forth, 'image_to_text': back}


def fit(raw: Path, ridge: float = 100.0, side: int = 16) -> Ridge:
    """Fit on the pictures with captions of RAW/cc3m and RAW/cc12m. Raises UserError when RAW has none."""
    samples = [(pixels(data, side), sum(ngrams(text) for text in texts) / len(texts)) for data, texts in pairs(raw)]
    if not samples:
        raise UserError(f'{raw} has no pictures in cc3m/images/*.tar or cc12m/images/*.parquet; name the folder that holds cc3m and cc12m')
    inputs = np.stack([sample[0] for sample in samples])
    targets = np.stack([sample[1] for sample in samples])
    mean_pixels, mean_ngrams = inputs.mean(0), targets.mean(0)
    inputs -= mean_pixels
    normal = inputs.T @ inputs + ridge * np.eye(inputs.shape[1], dtype=np.float32)
    return Ridge(side, len(samples), np.linalg.solve(normal, inputs.T @ (targets - mean_ngrams)), mean_pixels, mean_ngrams)


def floor(raw: Path, multi30k: Path, split: str = 'test_2016_flickr', ridge: float = 100.0, side: int = 16) -> dict[str, Any]:
    """Fit on RAW and rank a split of MULTI30K: `Ridge.rank`, the number of pictures of the fit and chance."""
    fitted = fit(raw, ridge, side)
    ranks = fitted.rank(read_split(multi30k, split))
    mean = np.mean(list(ranks['text_to_image'].values()), 0).tolist()
    return {'pictures': fitted.pictures, 'chance_r10': chance(np.ones(ranks['pool'], np.int64))[0]['R@10'], **ranks, 'mean': mean}


def pixels(data: bytes, side: int = 16) -> Floats:
    """A picture as side * side * 3 numbers between 0 and 1."""
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB').resize((side, side), Image.Resampling.BOX), np.float32).ravel() / 255


def ngrams(text: str) -> Floats:
    """Counts of the hashed character n-grams of a text, of length 1. (HASHES,)"""
    counts = np.zeros(HASHES, np.float32)
    marked = f'#{text.lower()}#'
    for n in NGRAMS:
        for start in range(len(marked) - n + 1):
            counts[zlib.crc32(marked[start : start + n].encode()) % HASHES] += 1
    return counts / (np.linalg.norm(counts) + np.float32(1e-6))


def pairs(raw: Path) -> Iterator[tuple[bytes, list[str]]]:
    """(picture bytes, its captions in every language)"""
    for corpus in ('cc3m', 'cc12m'):
        folder = raw / corpus
        if not folder.is_dir():
            continue
        with (folder / 'translations.jsonl').open(encoding='utf8') as lines:
            translated = {record['url']: list(record['caption'].values()) for record in map(json.loads, lines)}
        for record in (*_tars(folder / 'images'), *_parquets(folder / 'images')):
            if record['jpg'] and record['caption']:
                yield record['jpg'], [record['caption'], *translated.get(record['url'], [])]


def _tars(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob('*.tar')):
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition('.')
                file = tar.extractfile(member)
                if file is not None:
                    members.setdefault(key, {})[extension] = file.read()
        for parts in members.values():
            yield {**json.loads(parts['json']), 'jpg': parts['jpg']}


def _parquets(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob('*.parquet')):
        if 'jpg' in pq.read_schema(path).names:  # beside tars, the parquet has the same rows without pictures
            yield from pq.read_table(path, columns=['jpg', 'caption', 'url']).to_pylist()


def compare(found: dict[str, Any], result: Path | None) -> dict[str, Any]:
    """text->image R@10, mean over the paper's languages that are there (else all): ours and the peer's.

    With a result of `downstream multi30k-retrieval` ours is the model and the peer this floor; without, ours is the floor, the peer chance.
    """
    at = KS.index(10)
    languages = [language for language in PAPER_LANGUAGES if language in found['text_to_image']] or list(found['text_to_image'])
    ridge = float(np.mean([found['text_to_image'][language][at] for language in languages]))
    metric = f'text->image R@10, mean over {" ".join(languages)}'
    if result is None:
        peer = found['chance_r10']
        return {'metric': metric, 'ours': ridge, 'ours_is': 'ridge floor', 'peer': peer, 'peer_is': 'chance', 'ratio': ridge / peer}
    recalls = json.loads(result.read_text(encoding='utf8'))['languages']
    ours = float(np.mean([recalls[language]['text_to_image']['R@10'] for language in languages]))
    return {'metric': metric, 'ours': ours, 'ours_is': str(result), 'peer': ridge, 'peer_is': 'ridge floor', 'ratio': ours / ridge}


def main() -> int:
    """Print the floor as one JSON line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('raw', type=Path, help='folder that holds cc3m and cc12m')
    parser.add_argument('multi30k', type=Path, help='folder in the layout of Multi30k')
    parser.add_argument('--split', default='test_2016_flickr')
    parser.add_argument('--ridge', type=float, default=100.0)
    parser.add_argument('--side', type=int, default=16, help='pixels a side')
    parser.add_argument('--result', type=Path, help='result.json of `downstream multi30k-retrieval evaluate` on MULTI30K, to compare')
    parser.add_argument('--out', type=Path, help='also write the JSON, with full precision, to this file')
    options = parser.parse_args()
    found = floor(options.raw, options.multi30k, options.split, options.ridge, options.side)
    found |= compare(found, options.result)
    if options.out:
        write_json(options.out, found)
    print(json.dumps(_rounded(found)))
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_rounded(below) for below in value]
    return round(value, 3) if isinstance(value, float) else value


if __name__ == '__main__':
    raise SystemExit(run_command(main))
