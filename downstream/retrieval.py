"""Image-text retrieval with the dual encoder, of any benchmark: mR is the mean of R@1, R@5 and R@10 both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from downstream.embed import Embeddings
from downstream.files import write_array, write_json
from downstream.paper import percent
from downstream.result import RANKING
from pretrain.evaluation.multi30k import Split
from pretrain.evaluation.retrieval import KS, chance, image_to_text, mean_recall, text_to_image

INPUTS = 'inputs.json'
FILES = (INPUTS, 'images.npy', 'texts.*.npy')  # patterns of what `save_embeddings` writes
WAYS = ('text_to_image', 'image_to_text')
METRIC = f'recall@{",".join(map(str, KS))}|{RANKING}|image-query:best-caption'
HEADER = ('captions', *(f'{way} R@{k}' for way in ('t->i', 'i->t') for k in KS), 'mR', 'chance mR')


def written(split: Split) -> set[str]:
    """Names of the files that `save_embeddings` writes."""
    return {INPUTS, 'images.npy', *(f'texts.{language}.npy' for language in split.captions)}


def save_embeddings(out: Path, split: Split, embeddings: Embeddings) -> None:
    """OUT/images.npy and OUT/texts.<language>.npy, and OUT/inputs.json: of which picture and text each row is.

    {'pictures': [path], 'texts': {language: [[row of its picture, text]]}}
    """
    asked = {language: list(zip(own.rows, own.texts, strict=True)) for language, own in split.captions.items()}
    write_json(out / INPUTS, {'pictures': [str(path.resolve()) for path in split.paths], 'texts': asked}, indent=None)
    write_array(out / 'images.npy', embeddings.images)
    for language, texts in embeddings.texts.items():
        write_array(out / f'texts.{language}.npy', texts)


def score(split: Split, embeddings: Embeddings) -> dict[str, dict[str, Any]]:
    """{language: recalls both ways and mR, beside chance}."""
    scores: dict[str, dict[str, Any]] = {}
    for language, captions in split.captions.items():
        texts, rows = embeddings.texts[language], np.asarray(captions.rows, np.int64)
        forth = text_to_image(texts, embeddings.images, rows)
        back = image_to_text(embeddings.images, texts, rows)
        luck = chance(np.bincount(rows, minlength=len(split.names)))
        scores[language] = {
            'captions': len(rows),
            'text_to_image': forth,
            'image_to_text': back,
            'mR': mean_recall(forth, back),
            'chance': {**dict(zip(WAYS, luck, strict=True)), 'mR': mean_recall(*luck)},
        }
    return scores


def mean_of(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of several of `score`'s entries."""
    mean: dict[str, Any] = {way: {f'R@{k}': float(np.mean([entry[way][f'R@{k}'] for entry in scores])) for k in KS} for way in WAYS}
    mean['mR'] = float(np.mean([entry['mR'] for entry in scores]))
    mean['chance'] = {'mR': float(np.mean([entry['chance']['mR'] for entry in scores]))}
    return mean


def row(name: str, captions: str, scores: dict[str, Any]) -> list[str]:
    """Cells under `HEADER`, in percent, behind a name."""
    recalls = [scores[way][f'R@{k}'] for way in WAYS for k in KS]
    return [name, captions, *map(percent, [*recalls, scores['mR'], scores['chance']['mR']])]
