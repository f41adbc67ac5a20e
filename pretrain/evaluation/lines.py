"""Lines of the evaluation sets' text files."""

from __future__ import annotations

from pathlib import Path

from shards.errors import UserError

# What texts carry around them: U+00A0 is white space to `strip`, U+200B is not.
STRIPPED = ' \t\r\v\f\u00a0\u200b\ufeff'


def text_lines(path: Path, data: bytes, source: str) -> list[str]:
    """Lines of a UTF-8 file, split on the line feed alone: texts may hold U+2028 and U+0085.

    Raises UserError, which names `source` as the place to take the file from again, for another encoding.
    """
    try:
        text = data.decode('utf8')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise UserError(f'{path}:{line}: not UTF-8; take this file from {source} again') from None
    lines = text.split('\n')
    return lines[:-1] if lines[-1] == '' else lines


def stripped_lines(path: Path, data: bytes, source: str, what: str) -> list[str]:
    """`text_lines` without what texts carry around them. Raises UserError, which calls a line `what`, for an empty one too."""
    texts = [line.strip(STRIPPED) for line in text_lines(path, data, source)]
    if '' in texts:
        raise UserError(f'{path}:{texts.index("") + 1}: the {what} is empty; take this file from {source} again')
    return texts
