"""The qualitative page: pictures with what was found for a text, and with what was written for them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from downstream.captioning import FILE as CAPTIONS
from downstream.pages.collect import Result
from downstream.pages.plots import title
from downstream.pages.render import page
from downstream.retrieval import INPUTS
from shards.errors import UserError
from shards.pictures import thumbnail

SIDE = 248  # pixels of a thumbnail, shown at half of it
FOUND = 5  # pictures a text


def examples_page(results: Sequence[Result], count: int, languages: Sequence[str] | None = None) -> str:
    """`count` texts a language, each with the first pictures that were found for it, the right one framed; `count` captions a result.

    Examples are taken evenly from the whole set, so nobody has chosen them. languages: only these; none: all that were run.
    Raises UserError for a damaged file.
    """
    parts = []
    for result in results:
        parts += [part for part in (_retrieval(result, count, languages), _captions(result, count)) if part]
    if not parts:
        parts = ['<p>None of the results has pictures: multi30k-retrieval, coco and coco-cn have.</p>']
    return page('What was found and written', '\n'.join(parts))


def evenly(total: int, count: int) -> list[int]:
    """`count` of `total` places, from the first to the last at equal distances; all when there are fewer."""
    return sorted({round(place) for place in np.linspace(0, total - 1, min(count, total))}) if total else []


def _retrieval(result: Result, count: int, languages: Sequence[str] | None) -> str:
    if not (result.folder / INPUTS).is_file():
        return ''
    inputs = _json(result.folder / INPUTS)
    images = _array(result.folder / 'images.npy')
    parts = [f'<h2>{escape(title(result))}: pictures found for texts</h2>']
    for language, captions in inputs['texts'].items():
        if languages is not None and language not in languages:
            continue
        texts = _array(result.folder / f'texts.{language}.npy')
        parts.append(f'<h3>{escape(language)}</h3>')
        for place in evenly(len(captions), count):
            row, text = captions[place]
            scores = images.astype(np.float64) @ texts[place].astype(np.float64)
            best = np.argsort(-scores, kind='stable')[:FOUND].tolist()
            rank = int((scores > scores[row]).sum()) + 1
            figures = ''.join(_figure(inputs['pictures'][found], found == row, f'{scores[found]:.2f}') for found in best)
            aside = f'the right one is number {rank} of {len(images)}'
            parts.append(f'<div class="query"><bdi>{escape(text)}</bdi> <small>({aside})</small><div class="found">{figures}</div></div>')
    return '\n'.join(parts)


def _captions(result: Result, count: int) -> str:
    path = result.folder / CAPTIONS
    if not path.is_file():
        return ''
    lines = path.read_text(encoding='utf8').split('\n')[:-1]
    cards = []
    for place in evenly(len(lines), count):
        try:
            line = json.loads(lines[place])
            references = ''.join(f'<li><bdi>{escape(text)}</bdi></li>' for text in line['references'])
            body = f'<p><bdi>{escape(line["caption"]) or "(empty)"}</bdi></p><ul>{references}</ul>'
            cards.append(f'<div class="card">{_figure(line["path"], False, "")}{body}</div>')
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{path}:{place + 1}: no caption ({error}); evaluate again') from None
    return f'<h2>{escape(title(result))}: what was written, and the references</h2>\n<div class="cards">{"".join(cards)}</div>'


def _figure(path: str, right: bool, caption: str) -> str:
    data = _thumbnail(path)
    image = f'<img src="data:image/jpeg;base64,{data}" alt="">' if data else '<div class="missing">picture not there any more</div>'
    below = f'<figcaption>{escape(caption)}</figcaption>' if caption else ''
    kind = ' class="right"' if right else ''
    return f'<figure{kind}>{image}{below}</figure>'


@lru_cache(4096)
def _thumbnail(path: str) -> str:
    """Base64 of a small JPEG; empty when the picture cannot be read any more."""
    try:
        picture = thumbnail(path, SIDE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow's for what it cannot decode
        return ''
    file = io.BytesIO()
    picture.save(file, 'JPEG', quality=80)
    return base64.b64encode(file.getvalue()).decode()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf8'))
    except ValueError as error:
        raise UserError(f'{path} is no JSON ({error}); evaluate again') from None


def _array(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({error}); evaluate again') from None
