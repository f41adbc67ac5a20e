"""Image-text retrieval on Multi30k with the dual encoder (paper, section 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from downstream import ranks, retrieval
from downstream.embed import Embeddings, embed_split
from downstream.files import RESULT, make_way, write_json
from downstream.paper import PAPER_LANGUAGES
from downstream.result import describe
from pretrain.evaluation.multi30k import Split, read_split
from pretrain.model.load import load_model
from shards.tables import table


def evaluate(
    model: Path, data: Path, out: Path, split: str = 'test_2016_flickr', languages: list[str] | None = None, images: Path | None = None
) -> dict[str, Any]:
    """Rank a split, zero-shot or by a fine-tuned model; writes OUT/result.json, OUT/images.npy and OUT/texts.<language>.npy. Returns the
    result.

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
    result = describe('multi30k-retrieval', model, loaded, about, retrieval.METRIC, score(pictures, embeddings))
    if ranks.leads():
        make_way(out, retrieval.FILES, retrieval.written(pictures))
        retrieval.save_embeddings(out, pictures, embeddings)
        write_json(out / RESULT, result)
    return result


def score(split: Split, embeddings: Embeddings) -> dict[str, Any]:
    """Recalls of every language, their means over all languages and over the paper's, beside chance."""
    scores = retrieval.score(split, embeddings)
    paper = [language for language in PAPER_LANGUAGES if language in scores]
    return {'languages': scores, 'mean': _mean(scores, list(scores)), 'mean_paper': _mean(scores, paper) if paper else None}


def show(result: dict[str, Any]) -> str:
    """The result as a table, in percent."""
    rows = [retrieval.row(language, str(scores['captions']), scores) for language, scores in result['languages'].items()]
    rows += [[''], retrieval.row('mean', '', result['mean'])]
    if paper := result['mean_paper']:
        rows.append(retrieval.row('mean ' + ' '.join(paper['languages']), '', paper))
    data = result['data']
    title = f'{data["folder"]} ({data["split"]}, {data["pictures"]} pictures), {result["setting"]}, percent'
    return title + '\n' + table(['language', *retrieval.HEADER], rows)


def _mean(scores: dict[str, Any], languages: list[str]) -> dict[str, Any]:
    return {'languages': languages, **retrieval.mean_of([scores[language] for language in languages])}
