"""Floors that a trained model must beat, from texts alone: no network, no picture, and seconds to fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.ridge_floor import Floats, ngrams
from downstream.accuracy import score
from downstream.classification import Classification
from downstream.data.tatoeba import read_tatoeba
from downstream.metrics.bleu import sacre_bleu
from downstream.metrics.captions import Tokens, cider
from pretrain.evaluation.multi30k import read_split

Metric = Callable[[Sequence[str], Sequence[Sequence[str]], Tokens], float]  # of hypotheses and their references
RIDGE = 1.0  # texts are unit vectors


def ngram_accuracy(data: Path) -> dict[str, float]:
    """Language -> share of Tatoeba sentences whose nearest by character n-grams is their translation: names, numbers, shared words."""
    found = {}
    for language, pairs in read_tatoeba(data).items():
        scores = vectors(pairs.texts) @ vectors(pairs.english).T
        found[language] = float((scores.argmax(1) == np.arange(len(pairs.texts))).mean())
    return found


def text_only(kind: type[Classification], data: Path) -> dict[str, float]:
    """Language -> accuracy on the headline's test set of whatever is best of: the commonest label, and ridge regression from the character
    n-grams of the English training texts to their labels. What a model gains from a picture is above it.
    """
    classes, train, _ = kind.read_training(data)
    tests = next(iter(kind.read_tests(data, classes, None).values()))
    known = [row for row, target in enumerate(train.targets) if target]
    targets = np.zeros((len(known), len(classes)), np.float32)
    for place, row in enumerate(known):
        for number, share in train.targets[row] or ():
            targets[place, number] = share
    inputs = vectors([train.texts[row] for row in known])
    mean = targets.mean(0)
    # In the dual: there are fewer texts than hashes.
    weights = inputs.T @ np.linalg.solve(inputs @ inputs.T + RIDGE * np.eye(len(known), dtype=np.float32), targets - mean)
    choices = {language: (vectors(rows.texts) @ weights + mean).argmax(1) for language, rows in tests.items()}
    scores = score(tests, choices)['languages']
    return {language: max(figures['accuracy'], figures['majority']) for language, figures in scores.items()}


def one_caption(folder: Path, cut: Callable[[Sequence[str]], list[str]], metric: Metric = cider) -> float:
    """CIDEr, or another metric, of the best single caption for all pictures, among those that the references have. cut: into words."""
    lines = [json.loads(line) for line in (folder / 'captions.jsonl').read_text(encoding='utf8').splitlines()]
    references = [line['references'] for line in lines]
    simple = Tokens('words', cut)
    return max(metric([text] * len(lines), references, simple) for text in {text for own in references for text in own})


def one_translation(data: Path, language: str) -> float:
    """sacreBLEU (0 to 100) of the best single text for all pictures of Multi30k's test set, among its references in this language."""
    references = read_split(data, languages=[language], translations=True, pictures=False).captions[language].texts
    return max(float(sacre_bleu([text] * len(references), references, language)['score']) for text in set(references))


def vectors(texts: Sequence[str]) -> Floats:
    """(N, HASHES) `ngrams` of texts."""
    return np.stack([ngrams(text) for text in texts])
