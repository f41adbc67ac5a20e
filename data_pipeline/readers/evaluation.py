"""Evaluation sets as they are published, for `--decontaminate`: their texts and pictures, those of training splits left out.

A folder may hold one set, several below it, or plain files: texts in `.txt`, one a line, and pictures. What is not understood is ignored,
with a warning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.drops import Drops
from data_pipeline.lines import text_lines
from shards.errors import UserError
from shards.pictures import SUFFIXES

_PICTURES = (*SUFFIXES, '.bmp', '.gif')
_JUNK = re.compile(r'(?:\._.*|\..*|README.*|LICEN[CS]E.*|NOTICE.*|.*ans2label\.json|.*label2ans\.json|.*\.md)', re.IGNORECASE)
_LARGEST_JSON = 1 << 30  # bytes; Karpathy's file of COCO has 144 MB
_TRAINING = ('train', 'restval')


@dataclass
class EvaluationSet:
    """What was found below a folder, names relative to it."""

    texts: list[tuple[str, Iterator[str]]] = field(default_factory=list)  # (file, its texts)
    pictures: list[Path] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # files of no known layout


@dataclass
class _Pictures:
    """Stems of the pictures that training splits and others name."""

    training: set[str] = field(default_factory=set)
    other: set[str] = field(default_factory=set)

    def add(self, split: str, stem: str) -> None:
        (self.training if split.startswith(_TRAINING) else self.other).add(stem)


def read(root: Path) -> EvaluationSet:
    """Every text file and picture below a folder. Raises UserError when there is none, or a file is damaged."""
    found, named = EvaluationSet(), _Pictures()
    pictures = []
    for path in sorted(path for path in root.rglob('*') if path.is_file() and not _JUNK.fullmatch(path.name)):
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() in _PICTURES:
            pictures.append(path)
            continue
        layout = next((layout for pattern, layout in _LAYOUTS if pattern.search(path.absolute().as_posix())), None)
        if layout is None:
            found.ignored.append(name)
        elif texts := layout(path, named):
            found.texts.append((name, texts))
    # A picture that only training splits name is no evaluation picture; one that nothing names is taken for one.
    found.pictures = [path for path in pictures if path.stem not in named.training - named.other]
    if not found.texts and not found.pictures:
        raise UserError(f'--decontaminate {root} holds no text and no picture that could be evaluated on; docs/data.md lists the layouts')
    return found


# --- layouts: each notes which pictures belong to which split, and returns the texts of a file, or None where it has none ----------------


def _multi30k(path: Path, named: _Pictures) -> Iterator[str] | None:
    return None if path.name.startswith('train.') else text_lines(path, Drops())


def _image_splits(path: Path, named: _Pictures) -> None:
    for line in text_lines(path, Drops()):
        named.add(path.stem, Path(line.strip().partition('#')[0]).stem)


def _plain(path: Path, named: _Pictures) -> Iterator[str]:
    return text_lines(path, Drops())


def _coco(path: Path, named: _Pictures) -> Iterator[str] | None:
    content = _json(path)
    images = content.get('images') if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise UserError(f'{path} is not a Karpathy file ("images": [...]); move it out of the folder of --decontaminate')
    for image in images:
        named.add(str(image.get('split', '')), Path(str(image.get('filename', ''))).stem)
    kept = (image for image in images if not str(image.get('split', '')).startswith(_TRAINING))
    return (str(sentence['raw']) for image in kept for sentence in image.get('sentences', []) if 'raw' in sentence)


def _coco_cn_split(path: Path, named: _Pictures) -> None:
    for line in text_lines(path, Drops()):
        named.add(path.stem.removeprefix('coco-cn_'), line.strip())


def _coco_cn_captions(path: Path, named: _Pictures) -> Iterator[str]:
    """`stem#0<TAB>caption`; some lines have a space for the tab. The training pictures stand in the file beside it."""
    split = path.parent / 'coco-cn_train.txt'
    training = {line.strip() for line in text_lines(split, Drops())} if split.exists() else set()
    for line in text_lines(path, Drops()):
        key, _, text = line.replace('\t', ' ', 1).partition(' ')
        if key.partition('#')[0] not in training:
            yield text


def _xvnli(path: Path, named: _Pictures) -> Iterator[str] | None:
    rows = [_object(line, path) for line in text_lines(path, Drops()) if line.strip()]
    for row in rows:
        named.add(path.stem, str(row.get('Flikr30kID', '')))
    if path.stem.startswith('train'):
        return None
    return (str(row[key]) for row in rows for key in ('sentence1', 'sentence2') if row.get(key))


def _xgqa(path: Path, named: _Pictures) -> Iterator[str] | None:
    """xGQA's dict by question id, GQA's list of questions."""
    content = _json(path)
    rows = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f'{path} is neither a file of xGQA nor of GQA; move it out of the folder of --decontaminate')
    for row in rows:
        named.add(path.stem, str(row.get('imageId', row.get('img_id', ''))))
    if path.stem.startswith('train'):
        return None
    return (str(row[key]) for row in rows for key in ('question', 'sent') if row.get(key))


def _object(line: str, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise UserError(f'{path}: {line[:60]!r} is not a JSON object; download it again')
    return row


def _json(path: Path) -> Any:
    if path.stat().st_size > _LARGEST_JSON:
        raise UserError(f'{path} is larger than any file of an evaluation set; move it out of the folder of --decontaminate')
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f'{path} is not JSON ({error}); download it again') from None


_LAYOUTS: list[tuple[re.Pattern[str], Callable[[Path, _Pictures], Iterator[str] | None]]] = [
    (re.compile(r'/image_splits/[^/]+\.txt$'), _image_splits),
    (re.compile(r'/task\d/(?:raw|tok)/[^/]+$'), _multi30k),
    (re.compile(r'/coco-cn_\w+\.txt$'), _coco_cn_split),
    (re.compile(r'/imageid\.[^/]*caption\.txt$'), _coco_cn_captions),
    (re.compile(r'/tatoeba\.[a-z]+-[a-z]+\.[a-z]+$'), _plain),
    (re.compile(r'/dataset_\w+\.json$'), _coco),
    (re.compile(r'/\w+\.jsonl$'), _xvnli),
    (re.compile(r'/(?:few_shot/[\w-]+/\w+|train|valid|testdev\w*|test\w*|val\w*)\.json$'), _xgqa),
    (re.compile(r'\.txt(?:\.gz|\.xz)?$'), _plain),
]
