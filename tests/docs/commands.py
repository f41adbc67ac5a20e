"""What the documents show: fenced blocks, and the commands in fenced and indented ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]


class Block(NamedTuple):
    """A block of code: its language ('' for none and for indented ones), the words behind that, its lines without indentation."""

    language: str
    title: str
    lines: list[str]


def blocks(text: str) -> Iterator[Block]:
    """Blocks of a Markdown text, in order. An indented one stands between blank lines; within a list it has eight spaces, not four."""
    lines = text.split('\n')
    number = 0
    while number < len(lines):
        if fence := re.match(r'( *)```(\w*) ?(.*)', lines[number]):
            end = next(i for i in range(number + 1, len(lines)) if lines[i].strip() == '```')
            indent = len(fence[1])
            yield Block(fence[2], fence[3], [line[indent:] for line in lines[number + 1 : end]])
            number = end + 1
        elif re.match(r' {4,}\S', lines[number]) and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and re.match(r' {4,}\S', lines[end]):
                end += 1
            indent = len(lines[number]) - len(lines[number].lstrip())
            yield Block('', '', [line[indent:] for line in lines[number:end]])
            number = end
        else:
            number += 1


def joined(lines: list[str]) -> list[str]:
    r"""Lines with those that end in a backslash joined to the next."""
    return re.sub(r'\\\n\s*', '', '\n'.join(lines)).split('\n')
