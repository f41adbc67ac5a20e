"""Settings of `data_pipeline tokenizer train`, apart from the training itself so that `--help` needs no sentencepiece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={'help': text})


@dataclass(frozen=True)
class TrainingSettings:
    """They are kept in tokenizer.json."""

    pieces: int = _setting(250_000, 'size of the model, without language codes')
    alpha: float = _setting(0.3, 'languages are drawn with p proportional to n^alpha')
    sentences: int = _setting(
        10_000_000, 'texts drawn in all, at most; sentencepiece takes about 26 bytes of memory for each of their characters'
    )
    per_language: int = _setting(
        500_000, 'distinct texts kept of one language, at most, in a file below --out: about 30 bytes of memory each'
    )
    character_coverage: float = _setting(0.9998, 'share of all characters that get a piece')
    longest: int = _setting(4192, 'bytes; longer texts are left out')
