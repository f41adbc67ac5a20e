"""Languages as the page shows them: by their English names, those that the model was trained on first. Needs babel."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from babel import Locale

# What Unicode CLDR, and so babel, has no name for: ISO 639-3's names.
OTHERS = {
    'azb': 'South Azerbaijani', 'bcl': 'Central Bikol', 'ber': 'Berber', 'bxr': 'Russia Buriat', 'cjk': 'Chokwe', 'dag': 'Dagbani',
    'diq': 'Dimli', 'gaz': 'West Central Oromo', 'kbp': 'Kabiyè', 'knn': 'Individual Konkani', 'lbe': 'Lak', 'mhr': 'Eastern Mari',
    'olo': 'Livvi', 'pnb': 'Western Panjabi', 'shs': 'Shuswap', 'son': 'Songhai', 'my_zaw': 'Burmese in Zawgyi',
    'zh': 'Chinese, simplified', 'zh-TW': 'Chinese, traditional',
}  # fmt: skip
LATIN = '_rom'


def named(code: str) -> str:
    """`German (de)` of a canonical code."""
    known = Locale('en').languages
    name = OTHERS.get(code) or known.get(code)
    if name is None and code.endswith(LATIN):
        name = f'{known[code.removesuffix(LATIN)]} in Latin script'
    return code if name is None else f'{name} ({code})'


def choices(codes: Collection[str], trained: Collection[str], with_texts: Sequence[str], mark: bool) -> list[tuple[str, str]]:
    """(what a list shows, code) of every language: those that the model was trained on (of which none may be known) before the others,
    among both those in which there are texts first, then by name. `mark`: say of the others that the model was not trained on them.
    """
    found = []
    for code in sorted(codes, key=lambda code: (code not in trained, code not in with_texts, named(code))):
        strange = mark and trained and code not in trained
        found.append((f'{named(code)}, not trained on' if strange else named(code), code))
    return found
