"""The demo's picture: the loss of each task over the run, and what the model finds for a few queries."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from pretrain.evaluation.multi30k import Split
from shards.durable import replace
from shards.pictures import open_picture

# In the order in which they are taken: the benchmark's own, then one of each script.
LANGUAGES = ('en', 'de', 'fr', 'cs', 'ja', 'zh', 'ru', 'ar', 'ko', 'hi', 'he', 'th', 'uk', 'vi', 'tr', 'es', 'sw', 'et')
QUERIES = 8
TOP = 5
RIGHT, WRONG = '#1a9641', '#cccccc'


@dataclass(frozen=True)
class Query:
    """A caption, the pictures that are ranked first for it, and where the right one is."""

    language: str
    text: str
    right: int  # row of the picture
    top: list[int]  # rows, best first
    rank: int  # of the right one, from 1
    better: float  # share of the language's other captions that come before this one in its list


def ranks_of(captions: NDArray[np.float32], rows: NDArray[np.int64], images: NDArray[np.float32]) -> NDArray[np.int64]:
    """(T,) the rank, from 1, of picture `rows[t]` for caption t; captions (T, D), images (I, D), all unit vectors.

    Of equal scores the first picture comes first.
    """
    order = np.argsort(-(captions @ images.T), axis=1, kind='stable')
    return np.asarray((order == rows[:, None]).argmax(1) + 1)


def choose(split: Split, embeddings: Path, count: int = QUERIES) -> list[Query]:
    """`count` captions from the best to the worst, each of another language whose script the installed fonts can draw.

    A language's captions are sorted by the rank of their right picture, equal ranks as they stand in the file. The first language shows the
    first of its list, the last one the last, those between evenly spaced places: hits and failures in their true proportion.
    """
    images = np.load(embeddings / 'images.npy', allow_pickle=False)
    queries: list[Query] = []
    for language in [code for code in LANGUAGES if code in split.captions]:
        if len(queries) == count:
            break
        captions = split.captions[language]
        vectors = np.load(embeddings / f'texts.{language}.npy', allow_pickle=False)
        rows = np.array(captions.rows)
        ranks = ranks_of(vectors, rows, images)
        last = len(rows) - 1
        place = round(last * len(queries) / max(1, count - 1))
        index = int(np.argsort(ranks, kind='stable')[place])
        if font_of(captions.texts[index]) is None:
            continue
        top = np.argsort(-(images @ vectors[index]), kind='stable')[:TOP].tolist()
        queries.append(Query(language, captions.texts[index], captions.rows[index], top, int(ranks[index]), place / max(1, last)))
    return queries


def draw(path: Path, metrics: list[dict[str, Any]], evaluations: list[dict[str, Any]], split: Split, queries: list[Query]) -> None:
    """Write the picture as a PNG file."""
    figure = Figure(figsize=(13, 6.2 + 1.35 * len(queries)), dpi=100, layout='constrained')
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[6.2, 1.35 * max(1, len(queries))])[:, 0]
    draw_losses(above, metrics, evaluations)
    draw_contact_sheet(below, split, queries)
    content = io.BytesIO()
    figure.savefig(content, format='png')
    replace(path, [content.getbuffer()])


def draw_losses(figure: SubFigure, metrics: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> None:
    """One panel a task: the training loss of each step and smoothed, the held-out loss of each evaluation."""
    tasks = [task for task in evaluations[0]['heldout'] if any(task in line['loss'] for line in metrics)]
    columns = min(4, max(1, len(tasks)))
    panels = np.atleast_1d(figure.subplots(math.ceil(max(1, len(tasks)) / columns), columns)).ravel()
    for task, panel in zip(tasks, panels, strict=False):
        steps, values = points((line['step'], line['loss'].get(task)) for line in metrics)
        panel.plot(steps, values, color='#9ecae1', linewidth=0.8, label='training')
        panel.plot(steps, smooth(values), color='#08519c', linewidth=1.6, label='training, smoothed')
        held_steps, held = points((line['step'], line['heldout'].get(task, {}).get('mean')) for line in evaluations)
        panel.plot(held_steps, held, 'o-', color='#e6550d', markersize=4, linewidth=1, label='held out')
        panel.set_title(task.upper() if task not in ('vplm', 'mmmt') else {'vplm': 'vPLM', 'mmmt': 'mMMT'}[task], fontsize=10)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    for panel in panels[len(tasks) :]:
        panel.axis('off')
    panels[0].legend(fontsize=7, frameon=False)
    figure.suptitle('Loss of each task by step', fontsize=12)


def draw_contact_sheet(figure: SubFigure, split: Split, queries: Sequence[Query]) -> None:
    """A row a query: its text, the pictures ranked first (the right one framed), and the right one."""
    what = f'The first {TOP} of {len(split.names)} pictures for a caption; the right one has a green frame'
    how = 'From the best to the worst: each row has the caption at that height in the list of its language, sorted by rank'
    figure.suptitle(f'{what}\n{how}', fontsize=12)
    if not queries:
        return
    grid = figure.subplots(len(queries), TOP + 2, squeeze=False, width_ratios=[3.2, *[1] * (TOP + 1)])
    for query, row in zip(queries, grid, strict=True):
        text, found = row[0], row[1:-1]
        text.axis('off')
        font = font_of(query.text)
        text.text(0, 0.62, wrapped(query.text), fontproperties=font, fontsize=10, va='center', transform=text.transAxes)
        note = f'{query.language}: the right picture is number {query.rank}, {query.better:.0%} down its list'
        text.text(0, 0.12, note, fontsize=8, color='#666666', transform=text.transAxes)
        for place, panel in zip(query.top, found, strict=False):
            show(panel, split.picture(place), RIGHT if place == query.right else WRONG)
        for panel in found[len(query.top) :]:
            panel.axis('off')
        show(row[-1], split.picture(query.right), RIGHT)
    grid[0, TOP + 1].set_title('right', fontsize=8)
    for place in range(TOP):
        grid[0, place + 1].set_title(str(place + 1), fontsize=8)


def show(panel: Axes, picture: bytes, frame: str) -> None:
    panel.imshow(np.asarray(open_picture(picture).convert('RGB')))
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set(edgecolor=frame, linewidth=4 if frame == RIGHT else 1)


def points(pairs: Iterable[tuple[int, float | None]]) -> tuple[list[int], list[float]]:
    """The pairs that have a value, as two lists."""
    kept = [(step, value) for step, value in pairs if value is not None]
    return [step for step, _ in kept], [value for _, value in kept]


def smooth(values: Sequence[float]) -> list[float]:
    """Mean of the values so far, of a twentieth of them at most."""
    window = max(1, len(values) // 20)
    return [float(np.mean(values[max(0, end - window) : end])) for end in range(1, len(values) + 1)]


def wrapped(text: str, width: int = 38, lines: int = 3) -> str:
    """The text in at most `lines` lines of about `width` characters, cut at spaces where there are any."""
    out: list[str] = []
    rest = text
    while rest and len(out) < lines:
        cut = len(rest) if len(rest) <= width else max(rest.rfind(' ', 0, width + 1), 0) or width
        out.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return '\n'.join(out) + ('…' if rest else '')


@cache
def font_of(text: str) -> font_manager.FontProperties | None:
    """A font that has every character of the text, or None. matplotlib's own DejaVu Sans comes first: it is always there."""
    wanted = {ord(character) for character in text if not character.isspace()} | {ord('…')}
    first = font_manager.findfont('DejaVu Sans')
    # "Last Resort" has a box for every character that there is.
    fonts = font_manager.fontManager.ttflist
    installed = [font for font in fonts if font.style == 'normal' and font.weight in (400, 'normal') and 'Last Resort' not in font.name]
    for path in dict.fromkeys([first, *sorted(font.fname for font in installed)]):
        if wanted <= _characters(path):
            return font_manager.FontProperties(fname=path)
    return None


@cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a font file that FreeType cannot open draws nothing
        return frozenset()
