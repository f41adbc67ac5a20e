"""COCO and COCO-CN: captions by beam search (paper, Table 2), and retrieval with the dual encoder, which others report on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from downstream import ranks, retrieval
from downstream.captioning import DECODING, FILE, captions_table, references_of, save_captions, scores_of, write_captions
from downstream.data.coco import read_coco
from downstream.data.coco_cn import read_coco_cn
from downstream.embed import Embeddings, embed_split
from downstream.files import RESULT, make_way, write_json
from downstream.generate import fitted
from downstream.metrics.captions import Tokens, english_tokens
from downstream.metrics.tokens import characters, jieba_words
from downstream.paper import PAPER, paper_tables
from downstream.result import describe
from pretrain.evaluation.multi30k import Captions, Split
from pretrain.model.load import load_model
from shards.tables import table

FOLD = 1000  # pictures among which the literature's "1K" ranks
CAPTIONS = 5  # a picture, in its retrieval on COCO
PARTS = ('captioning', 'retrieval')


@dataclass(frozen=True)
class Benchmark:
    """What differs between the two."""

    name: str
    language: str
    read: Callable[[Path, str, Path | None], Split]  # with all captions of a picture: the references
    ranked: Callable[[Path, str, Path | None], Split]  # with the captions that are ranked, as the literature does
    tokens: Callable[[], list[Tokens]]  # how texts are cut before they are scored; the first is the headline
    spice: bool
    paper: str  # in table2


def first_captions(split: Split, count: int = CAPTIONS) -> Split:
    """With the first `count` captions of every picture: some have more."""
    kept = {}
    for language, captions in split.captions.items():
        seen = np.zeros(len(split.names), int)
        texts, rows = [], []
        for text, row in zip(captions.texts, captions.rows, strict=True):
            seen[row] += 1
            if seen[row] <= count:
                texts.append(text)
                rows.append(row)
        kept[language] = Captions(language, texts, rows, captions.sources)
    return replace(split, captions=kept)


COCO = Benchmark(
    'coco', 'en', read_coco, lambda *where: first_captions(read_coco(*where)), lambda: [english_tokens()], spice=True, paper='coco'
)
COCO_CN = Benchmark(
    'coco-cn', 'zh', read_coco_cn, partial(read_coco_cn, translated=False),
    lambda: [Tokens('jieba', jieba_words), Tokens('characters', characters)], spice=False, paper='coco_cn',
)  # fmt: skip


def evaluate(
    benchmark: Benchmark, model: Path, data: Path, out: Path, split: str = 'test', images: Path | None = None,
    beams: int = DECODING.beams, parts: Sequence[str] = PARTS,
) -> dict[str, Any]:  # fmt: skip
    """Write captions of a split and rank it; writes OUT/result.json and, by part, OUT/captions.jsonl and OUT/images.npy,
    OUT/texts.<language>.npy. Returns the result, on rank 0 (elsewhere nothing).

    Raises UserError for a folder that holds no model, data in another layout, a missing picture, a language the model has no code for, and
    when the captions, which are written then, cannot be scored.
    """
    pictures, ranked = benchmark.read(data, split, images), benchmark.ranked(data, split, images)
    loaded = load_model(model)
    loaded.tokenizer.language(benchmark.language)
    loaded.model.to(ranks.join())
    decoding = fitted(loaded, replace(DECODING, beams=beams), benchmark.language)
    hypotheses = write_captions(loaded, pictures, benchmark.language, decoding) if 'captioning' in parts else []
    embeddings = embed_split(loaded, ranked) if 'retrieval' in parts else None
    if not ranks.leads():
        return {}
    references = references_of(pictures, benchmark.language)
    captions = {FILE} if 'captioning' in parts else set()
    make_way(out, [FILE, *retrieval.FILES], captions | (retrieval.written(ranked) if embeddings else set()))
    if 'captioning' in parts:  # before they are scored by programs that may fail
        save_captions(out, pictures, hypotheses, references)
    if embeddings is not None:
        retrieval.save_embeddings(out, ranked, embeddings)
    scores: dict[str, Any] = {}
    if 'captioning' in parts:
        paper = paper_tables()['table2'][PAPER][benchmark.paper]
        scores['captioning'] = scores_of(hypotheses, references, benchmark.tokens(), benchmark.spice, paper)
    if embeddings is not None:
        scores['retrieval'] = ranking(ranked, embeddings, benchmark.language)
    about = {
        'folder': str(data), 'split': split, 'pictures': len(pictures.names), 'sha256': pictures.sha256(),
        'captions': pictures.captions[benchmark.language].sources,
    }  # fmt: skip
    metric = f'beams:{beams}|max:{decoding.max_tokens}|length-penalty:{decoding.length_penalty}; {retrieval.METRIC}'
    result = describe(benchmark.name, model, loaded, about, metric, scores, ('pycocoevalcap', 'jieba'))
    write_json(out / RESULT, result)
    return result


def ranking(split: Split, embeddings: Embeddings, language: str) -> dict[str, Any]:
    """{'all': recalls among all pictures, '1k': the mean over folds of 1,000 pictures in the order of the split, None with fewer}."""
    folds = [fold(split, embeddings, start) for start in range(0, len(split.names) - FOLD + 1, FOLD)]
    whole = {'pictures': len(split.names), **retrieval.score(split, embeddings)[language]}
    mean = retrieval.mean_of([retrieval.score(*part)[language] for part in folds]) if folds else None
    return {'all': whole, '1k': mean, 'folds': len(folds)}


def fold(split: Split, embeddings: Embeddings, start: int) -> tuple[Split, Embeddings]:
    """The `FOLD` pictures from `start` on, with their captions and embeddings."""
    captions, texts = {}, {}
    for language, own in split.captions.items():
        inside = [place for place, row in enumerate(own.rows) if start <= row < start + FOLD]
        rows = [own.rows[place] - start for place in inside]
        captions[language] = Captions(language, [own.texts[place] for place in inside], rows, own.sources)
        texts[language] = embeddings.texts[language][inside]
    part = slice(start, start + FOLD)
    return Split(split.root, split.name, split.names[part], split.paths[part], captions), Embeddings(embeddings.images[part], texts)


def show(result: dict[str, Any]) -> str:
    """The result beside the paper's figures."""
    data = result['data']
    parts = [f'{data["folder"]} ({data["split"]}, {data["pictures"]} pictures), {result["setting"]}']
    if captions := result.get('captioning'):
        parts.append(f'captions, beam search, times 100, {captions["empty"]} empty\n' + captions_table(captions))
    if found := result.get('retrieval'):
        rows = [retrieval.row(f'among {found["all"]["pictures"]}', str(found['all']['captions']), found['all'])]
        if found['1k']:
            rows.append(retrieval.row(f'1K, mean of {found["folds"]}', '', found['1k']))
        parts.append('retrieval, percent\n' + table(['pictures', *retrieval.HEADER], rows))
    return '\n\n'.join(parts)
