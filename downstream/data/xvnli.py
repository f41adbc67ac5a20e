"""XVNLI as IGLUE lays it out: `en/train.jsonl`, `en/dev.jsonl` and `<language>/test.jsonl`, one row a line.

The picture is `<Flikr30kID>.jpg`, the text `sentence2`. Rows on which people did not agree have the label `-`: they are left out of
training and development, and in the tests they have no target.
"""

from __future__ import annotations

import sys
from pathlib import Path

from downstream.data.labelled import Labelled
from downstream.data.layouts import fields, parse, read_file, tested
from shards.errors import UserError

SOURCE = "IGLUE's XVNLI (github.com/e-bug/iglue)"
CLASSES = ('entailment', 'neutral', 'contradiction')
NO_LABEL = '-'
FIELDS = {'gold_label': str, 'sentence2': str, 'Flikr30kID': str, 'pairID': str}


def read_train(root: Path) -> Labelled:
    """The English training rows. Raises UserError as `read_rows` does."""
    return read_rows(root, 'en', 'en/train.jsonl', unlabelled=False)


def read_dev(root: Path) -> Labelled:
    """The English development rows. Raises UserError as `read_rows` does."""
    return read_rows(root, 'en', 'en/dev.jsonl', unlabelled=False)


def read_tests(root: Path, languages: list[str] | None = None) -> dict[str, Labelled]:
    """Test rows by canonical language, English first. Raises UserError as `read_rows` does, and for a language that is not there."""
    found = tested(root, '*/test.jsonl', languages, SOURCE)
    return {language: read_rows(root, language, name, unlabelled=True) for language, name in found.items()}


def read_rows(root: Path, language: str, name: str, unlabelled: bool) -> Labelled:
    """A file's rows; `unlabelled`: also those without a label.

    Raises UserError for a missing file, what is not JSON, another benchmark's fields, an unknown label, an empty sentence, the same pair
    twice, and no row at all.
    """
    targets = {label: ((number, 1.0),) for number, label in enumerate(CLASSES)}
    rows = Labelled(language, name)
    seen: set[str] = set()
    for number, line in enumerate(read_file(root, name, SOURCE).split(b'\n'), 1):
        if not line.strip():
            continue
        where = Path(f'{root / name}:{number}')
        label, text, picture, pair = fields(where, parse(where, line, SOURCE), FIELDS, 'XVNLI')
        if label not in targets and label != NO_LABEL:
            raise UserError(f'{where}: gold_label {label!r} is none of {" ".join(CLASSES)} {NO_LABEL}; take this file from {SOURCE} again')
        if not text.strip() or not picture.strip() or '/' in picture:
            raise UserError(f'{where}: sentence2 or Flikr30kID is empty or no name; take this file from {SOURCE} again')
        if pair in seen:
            raise UserError(f'{where}: pairID {pair} occurs twice; take this file from {SOURCE} again')
        seen.add(pair)
        if label != NO_LABEL or unlabelled:
            rows.add(pair, text.strip(), sys.intern(f'{picture}.jpg'), targets.get(label))
    if not len(rows):
        raise UserError(f'{root / name} has no rows; take this file from {SOURCE} again')
    return rows
