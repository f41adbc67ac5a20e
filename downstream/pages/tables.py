"""The paper's Tables 1, 2, 7 and 8, with ours below theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from downstream import retrieval
from downstream.pages import figures
from downstream.pages.collect import FINE_TUNED_ON, Result
from downstream.paper import PAPER, PAPER_LANGUAGES, by_language, paper_tables
from shards.errors import UserError
from shards.languages import canonical

NAMES = {PAPER: 'ERNIE-UniX2 (paper)', 'ours_paper': 'ERNIE-UniX2 (paper)'}
Slot = str  # what a column's results have in common: the benchmark, and for retrieval how the model was tuned


@dataclass(frozen=True)
class Row:
    """A system's figures, one a column, empty where it has none."""

    name: str
    cells: list[str]
    ours: bool = False
    unavailable: list[str] = field(default_factory=list)  # why, for each cell that says n/a


@dataclass(frozen=True)
class Column:
    """Which results a column shows, and what of them."""

    slot: Slot
    figure: figures.Figure
    language: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table: `groups` are titles over so many columns each; `columns` is where our figures in it are from."""

    title: str
    groups: list[tuple[str, int]]
    header: list[str]
    rows: list[Row]
    notes: list[str]
    columns: Sequence[Column] = ()


def slot_of(result: Result) -> Slot:
    """The slot of a result."""
    if result.task != 'multi30k-retrieval':
        return result.task
    if not result.setting.startswith(FINE_TUNED_ON):
        return f'{result.task} zero-shot'
    trained = set(map(_canonical, result.setting.removeprefix(FINE_TUNED_ON).split()))
    # On other languages: in the list of results alone, which says so.
    return f'{result.task} ' + ('en' if trained == {'en'} else 'all' if trained >= set(PAPER_LANGUAGES) else result.setting)


def _canonical(language: str) -> str:
    """Results of before have languages as they were spelt when they were asked for."""
    try:
        return canonical(language)
    except UserError:
        return language


def paper_grids(results: Sequence[Result]) -> list[Grid]:
    """All four, from the results of the splits that the paper reports."""
    wanted = [result for result in results if figures.published_split(result)]
    return [understanding(wanted), generation(wanted), classification(wanted), *translations(wanted)]


def understanding(results: Sequence[Result]) -> Grid:
    """Table 1."""
    tables = paper_tables()['table1']
    columns = [
        Column('xvnli', figures.accuracy('en')), Column('xvnli', figures.mean_accuracy('xvnli')),
        Column('xgqa', figures.accuracy('en')), Column('xgqa', figures.mean_accuracy('xgqa')),
        *(Column(f'multi30k-retrieval {kind}', figures.mean_recall) for kind in ('zero-shot', 'en', 'all')),
        Column('tatoeba', figures.mean_tatoeba),
    ]  # fmt: skip
    keys = ('xvnli_en', 'xvnli_4avg', 'xgqa_en', 'xgqa_7avg', None, None, None, 'tatoeba_36avg')
    systems = list(dict.fromkeys(system for key in keys if key for system in tables[key]))
    rows = [Row(NAMES.get(system, system), [_printed(tables[key].get(system), 2) if key else '' for key in keys]) for system in systems]
    groups = [('XVNLI', 2), ('xGQA', 2), ('Multi30k retrieval, mR', 3), ('Tatoeba', 1)]
    header = ['EN', '4 avg', 'EN', '7 avg', 'zero-shot', 'EN only', 'all', '36 avg']
    note = "The paper's retrieval cells are not legible in its source. Averages leave English out, but for retrieval (en de fr cs)."
    return _grid('Table 1: understanding', groups, header, rows, columns, results, [note])


def generation(results: Sequence[Result]) -> Grid:
    """Table 2."""
    tables = paper_tables()['table2']
    metrics = {
        'coco': [('BLEU-4', 'B4'), ('METEOR', 'METEOR'), ('CIDEr', 'CIDEr'), ('SPICE', 'SPICE')],
        'coco_cn': [('BLEU-4', 'B4'), ('METEOR', 'METEOR'), ('ROUGE-L', 'ROUGE'), ('CIDEr', 'CIDEr')],
    }
    columns = [Column(name.replace('_', '-'), figures.caption_score(metric)) for name, pairs in metrics.items() for metric, _ in pairs]
    columns.append(Column('multi30k-translation', figures.translation))
    rows = []
    for system, own in tables.items():
        if system != 'note':
            cells = [_printed(own.get(name, {}).get(key), 1) for name, pairs in metrics.items() for _, key in pairs]
            rows.append(Row(NAMES.get(system, system), [*cells, _printed(own.get('multi30k_ende_B4'), 1)]))
    groups = [('COCO captions', 4), ('COCO-CN captions', 4), ('Multi30k en-de', 1)]
    header = [metric for pairs in metrics.values() for metric, _ in pairs] + ['BLEU-4']
    note = "The paper's METEOR and SPICE on COCO are implausible beside its other figures."
    return _grid('Table 2: generation', groups, header, rows, columns, results, [note])


def classification(results: Sequence[Result]) -> Grid:
    """Table 7."""
    tables = paper_tables()['table7']
    groups, header, columns = [], [], []
    printed: dict[str, list[str]] = defaultdict(list)
    for task, title in (('xvnli', 'XVNLI'), ('xgqa', 'xGQA')):
        languages = tables[task]['langs']
        groups.append((title, len(languages)))
        header += languages
        columns += [Column(task, figures.accuracy(language)) for language in languages]
        for system, own in by_language(tables[task]).items():
            printed[system] += [_printed(own[language], 2 if task == 'xvnli' else 1) for language in languages]
    rows = [Row(NAMES.get(system, system), cells) for system, cells in printed.items()]
    return _grid('Table 7: XVNLI and xGQA by language', groups, header, rows, columns, results, [])


def translations(results: Sequence[Result]) -> list[Grid]:
    """Table 8, in two parts as the paper has it, so that it fits a page."""
    table = paper_tables()['table8']
    languages, others = table['langs'], by_language(table)
    half = len(languages) // 2
    grids = []
    for part, last in ((languages[:half], False), (languages[half:], True)):
        columns = [Column('tatoeba', figures.tatoeba(language), language) for language in part]
        rows = [Row(NAMES.get(system, system), [_printed(own[language], 1) for language in part]) for system, own in others.items()]
        header = list(part)
        if last:
            columns.append(Column('tatoeba', figures.mean_tatoeba))
            header.append('36 avg')
            for row, own in zip(rows, others.values(), strict=True):
                row.cells.append(_printed(sum(own.values()) / len(own), 1))
        title = f'Table 8: Tatoeba by language, {part[0]} to {part[-1]}'
        grids.append(_grid(title, [('xx->en accuracy', len(header))], header, rows, columns, results, []))
    return grids


def our_rows(columns: Sequence[Column], results: Sequence[Result]) -> list[Row]:
    """A row a run; what it has several results of for one column is in further rows, which are named by setting and data."""
    rows = []
    for run in dict.fromkeys(result.run for result in results):
        slots: dict[Slot, list[Result]] = defaultdict(list)
        for result in results:
            if result.run == run and slot_of(result) in {column.slot for column in columns}:
                slots[slot_of(result)].append(result)
        several = {slot: found for slot, found in slots.items() if len(found) > 1}
        parts = [(run, {slot: found[0] for slot, found in slots.items() if slot not in several})]
        for at in range(max(map(len, several.values()), default=0)):
            shown = {slot: found[at] for slot, found in several.items() if at < len(found)}
            settings = dict.fromkeys(f'{result.setting}, {result.data}' for result in shown.values())
            parts.append((f'{run} ({"; ".join(settings)})', shown))
        for name, shown in parts:
            cells = [figures.cell(shown.get(column.slot), column.figure, column.language) for column in columns]
            values = [column.figure(shown[column.slot]) for column in columns if column.slot in shown]
            if any(cells):
                rows.append(Row(name, cells, True, [value.why for value in values if isinstance(value, figures.Unavailable)]))
    return rows


def _grid(
    title: str, groups: list[tuple[str, int]], header: list[str], rows: list[Row], columns: list[Column], results: Sequence[Result],
    notes: list[str],
) -> Grid:  # fmt: skip
    ours = our_rows(columns, results)
    used = {mark for row in ours for text in row.cells for mark in figures.MARKS if mark in text}
    reasons = dict.fromkeys(why for row in ours for why in row.unavailable)
    said = [f'{mark} {why}' for mark, why in figures.MARKS.items() if mark in used]
    said += [f'{figures.NOT_AVAILABLE}: {why}' for why in reasons]
    return Grid(title, groups, header, [*rows, *ours], [*notes, *said], columns)


def _printed(figure: float | None, decimals: int) -> str:
    """A figure of the paper as it prints it."""
    return '' if figure is None else f'{figure:.{decimals}f}'


def retrieval_grids(results: Sequence[Result]) -> list[Grid]:
    """Recalls of every retrieval, language by language: the paper has no such table."""
    grids = []
    for result in results:
        scores = result.content['languages'] if result.task == 'multi30k-retrieval' else _coco_recalls(result.content)
        rows = [Row(name, retrieval.row(name, str(entry.get('captions', '')), entry)[1:], ours=True) for name, entry in scores.items()]
        if rows:
            title = f'{result.run}: {result.task}, {result.setting}, {result.data} ({result.split}), percent'
            grids.append(Grid(title, [('recall', len(retrieval.HEADER))], list(retrieval.HEADER), rows, []))
    return grids


def _coco_recalls(content: dict[str, Any]) -> dict[str, Any]:
    found = content.get('retrieval')
    if found is None:
        return {}
    return {f'among {found["all"]["pictures"]}': found['all']} | ({'1K': found['1k']} if found['1k'] else {})


def list_of_results(results: Sequence[Result]) -> Grid:
    """Where every figure is from, and which results none is from."""
    rows = []
    for result in results:
        content: dict[str, Any] = result.content
        data, model = f'{result.data} ({result.split})', content['model']['sha256'][:12]
        rows.append(Row(result.run, [result.task, result.setting, data, model, content['metric'], str(result.path)], ours=True))
    columns = [column for grid in paper_grids([]) for column in grid.columns]
    reasons = [(result, _why_nowhere(result, columns)) for result in results]
    notes = [
        f"In none of the paper's tables: {result.run}: {result.task}, {result.setting}, {result.data} ({result.split}): {why}"
        for result, why in reasons if why
    ]  # fmt: skip
    return Grid('Results on this page', [], ['task', 'setting', 'data', 'model', 'metric', 'file'], rows, notes)


def _why_nowhere(result: Result, columns: Sequence[Column]) -> str:
    """Why no figure of a result is in any of the columns; empty when one is."""
    if not figures.published_split(result):
        return f'the paper reports {figures.PUBLISHED[result.task]}'
    own = [column for column in columns if column.slot == slot_of(result)]
    if not own:
        return "it was trained on other languages than the paper's models"
    return '' if any(figures.cell(result, column.figure) for column in own) else 'it has none of their figures'
