"""Translation of Multi30k's captions (paper, Table 2), with the picture and without it, by beam search (paper, section 4.4)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from downstream import ranks
from downstream.files import RESULT, make_way, write_json, write_text
from downstream.generate import Example, fitted, generate
from downstream.metrics.bleu import LITERATURE, literature_bleu, moses, sacre_bleu
from downstream.paper import PAPER, paper_tables
from downstream.result import describe
from pretrain.evaluation.lines import text_lines
from pretrain.evaluation.multi30k import SOURCE, Split, read_split
from pretrain.generation import Decoding
from pretrain.model.load import load_model
from shards.errors import UserError
from shards.languages import canonical
from shards.tables import table

DECODING = Decoding(beams=4, max_tokens=100)
WITH, WITHOUT = 'with_picture', 'text_only'


def evaluate(
    model: Path, data: Path, out: Path, split: str = 'test_2016_flickr', source: str = 'en', targets: list[str] | None = None,
    images: Path | None = None, text_only: bool = False, beams: int = DECODING.beams,
) -> dict[str, Any]:  # fmt: skip
    """Translate a split from `source` into every target (none: German) with the picture and without, or without alone.

    Writes OUT/result.json and OUT/<language>.<with_picture|text_only>.txt, a line a picture. Returns the result. Raises UserError for a
    folder that holds no model, data in another layout, a missing picture, a language that data or model have not (checked first).
    """
    source, targets = canonical(source), list(dict.fromkeys(map(canonical, targets or ['de'])))
    if source in targets:
        raise UserError(f'--languages names {source}, which --source translates from; name the languages to translate into')
    captions = read_split(data, split, [source, *targets], images, translations=True, pictures=not text_only)
    tokenised = {target: read_tokenised(captions, target) for target in targets}
    loaded = load_model(model)
    for language in (source, *targets):
        loaded.tokenizer.language(language)
    loaded.model.to(ranks.join())
    decoding = fitted(loaded, replace(DECODING, beams=beams), source)  # a prompt is as long in any language
    written: dict[tuple[str, str], list[str]] = {}
    for target, way in product(targets, (WITHOUT,) if text_only else (WITH, WITHOUT)):
        pictures = [None] * len(captions.names) if way == WITHOUT else captions.paths
        sources = captions.captions[source].texts
        examples = [Example(text, source, target, path) for text, path in zip(sources, pictures, strict=True)]
        written[target, way] = generate(loaded, examples, decoding, f'{source}->{target}, {way}')
    if ranks.leads():
        files = {f'{target}.{way}.txt': texts for (target, way), texts in written.items()}
        make_way(out, [f'*.{way}.txt' for way in (WITH, WITHOUT)], files)
        for file, texts in files.items():
            write_text(out / file, ''.join(' '.join(text.split()) + '\n' for text in texts))
    scores: dict[str, Any] = {
        target: {'sentences': len(captions.names), 'paper': paper_tables()['table2'][PAPER].get(f'multi30k_{source}{target}_B4')}
        for target in targets
    }
    for (target, way), texts in written.items():
        scores[target][way] = score(texts, captions.captions[target].texts, tokenised[target], target)
    about = {
        'folder': str(data), 'split': split, 'source': source, 'sha256': captions.sha256(), 'pictures': not text_only,
        'files': {language: found.sources for language, found in captions.captions.items()},
        'tokenised': {target: about_tokenised(captions, target, tokenised[target]) for target in targets},
    }  # fmt: skip
    metric = f'bleu|beams:{beams}|max:{decoding.max_tokens}|length-penalty:{decoding.length_penalty}|signatures by figure'
    result = describe('multi30k-translation', model, loaded, about, metric, {'languages': scores}, ('sacrebleu', 'sacremoses'))
    if ranks.leads():
        write_json(out / RESULT, result)
    return result


def score(hypotheses: list[str], references: list[str], tokenised: list[str] | None, language: str) -> dict[str, Any]:
    """{'sacrebleu': …, 'tokenised': … or None where the literature has no references of its own}, and how many texts are empty."""
    return {
        'sacrebleu': sacre_bleu(hypotheses, references, language),
        'tokenised': None if tokenised is None else literature_bleu(hypotheses, tokenised, language),
        'empty': sum(not text.strip() for text in hypotheses),
    }


def read_tokenised(captions: Split, language: str) -> list[str] | None:
    """The literature's references, `tok/<split>.lc.norm.tok.<language>`; where that file is missing, made from the raw ones in the same
    way; None for other languages than Multi30k's own. Raises UserError when the number of lines differs.
    """
    if language not in LITERATURE:
        return None
    raw = captions.captions[language].texts
    path = _tokenised_file(captions, language)
    if not path.is_file():
        return [moses(text, language) for text in raw]
    lines = [' '.join(line.split()) for line in text_lines(path, path.read_bytes(), SOURCE)]
    if len(lines) != len(raw):
        raise UserError(f'{path} has {len(lines)} lines, {captions.captions[language].sources[0]} {len(raw)}; take both from one release')
    return lines


def about_tokenised(captions: Split, language: str, tokenised: list[str] | None) -> dict[str, Any] | None:
    """Where the tokenised references are from, their hash, and how many are not what the Moses scripts make of the raw ones: with many,
    hypotheses and references are tokenised in two ways, and the figure means little.
    """
    if tokenised is None:
        return None
    raw = captions.captions[language].texts
    path = _tokenised_file(captions, language)
    return {
        'file': str(path.relative_to(captions.root)) if path.is_file() else None,
        'sha256': hashlib.sha256('\n'.join(tokenised).encode()).hexdigest(),
        'differ': sum(' '.join(moses(text, language).split()) != line for text, line in zip(raw, tokenised, strict=True)),
    }


def show(result: dict[str, Any]) -> str:
    """The result beside the paper's figure."""
    data, ways = result['data'], [way for way in (WITH, WITHOUT) if any(way in scores for scores in result['languages'].values())]
    header = ['language', 'sentences', *['tokenised', 'sacreBLEU'] * len(ways), 'paper']
    groups = [('', 2), *((way.replace('_', ' '), 2) for way in ways), ('', 1)]
    rows = []
    for language, scores in result['languages'].items():
        cells = [bleu['score'] if bleu else None for way in ways for bleu in (scores[way]['tokenised'], scores[way]['sacrebleu'])]
        cells.append(scores['paper'])
        rows.append([language, str(scores['sentences']), *('-' if cell is None else f'{cell:.1f}' for cell in cells)])
    lines = [f'{data["folder"]} ({data["split"]}) from {data["source"]}, {result["setting"]}, BLEU-4', table(header, rows, groups)]
    for language, about in data['tokenised'].items():
        total = result['languages'][language]['sentences']
        if about and about['differ'] > total // 100:
            why = f'{about["differ"]} of {total} references in {about["file"]} are not what the Moses scripts make of the raw ones'
            lines.append(f'{language}: {why}, so the tokenised figure compares two ways of tokenising')
    figures = [scores[way][name] for scores in result['languages'].values() for way in ways for name in ('tokenised', 'sacrebleu')]
    return '\n'.join([*lines, *sorted({figure['signature'] for figure in figures if figure})])


def _tokenised_file(captions: Split, language: str) -> Path:
    return captions.root / 'data/task1/tok' / f'{captions.name}.lc.norm.tok.{language}'
