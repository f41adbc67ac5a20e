"""The figures that the tables take out of results, in percent, with marks for what differs from the paper's protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from downstream.data.tatoeba import LANGUAGES
from downstream.pages.collect import TEXT_ONLY, ZERO_SHOT, Result
from downstream.paper import PAPER_LANGUAGES, paper_tables

ZERO, OTHER_DATA, NO_PTB, NO_PICTURES, AFTER, OTHER_BEAMS = '†', '§', '‡', '¶', '◊', '‖'
MARKS = {
    ZERO: 'zero-shot, where the paper fine-tuned',
    OTHER_DATA: "not the benchmark's own number of examples, captions or references, so other data than the paper's",
    NO_PTB: "words cut without Java's PTB tokenizer: not comparable",
    NO_PICTURES: 'trained and tested without pictures',
    AFTER: 'zero-shot, by a model that was fine-tuned on another benchmark',
    OTHER_BEAMS: "not written with four beams, as the paper's",
}
NOT_AVAILABLE = 'n/a'
# Examples of the benchmarks as published (formats of their repositories); XVNLI's are those with a label.
EXAMPLES = {'coco': 5000, 'coco-cn': 1000, 'multi30k-retrieval': 1000, 'multi30k-translation': 1000, 'xvnli': 1150, 'xgqa': 9666}
CAPTIONS = {'en': 5000, 'de': 5000, 'fr': 1000, 'cs': 1000}  # of the retrieval: task 2 has five a picture, task 1 one
# References of the captions, at least: COCO has five a picture or more, COCO-CN five that were translated and one or more that was written.
REFERENCES = {'coco': 25_000, 'coco-cn': 6000}
BEAMS = 4  # the paper's
FEWER_PAIRS = {'jv': 205, 'ka': 746, 'kk': 575, 'ml': 687, 'sw': 390, 'ta': 307, 'te': 234, 'th': 548}  # of Tatoeba; others have 1,000
FINE_TUNED = ('coco', 'coco-cn', 'multi30k-translation')  # by the paper
PUBLISHED = {'coco': 'test', 'coco-cn': 'test', 'multi30k-retrieval': 'test_2016_flickr', 'multi30k-translation': 'test_2016_flickr'}


@dataclass(frozen=True)
class Unavailable:
    """A figure that could not be computed where the rest of its result was: its name and why, in words."""

    why: str


Figure = Callable[[Result], float | Unavailable | None]
Share = Callable[[Result], float | None]


def published_split(result: Result) -> bool:
    """Whether a result is of the split that the paper reports."""
    return result.split == PUBLISHED.get(result.task, result.split)


def cell(result: Result | None, figure: Figure, language: str | None = None) -> str:
    """A figure with its marks, or n/a; empty where nothing was run."""
    value = None if result is None else figure(result)
    if result is None or value is None:
        return ''
    return NOT_AVAILABLE if isinstance(value, Unavailable) else f'{value:.1f}' + ''.join(marks(result, language))


def marks(result: Result, language: str | None = None) -> list[str]:
    """What must be said beside a figure of this result (of Tatoeba's: in this language; none: in all)."""
    found = []
    if result.task in FINE_TUNED and result.setting.startswith(ZERO_SHOT):
        found.append(ZERO)
    if result.setting.startswith(f'{ZERO_SHOT}, after '):
        found.append(AFTER)
    if not _whole(result, language):
        found.append(OTHER_DATA)
    if result.task == 'coco' and 'PTB' not in next(iter(result.content['captioning']['tokens'])).split():
        found.append(NO_PTB)
    if result.setting.endswith(TEXT_ONLY):
        found.append(NO_PICTURES)
    beams = re.search(r'\bbeams:(\d+)', result.content['metric'])  # only of what is written
    if beams and int(beams[1]) != BEAMS:
        found.append(OTHER_BEAMS)
    return found


def accuracy(language: str) -> Share:
    """Of XVNLI and xGQA in a language."""
    return lambda result: _percent(result.content['languages'].get(language, {}).get('accuracy'))


def mean_accuracy(task: str) -> Figure:
    """Over the paper's languages other than English; None when one is missing."""
    languages = paper_tables()['table7'][task]['langs']
    return lambda result: _mean([accuracy(language)(result) for language in languages])


def tatoeba(language: str) -> Share:
    """xx->en accuracy in a language, the headline."""
    return lambda result: _percent(result.content['languages'].get(language, {}).get('to_english'))


def mean_tatoeba(result: Result) -> float | None:
    """Over XTREME's 36 languages; None when one is missing."""
    return _mean([tatoeba(language)(result) for language in LANGUAGES])


def mean_recall(result: Result) -> float | None:
    """mR over Multi30k's own four languages; None when one is missing."""
    return _mean([_percent(result.content['languages'].get(language, {}).get('mR')) for language in PAPER_LANGUAGES])


def caption_score(metric: str) -> Figure:
    """Times 100, by the headline's words."""

    def figure(result: Result) -> float | Unavailable | None:
        scores = result.content.get('captioning')
        if scores is None:
            return None
        found = next(iter(scores['tokens'].values()))
        score = _percent(found[metric])
        return Unavailable(f'{metric} {found.get("unavailable", {}).get(metric, "was not computed")}') if score is None else score

    return figure


def translation(result: Result) -> float | None:
    """The literature's BLEU from English into German with the picture; None when that was not run."""
    if result.content['data']['source'] != 'en':
        return None
    found = result.content['languages'].get('de', {}).get('with_picture', {}).get('tokenised')
    return None if found is None else float(found['score'])


def _whole(result: Result, language: str | None) -> bool:
    scores: dict[str, Any] = result.content.get('languages', {})
    if result.task == 'tatoeba':
        asked = LANGUAGES if language is None else [language]
        return all(scores.get(code, {}).get('sentences') == FEWER_PAIRS.get(code, 1000) for code in asked)
    if result.task not in EXAMPLES:
        return True
    if result.task in ('xvnli', 'xgqa'):
        counts = {entry['rows'] for entry in scores.values()}
    elif result.task == 'multi30k-translation':
        counts = {entry['sentences'] for entry in scores.values()}
    else:
        counts = {result.content['data']['pictures']}
    return counts == {EXAMPLES[result.task]} and _all_texts(result)


def _all_texts(result: Result) -> bool:
    """Whether the pictures have all captions that are ranked, or that others are compared with: a file of them may be missing."""
    if result.task == 'multi30k-retrieval':
        scores = result.content['languages']
        return all(scores[language].get('captions') == count for language, count in CAPTIONS.items() if language in scores)
    captioning = result.content.get('captioning')
    return captioning is None or captioning.get('references', 0) >= REFERENCES.get(result.task, 0)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
