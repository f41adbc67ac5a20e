"""One plot a result with several languages: ours beside the paper's figures, or beside chance or the commonest answer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from downstream.pages.collect import Result
from downstream.paper import PAPER, by_language, paper_tables

Series = dict[str, dict[str, float]]  # what -> language -> percent

# benchmark -> (label in the legend, keys in a language's entry)
KEYS: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    'tatoeba': [('ours, xx->en', ('to_english',)), ('chance', ('chance',))],
    'multi30k-retrieval': [('ours, mR', ('mR',)), ('chance', ('chance', 'mR'))],
    'xvnli': [('ours', ('accuracy',)), ('commonest label', ('majority',))],
    'xgqa': [('ours', ('accuracy',)), ('commonest answer', ('majority',))],
    'multi30k-translation': [
        ('sacreBLEU with picture', ('with_picture', 'sacrebleu', 'score')), ('sacreBLEU, text only', ('text_only', 'sacrebleu', 'score')),
    ],
}  # fmt: skip


def series(result: Result) -> Series:
    """What is plotted: by language, in the order of the result; {} for a result that has fewer than two languages."""
    scores: dict[str, Any] = result.content.get('languages', {})
    if len(scores) < 2 or result.task not in KEYS:
        return {}
    found: Series = {}
    scale = 1 if result.task == 'multi30k-translation' else 100
    for name, keys in KEYS[result.task]:
        values = {language: _deep(entry, keys) for language, entry in scores.items()}
        found[name] = {language: scale * value for language, value in values.items() if value is not None}
    tables = paper_tables()
    theirs = {'tatoeba': tables['table8'], 'xvnli': tables['table7']['xvnli'], 'xgqa': tables['table7']['xgqa']}.get(result.task)
    if theirs:
        figures = by_language(theirs)[PAPER]
        found['paper'] = {language: figures[language] for language in scores if language in figures}
    return {name: values for name, values in found.items() if values}


def title(result: Result) -> str:
    """What a plot shows."""
    return f'{result.run}: {result.task}, {result.setting}, {result.data} ({result.split})'


def draw(found: Series, title: str) -> str:
    """An SVG of bars by language; its text stays text, in the page's colour."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    languages = list(dict.fromkeys(language for values in found.values() for language in values))
    with mpl.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': title, 'font.size': 9}):
        figure = Figure(figsize=(max(5.0, 0.32 * len(languages) + 2), 2.8), layout='constrained')
        axes = figure.subplots()
        width = 0.8 / len(found)
        for number, (name, values) in enumerate(found.items()):
            places = [place + (number - (len(found) - 1) / 2) * width for place, language in enumerate(languages) if language in values]
            colour = {'paper': '#f4a259', 'chance': '#9a9a9a', 'commonest label': '#9a9a9a', 'commonest answer': '#9a9a9a'}.get(name)
            axes.bar(places, [values[language] for language in languages if language in values], width, label=name, color=colour)
        axes.set_xticks(range(len(languages)), languages)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False, ncols=len(found), loc='lower center', bbox_to_anchor=(0.5, 1))
        file = io.StringIO()
        figure.savefig(file, format='svg', metadata={'Date': None})
    text = file.getvalue()
    return text[text.index('<svg') :]


def file_name(number: int, result: Result) -> str:
    """Of a plot, relative to the page."""
    return str(Path('plots') / f'{number:02d}-{result.task}.svg')


def _deep(entry: Any, keys: tuple[str, ...]) -> float | None:
    for key in keys:
        if not isinstance(entry, dict) or key not in entry:
            return None
        entry = entry[key]
    return float(entry)
