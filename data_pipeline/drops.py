"""Counts of what was left out, by reason, and a few examples of each; and of texts that were changed. Nothing is without being counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

EXAMPLES = 5  # of each reason, for the unit as for the stream
_LENGTH = 200  # characters of an example, and as many of its two sides

Row = TypeVar('Row')
Examples = dict[str, list[str]]  # reason -> what was dropped, shortened


@dataclass
class Drops:
    """Drop reasons of one unit of work, and the warnings that the user must see (a truncated archive)."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: Examples = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    rewritten: Counter[str] = field(default_factory=Counter)  # rule -> texts that it changed, whatever became of them
    overlap: set[int] = field(default_factory=set)  # hashes of the texts and pictures of evaluation sets that were met

    def add(self, reason: str, number: int = 1, example: str | bytes = '', other: str | bytes = '') -> None:
        """Count; `example` (with `other`, its translation) shows people what it was. The first few of each reason are kept."""
        if not number:
            return
        self.counts[reason] += number
        if example and len(kept := self.examples.setdefault(reason, [])) < EXAMPLES:
            kept.append(' ↔ '.join(_shortened(part) for part in (example, other) if part))

    def take(self, said: Mapping[str, Any]) -> None:
        """Add those of a complete unit, as its facts have them."""
        self.counts.update(said['dropped'])
        self.rewritten.update(said.get('rewritten', {}))  # of an earlier version there is none
        merge_examples(self.examples, said.get('examples', {}))

    def counted_rewrites(self) -> dict[str, dict[str, int]]:
        """As facts, plans and manifests have them: nothing where there is none, as it was before they were counted."""
        found = {rule: number for rule, number in sorted(self.rewritten.items()) if number}
        return {'rewritten': found} if found else {}

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def told_if_empty(self, path: Path, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows of a file. A file without any, whole or dropped, is an interrupted download as a rule: it is warned of."""
        before, empty = self.counts.total(), True
        for row in rows:
            empty = False
            yield row
        if empty and self.counts.total() == before:
            self.warn(f'{path} is empty; download it again, or move it out of the folder')


def merge_examples(into: Examples, more: Mapping[str, list[str]]) -> None:
    for reason, examples in more.items():
        kept = into.setdefault(reason, [])
        kept += examples[: EXAMPLES - len(kept)]


def _shortened(example: str | bytes) -> str:
    """Valid, and of bounded length. What is not UTF-8 is shown as escapes."""
    start = example[: 4 * _LENGTH]
    data = start if isinstance(start, bytes) else start.encode('utf8', 'backslashreplace')
    text = data.decode('utf8', 'backslashreplace')
    return text if len(text) <= _LENGTH else text[:_LENGTH] + '…'
