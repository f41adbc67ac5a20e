"""Zero-shot image-text retrieval on Multi30k with the dual encoder (paper, section 4.2): mR is the mean of R@1, R@5 and R@10 both ways."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from downstream import ranks
from downstream.embed import Embeddings, embed_split
from downstream.report import PAPER_LANGUAGES, percent, table, write_array, write_json
from downstream.result import RANKING, describe
from pretrain.evaluation.multi30k import Split, read_split
from pretrain.evaluation.retrieval import KS, chance, image_to_text, mean_recall, text_to_image
from pretrain.model.load import load_model

WAYS = ('text_to_image', 'image_to_text')


def evaluate(
    model: Path, data: Path, out: Path, split: str = 'test_2016_flickr', languages: list[str] | None = None, images: Path | None = None
) -> dict[str, Any]:
    """Rank a split zero-shot; writes OUT/result.json, OUT/images.npy and OUT/texts.<language>.npy. Returns the result.

    Raises UserError for a folder that holds no model and data in another layout (checked first: it is the quicker of the two).
    """
    pictures = read_split(data, split, languages, images)
    loaded = load_model(model)
    loaded.model.to(ranks.join())
    embeddings = embed_split(loaded, pictures)
    about = {
        'folder': str(data),
        'split': split,
        'pictures': len(pictures.names),
        'sha256': pictures.sha256(),
        'captions': {language: captions.sources for language, captions in pictures.captions.items()},
    }
    metric = f'recall@{",".join(map(str, KS))}|{RANKING}|image-query:best-caption'
    result = describe('multi30k-retrieval', 'zero-shot', model, loaded, about, metric, score(pictures, embeddings))
    if ranks.leads():
        write_array(out / 'images.npy', embeddings.images)
        for language, texts in embeddings.texts.items():
            write_array(out / f'texts.{language}.npy', texts)
        write_json(out / 'result.json', result)
    return result


def score(split: Split, embeddings: Embeddings) -> dict[str, Any]:
    """Recalls of every language, their means over all languages and over the paper's, beside chance."""
    scores: dict[str, Any] = {}
    for language, captions in split.captions.items():
        texts, rows = embeddings.texts[language], np.asarray(captions.rows, np.int64)
        forth = text_to_image(texts, embeddings.images, rows)
        back = image_to_text(embeddings.images, texts, rows)
        luck = chance(len(split.names), len(rows) // len(split.names))
        scores[language] = {
            'captions': len(rows),
            'text_to_image': forth,
            'image_to_text': back,
            'mR': mean_recall(forth, back),
            'chance': {**dict(zip(WAYS, luck, strict=True)), 'mR': mean_recall(*luck)},
        }
    paper = [language for language in PAPER_LANGUAGES if language in scores]
    return {'languages': scores, 'mean': _mean(scores, list(scores)), 'mean_paper': _mean(scores, paper) if paper else None}


def show(result: dict[str, Any]) -> str:
    """The result as a table, in percent."""
    header = ['language', 'captions', *(f'{way} R@{k}' for way in ('t->i', 'i->t') for k in KS), 'mR', 'chance mR']
    rows = [_row(language, str(scores['captions']), scores) for language, scores in result['languages'].items()]
    rows += [[''], _row('mean', '', result['mean'])]
    if paper := result['mean_paper']:
        rows.append(_row('mean ' + ' '.join(paper['languages']), '', paper))
    data = result['data']
    return f'{data["folder"]} ({data["split"]}, {data["pictures"]} pictures), zero-shot, percent\n' + table(header, rows)


def _mean(scores: dict[str, Any], languages: list[str]) -> dict[str, Any]:
    mean: dict[str, Any] = {'languages': languages}
    for way in WAYS:
        mean[way] = {f'R@{k}': float(np.mean([scores[language][way][f'R@{k}'] for language in languages])) for k in KS}
    mean['mR'] = float(np.mean([scores[language]['mR'] for language in languages]))
    mean['chance'] = {'mR': float(np.mean([scores[language]['chance']['mR'] for language in languages]))}
    return mean


def _row(name: str, captions: str, scores: dict[str, Any]) -> list[str]:
    recalls = [scores[way][f'R@{k}'] for way in WAYS for k in KS]
    return [name, captions, *map(percent, [*recalls, scores['mR'], scores['chance']['mR']])]
