"""What `downstream` measured of a model, for its card. A result is of this model by the hash of its checkpoint, or of its export."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from pretrain.evaluation.retrieval import KS
from shards.errors import UserError
from shards.tables import markdown

FILE = 'result.json'
LANGUAGE = {'coco': 'en', 'coco-cn': 'zh'}  # of benchmarks of one language
# The Hub's names of what a benchmark measures.
TASKS = {
    'coco': 'image-to-text', 'coco-cn': 'image-to-text', 'multi30k-retrieval': 'feature-extraction', 'multi30k-translation': 'translation',
    'tatoeba': 'sentence-similarity', 'xgqa': 'visual-question-answering', 'xvnli': 'text-classification',
}  # fmt: skip
# Where a language's scores have a figure, its name and the Hub's, and what makes it percent. The first that is there is the headline.
PATHS: list[tuple[tuple[str, ...], str, str, float]] = [
    (('mR',), 'mR', 'recall', 100),
    *(
        ((way, f'R@{k}'), f'{way.replace("_", " ")} R@{k}', 'recall', 100.0)
        for way in ('text_to_image', 'image_to_text')
        for k in KS
    ),
    (('to_english',), 'accuracy into English', 'accuracy', 100),
    (('from_english',), 'accuracy from English', 'accuracy', 100),
    (('accuracy',), 'accuracy', 'accuracy', 100),
    *(
        ((way, kind, 'score'), f'{name} {way.replace("_", " ")}', 'bleu', 1.0)
        for way in ('with_picture', 'text_only')
        for kind, name in (('sacrebleu', 'sacreBLEU'), ('tokenised', 'tokenised BLEU'))
    ),
    *(
        ((name,), name, name.partition('-')[0].lower(), 100.0)
        for name in ('CIDEr', 'BLEU-4', 'METEOR', 'ROUGE-L', 'SPICE')
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure, from 0 to 100 (CIDEr: to 1000)."""

    language: str
    metric: str
    kind: str  # as the Hub calls it
    value: float


@dataclass(frozen=True)
class Result:
    """The figures of one evaluation."""

    task: str
    setting: str
    data: str  # name of the folder
    split: str
    size: str
    signature: str
    figures: tuple[Figure, ...]


def find_results(hashes: Iterable[str], below: Sequence[Path], named: Sequence[Path] = ()) -> list[Result]:
    """Those of the models with these hashes in the folders, each once, by benchmark. Raises UserError for a `named` one that has none."""
    wanted = set(hashes)
    found: list[Result] = []
    for folder in [*below, *named]:
        own = [_result(content) for path in sorted(folder.rglob(FILE)) if (content := _read(path, wanted)) is not None]
        if folder in named and not own:
            remedy = '`downstream TASK evaluate --model …` on this run, or on its export, makes one'
            raise UserError(f'{folder} holds no {FILE} of the model that is exported; {remedy}')
        found += own
    return sorted(dict.fromkeys(found), key=lambda result: (result.task, result.data, result.split))


def tables(results: Sequence[Result]) -> str:
    """A table for every evaluation, a row for every language."""
    return '\n\n'.join(_table(result) for result in results)


def model_index(name: str, results: Sequence[Result]) -> str:
    """YAML with the headline of every evaluation, as the Hub reads it; empty without results."""
    entries = [
        {
            'task': {'type': TASKS.get(result.task, 'other'), 'name': f'{result.task}, {result.setting}'},
            'dataset': {'type': result.data, 'name': result.data, 'split': result.split},
            'metrics': [_headline(result)],
        }
        for result in results
        if result.figures
    ]
    return yaml.safe_dump({'model-index': [{'name': name, 'results': entries}]}, sort_keys=False, allow_unicode=True) if entries else ''


def _headline(result: Result) -> dict[str, Any]:
    """The first metric, its mean over languages."""
    first = result.figures[0]
    values = {figure.language: figure.value for figure in result.figures if figure.metric == first.metric}
    over = first.language if len(values) == 1 else f'mean of {len(values)} languages'
    return {'type': first.kind, 'name': f'{first.metric}, {over}', 'value': round(mean(values.values()), 2)}


def _read(path: Path, wanted: set[str]) -> dict[str, Any] | None:
    """The content of a result of a wanted model; None for any other file."""
    try:
        content = json.loads(path.read_text(encoding='utf8'))
        needed = content['task'], content['setting'], content['metric'], content['data']['folder']
        return content if all(needed) and content['model']['sha256'] in wanted else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _result(content: dict[str, Any]) -> Result:
    scores: dict[str, dict[str, Any]] = dict(content.get('languages') or {})
    signatures = [content['metric']]
    if language := LANGUAGE.get(content['task']):
        cut, captions = next(iter((content.get('captioning') or {'tokens': {'': {}}})['tokens'].items()))  # the headline's words
        scores[language] = {**((content.get('retrieval') or {}).get('all') or {}), **captions}
        signatures += [f'tokens: {cut}'] if cut else []
    for entry in scores.values():
        ways = [entry[way] for way in ('with_picture', 'text_only') if isinstance(entry.get(way), dict)]
        signatures += [bleu['signature'] for way in ways for bleu in way.values() if isinstance(bleu, dict) and 'signature' in bleu]
    data = content['data']
    size = _size([entry.get('sentences', entry.get('rows', 0)) for entry in scores.values()])
    size = f'{data["pictures"]:,} pictures' if 'captions' in data else size
    split, name = str(content.get('set') or data.get('split', 'test')), Path(data['folder']).resolve().name
    signature = '; '.join(dict.fromkeys(signatures))
    return Result(content['task'], content['setting'], name, split, size, signature, tuple(_figures(scores)))


def _size(counts: list[int]) -> str:
    """How many examples a language has, as far as that was noted."""
    least, most = min(counts, default=0), max(counts, default=0)
    return '' if not least else f'{least:,} examples' if least == most else f'{least:,} to {most:,} examples a language'


def _figures(scores: dict[str, dict[str, Any]]) -> Iterable[Figure]:
    for language, entry in scores.items():
        for path, metric, kind, factor in PATHS:
            value: Any = entry
            for part in path:
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, (int, float)):
                yield Figure(language, metric, kind, factor * value)


def _table(result: Result) -> str:
    metrics = list(dict.fromkeys(figure.metric for figure in result.figures))
    values = {(figure.language, figure.metric): f'{figure.value:.1f}' for figure in result.figures}
    languages = dict.fromkeys(figure.language for figure in result.figures)
    rows = [[language, *(values.get((language, metric), '') for metric in metrics)] for language in languages]
    of = f'{result.split}, {result.size}' if result.size else result.split
    head = f'`downstream {result.task}`, {result.setting}, on `{result.data}` ({of}), times 100. Signature: `{result.signature}`.'
    return head + '\n\n' + markdown(['language', *metrics], rows)
