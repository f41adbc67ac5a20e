"""Is a text in the language that it is said to be in? py3langid's model, which its wheel ships, judges.

docs/data.md has the measurement by which it was chosen, and from which length on it is trusted.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from data_pipeline.settings import Settings
from shards.errors import UserError
from shards.languages import canonical

# Languages that the model takes for each other, in which a text says little about which of them it is: their probabilities are added up.
_ALIKE = (
    frozenset({'bs', 'hr', 'sr', 'sr_rom'}),
    frozenset({'id', 'ms', 'jv'}),
    frozenset({'no', 'nn', 'da'}),
    frozenset({'zh', 'zh-TW', 'yue', 'wuu', 'lzh'}),
)
_DENSE = re.compile('[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]')  # kana, Chinese characters, Hangul


def wrong_language(text: str, language: str, settings: Settings) -> bool:
    """Whether the text is long enough to be judged, its (canonical) language known to the model, and less probable than
    `language_probability`."""
    if len(text) < settings.language_length and len(text) + 2 * len(_DENSE.findall(text)) < settings.language_length:
        return False
    accepted = _labels(language)
    if not accepted:
        return False
    first, probability = _model().classify(text)
    if first in accepted and probability >= settings.language_probability:
        return False
    if first not in accepted and probability > 1 - settings.language_probability:
        return True
    return float(sum(share for label, share in _model().rank(text) if label in accepted)) < settings.language_probability


@cache
def _labels(language: str) -> frozenset[str]:
    """The model's labels that are right for a language."""
    wanted = next((group for group in _ALIKE if language in group), frozenset({language}))
    return frozenset(label for label in _model().labels if _canonical(label) in wanted)


def _canonical(label: str) -> str:
    try:
        return canonical(label)
    except UserError:
        return label  # `zxx`, no language, and a few that no corpus has


@cache
def _model() -> Any:
    import py3langid.langid as langid  # half a second: only where texts are judged

    return langid.LanguageIdentifier.from_model_file(Path(langid.__file__).parent / langid.MODEL_FILE, norm_probs=True)
