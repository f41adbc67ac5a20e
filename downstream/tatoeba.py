"""Tatoeba (paper, Table 8): which English sentence is the translation of this one, and the other way, with the text encoder alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from downstream import ranks
from downstream.data.tatoeba import LANGUAGES, Pairs, read_tatoeba, sha256
from downstream.embed import check_finite, embed_distinct_texts
from downstream.files import write_array, write_json
from downstream.paper import PAPER, by_language, paper_tables, percent
from downstream.result import RANKING, describe
from pretrain.evaluation.retrieval import text_to_image
from pretrain.model.load import Loaded, load_model
from shards.tables import table

DIRECTIONS = ('to_english', 'from_english')

Sides = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]  # language -> (its sentences, the English ones), each (N, D)


def evaluate(model: Path, data: Path, out: Path, languages: list[str] | None = None) -> dict[str, Any]:
    """Rank all sentences zero-shot; writes OUT/result.json and OUT/<language>.npy, OUT/<language>.english.npy. Returns the result.

    Raises UserError for a folder that holds no model and data in another layout (checked first: it is the quicker of the two).
    """
    pairs = read_tatoeba(data, languages)
    loaded = load_model(model)
    loaded.model.to(ranks.join())
    sides = embed_pairs(loaded, pairs)
    about = {'folder': str(data), 'sha256': sha256(pairs), 'files': {language: both.sources for language, both in pairs.items()}}
    result = describe('tatoeba', model, loaded, about, f'accuracy@1|{RANKING}', score(sides))
    if ranks.leads():
        for language, (texts, english) in sides.items():
            write_array(out / f'{language}.npy', texts)
            write_array(out / f'{language}.english.npy', english)
        write_json(out / 'result.json', result)
    return result


def embed_pairs(loaded: Loaded, pairs: dict[str, Pairs]) -> Sides:
    """Both sides of every language, L2-normalised. Raises UserError for a language that the model has no code for."""
    for language in ('en', *pairs):
        loaded.tokenizer.language(language)  # before anything is embedded
    limit = loaded.config.data.text_tokens
    sides: Sides = {}
    total = sum(2 * len(both.texts) for both in pairs.values())
    with torch.inference_mode(), ranks.progress_bar(total, 'embedding', 'sentence') as progress:
        for language, both in pairs.items():
            texts = embed_distinct_texts(loaded, both.texts, language, progress.update, limit)
            english = embed_distinct_texts(loaded, both.english, 'en', progress.update, limit)
            check_finite(np.concatenate([texts, english]), language)
            sides[language] = texts, english
    return sides


def score(sides: Sides) -> dict[str, Any]:
    """Accuracy of every language both ways, their means over languages; over XTREME's 36 where none of them is missing."""
    scores = {}
    for language, (texts, english) in sides.items():
        rows = np.arange(len(texts))
        forth, back = (text_to_image(a, b, rows, (1,))['R@1'] for a, b in ((texts, english), (english, texts)))
        accuracy = dict(zip(DIRECTIONS, (forth, back), strict=True))
        scores[language] = {'sentences': len(rows), **accuracy, 'mean': (forth + back) / 2, 'chance': 1 / len(rows)}
    missing = [language for language in LANGUAGES if language not in scores]
    return {
        'languages': scores,
        'mean': _mean(scores, list(scores)),
        'mean_36': None if missing else _mean(scores, list(LANGUAGES)),
        'missing': missing,
    }


def show(result: dict[str, Any]) -> str:
    """The result beside the paper's figures, in percent; a mean of theirs is over the same languages as ours."""
    others = by_language(paper_tables()['table8'])
    scores = result['languages']

    def row(title: str, sentences: str, ours: dict[str, Any], languages: Sequence[str]) -> list[str]:
        theirs = [_mean_of(figures, languages) for figures in others.values()]
        return [title, sentences, *(percent(ours[key]) for key in (*DIRECTIONS, 'mean', 'chance')), *theirs]

    header = ['language', 'sentences', 'xx->en', 'en->xx', 'mean', 'chance', *(f'{name}*' for name in others)]
    rows = [row(language, str(figures['sentences']), figures, [language]) for language, figures in scores.items()]
    rows += [[''], row(f'mean of {len(scores)}', '', result['mean'], list(scores))]
    if result['mean_36'] and len(scores) > len(LANGUAGES):
        rows.append(row(f'mean of {len(LANGUAGES)}', '', result['mean_36'], LANGUAGES))
    lines = [f'{result["data"]["folder"]}, zero-shot, accuracy in percent', table(header, rows)]
    if result['missing']:
        whole = _mean_of(others[PAPER], LANGUAGES)
        lines.append(f"not run: {' '.join(result['missing'])}; the paper's mean over all {len(LANGUAGES)} is {whole}")
    return '\n'.join([*lines, f'* as printed in the paper, xx->en, on the whole sets; "{PAPER}" is its ERNIE-UniX2'])


def _mean(scores: dict[str, Any], languages: list[str]) -> dict[str, Any]:
    keys = (*DIRECTIONS, 'mean', 'chance')
    return {'languages': languages, **{key: float(np.mean([scores[language][key] for language in languages])) for key in keys}}


def _mean_of(figures: dict[str, float], languages: Sequence[str]) -> str:
    """Mean of printed figures; empty when one is missing."""
    return f'{np.mean([figures[language] for language in languages]):.1f}' if set(languages) <= set(figures) else ''
