"""Accuracy of a fine-tuned classifier on the tests of every language, beside the paper's figures and what the commonest class gives."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from downstream import ranks
from downstream.classification import Classification, class_scores, credit, every, hashes, in_batches, rows_batch
from downstream.data.labelled import Labelled, Pictures, pictures_folder
from downstream.files import RESULT, make_way, write_json, write_text
from downstream.paper import PAPER, by_language, paper_tables, percent
from downstream.result import describe
from pretrain.model.load import Loaded, load_model
from shards.errors import UserError
from shards.tables import table

FLOOR = 2.0  # standard errors above the commonest class from which on a figure says something

Choices = dict[str, NDArray[np.int64]]  # language -> (rows,) the class that the model gives each row


def evaluate(
    kind: type[Classification], model: Path, data: Path, out: Path, languages: list[str] | None = None, images: Path | None = None
) -> dict[str, Any]:
    """Test a model that was fine-tuned; writes OUT/result.json and OUT/answers.[<set>.]<language>.jsonl. Returns the result.

    Raises UserError for a model that was not fine-tuned for this benchmark, and data that is missing or broken.
    """
    loaded = load_model(model)
    loaded.model.to(ranks.join())
    options = loaded.config.finetune
    if options is None or options.benchmark != kind.name:
        was = 'was not fine-tuned' if options is None else f'was fine-tuned for {options.benchmark}'
        raise UserError(f'{model} {was}: it has no classes of {kind.name}; run `downstream {kind.name} finetune --model {model} …` first')
    classes = tuple(options.classes)
    tests = kind.read_tests(data, classes, languages)
    asked = every(tests)
    pictures = Pictures(pictures_folder(data, images))
    for rows in asked.values():
        pictures.check(rows)
        loaded.tokenizer.language(rows.language)
    choices = choose(kind, loaded, list(asked.values()), pictures)
    about = {'folder': str(data), **hashes(tests, pictures)}
    metric = f'accuracy|choice:highest-score,first-of-ties|tokens:{loaded.config.data.caption_tokens}'
    scores = {
        name: score(rows, {language: choices[list(asked).index((name, language))] for language in rows}) for name, rows in tests.items()
    }
    headline, *others = scores
    entries = {'set': headline, **scores[headline], 'also': {name: scores[name] for name in others}}
    result = describe(kind.name, model, loaded, about, metric, entries)
    if ranks.leads():
        files = [f'answers.{language if name == headline else f"{name}.{language}"}.jsonl' for name, language in asked]
        make_way(out, ['answers.*.jsonl'], files)
        for file, rows, chosen in zip(files, asked.values(), choices, strict=True):
            write_text(out / file, _answers(classes, rows, chosen))
        write_json(out / RESULT, result)
    return result


def choose(kind: type[Classification], loaded: Loaded, tests: Sequence[Labelled], pictures: Pictures) -> list[NDArray[np.int64]]:
    """The class of the highest score for every row of every test, shared among ranks.

    Raises UserError for a model whose scores are not finite.
    """
    calls = [(number, part) for number, rows in enumerate(tests) for part in in_batches(len(rows))]

    def work() -> dict[int, NDArray[np.int64]]:
        found = {}
        for call in ranks.share(range(len(calls))):
            number, part = calls[call]
            batch = rows_batch(loaded.config, loaded.tokenizer, kind.task, tests[number], pictures, part)
            scores = class_scores(loaded.model, batch.to(loaded.device))
            if not scores.isfinite().all():
                raise UserError(f'scores of {tests[number].source} are not finite: the model has diverged; take an earlier checkpoint')
            found[call] = scores.argmax(1).numpy()
            progress.update(len(part))
        return found

    with ranks.progress_bar(sum(map(len, tests)), 'answering', 'row') as progress:
        chosen = ranks.gather(work, len(calls))
    return [np.concatenate([found for (of, _), found in zip(calls, chosen, strict=True) if of == number]) for number in range(len(tests))]


def score(tests: Mapping[str, Labelled], choices: Choices) -> dict[str, Any]:
    """Accuracy of every language over the rows with a label (as the paper), and over all rows (as IGLUE: those without one are wrong);
    their means over languages without English; each beside the commonest label.
    """
    scores: dict[str, Any] = {}
    for language, rows in tests.items():
        right = sum(credit(rows, row, int(choice)) for row, choice in enumerate(choices[language]))
        labels = [target for target in rows.targets if target is not None]
        accuracy, commonest = right / len(labels), _commonest(rows) / len(labels)
        scores[language] = {
            'rows': len(labels),
            'rows_all': len(rows),
            'accuracy': accuracy,
            'accuracy_all': right / len(rows),
            'majority': commonest,
            'standard_error': math.sqrt(accuracy * (1 - accuracy) / len(labels)),
        }
    others = [language for language in scores if language != 'en']
    keys = ('accuracy', 'accuracy_all', 'majority')
    mean = {key: float(np.mean([scores[language][key] for language in others])) for key in keys} if others else None
    return {'languages': scores, 'mean': mean and {'languages': others, **mean}}


def show(kind: type[Classification], result: dict[str, Any]) -> str:
    """The result beside the paper's figures, in percent; a table for every test set."""
    lines, sets = [], {result['set']: result, **result['also']}
    for name, scores in sets.items():
        theirs = paper_figures(kind) if name == result['set'] else {}  # their figures are of the headline's set
        lines += [f'{result["data"]["folder"]}, {name}, {result["setting"]}, accuracy in percent', _table(scores, theirs), '']
    if any(not above_floor(figures) for scores in sets.values() for figures in scores['languages'].values()):
        lines.append(f'at floor: less than {FLOOR:g} standard errors above the commonest label')
    return '\n'.join([*lines, f'* as printed in the paper, on the whole sets; "{PAPER}" is its ERNIE-UniX2'])


def _table(scores: Mapping[str, Any], others: Mapping[str, Mapping[str, float]]) -> str:
    unlabelled = any(figures['rows'] != figures['rows_all'] for figures in scores['languages'].values())
    header = ['language', 'rows', 'accuracy', *(['of all rows'] if unlabelled else []), 'majority', '', *(f'{name}*' for name in others)]

    def row(title: str, rows: str, ours: Mapping[str, Any], floor: str, theirs: list[float | None]) -> list[str]:
        keys = ('accuracy', 'accuracy_all', 'majority') if unlabelled else ('accuracy', 'majority')
        printed = ['' if figure is None else f'{figure:.1f}' for figure in theirs]
        return [title, rows, *(percent(ours[key]) for key in keys), floor, *printed]

    body = []
    for language, ours in scores['languages'].items():
        floor = '' if above_floor(ours) else 'at floor'
        body.append(row(language, str(ours['rows']), ours, floor, [figures.get(language) for figures in others.values()]))
    if mean := scores['mean']:
        # A mean of theirs is over their languages: it stands beside ours over the same.
        own = set(mean['languages'])
        means = [figures.get('mean') if own == set(others[PAPER]) - {'en', 'mean'} else None for figures in others.values()]
        body += [[''], row('mean but en', '', mean, '', means)]
    return table(header, body)


def above_floor(figures: Mapping[str, Any]) -> bool:
    """Whether an accuracy says more than that the model knows the commonest label."""
    return bool(figures['accuracy'] > figures['majority'] + FLOOR * figures['standard_error'])


def paper_figures(kind: type[Classification]) -> dict[str, dict[str, float]]:
    """{system: {language, or 'mean' without English: figure}} of the paper's Tables 1 and 7."""
    tables = paper_tables()
    figures = by_language(tables['table7'][kind.paper])
    for key, values in tables['table1'].items():
        if not key.startswith(f'{kind.paper}_'):
            continue
        column = 'en' if key.endswith('_en') else 'mean'
        for system, value in values.items():
            figures.setdefault(PAPER if system == 'ours_paper' else system, {})[column] = value
    return figures


def _commonest(rows: Labelled) -> float:
    """The most that one class gives for all rows."""
    votes: Counter[int] = Counter()
    for target in rows.targets:
        for number, share in target or ():
            votes[number] += share  # type: ignore[assignment]
    return max(votes.values(), default=0)


def _answers(classes: tuple[str, ...], rows: Labelled, choices: NDArray[np.int64]) -> str:
    """A line a row: its name, what the model says, what is true (null: nothing was agreed on; "": no class)."""
    lines = []
    for name, target, choice in zip(rows.ids, rows.targets, choices.tolist(), strict=True):
        right = None if target is None else classes[target[0][0]] if target else ''
        lines.append(json.dumps({'id': name, 'answer': classes[choice], 'right': right}, ensure_ascii=False))
    return '\n'.join(lines) + '\n'
