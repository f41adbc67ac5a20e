"""Counts of what was left out, by reason. Nothing is left out without being counted here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Drops:
    """Drop reasons of one unit of work, and the warnings that the user must see (a truncated archive)."""

    counts: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    overlap: set[int] = field(default_factory=set)  # hashes of the texts and pictures of evaluation sets that were met

    def add(self, reason: str, number: int = 1) -> None:
        if number:
            self.counts[reason] += number

    def warn(self, message: str) -> None:
        self.warnings.append(message)
