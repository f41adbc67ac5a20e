"""MSCOCO in Karpathy's split: `dataset_coco.json` with every picture's captions, the pictures in train2014/ and val2014/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pretrain.evaluation.lines import STRIPPED
from pretrain.evaluation.multi30k import Captions, Split
from pretrain.evaluation.picture_files import existing
from shards.errors import UserError

FILE = 'dataset_coco.json'
SOURCE = "Karpathy's dataset_coco.json"
SPLITS = {'train': ('train', 'restval'), 'val': ('val',), 'test': ('test',)}


def read_coco(root: Path, split: str = 'test', images: Path | None = None) -> Split:
    """A split with all English captions, pictures below `images` (none: ROOT), in the order of the file.

    `train` is Karpathy's train and restval. Raises UserError for another file, a picture that is missing or has no caption.
    """
    path = root / FILE
    if not path.is_file():
        raise UserError(f'{path} is missing; --data takes a folder with {SOURCE} and the pictures in train2014/ and val2014/')
    content = _json(path)
    rows = [row for row in content if row['split'] in SPLITS[split]]
    if not rows:
        raise UserError(f'{path} has no picture of the split {split}; take it again from its source')
    captions = Captions('en', [], [], [FILE])
    for at, row in enumerate(rows):
        texts = [str(sentence.get('raw', '')).strip(STRIPPED) for sentence in row['sentences']]
        if not texts or '' in texts:
            raise UserError(f'{path}: {row["filename"]} has {"an empty" if texts else "no"} caption; take it again from its source')
        captions.texts.extend(' '.join(text.split()) for text in texts)  # a few have line ends inside
        captions.rows.extend([at] * len(texts))
    names = [f'{row["filepath"]}/{row["filename"]}' for row in rows]
    return Split(root, split, names, coco_pictures(names, images or root), {'en': captions})


def coco_pictures(names: list[str], folder: Path) -> list[Path]:
    """The pictures' paths. Raises UserError when one is missing or lies outside the folder."""
    for name in names:
        if name.startswith('/') or '..' in name.split('/'):
            raise UserError(f'{name!r} is no picture of COCO; take the files of the benchmark again from their source')
    return existing(names, folder, '--images names the folder that holds train2014/ and val2014/')


def _json(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f'{path} is not JSON ({error}); take it again from its source') from None
    rows = content.get('images') if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UserError(f'{path} is not {SOURCE}: it has no "images"')
    if content.get('dataset', 'coco') != 'coco':
        raise UserError(f'{path} is of the benchmark {content["dataset"]!r}, not of COCO; take {SOURCE}')
    for row in rows:
        if not isinstance(row, dict) or not {'filepath', 'filename', 'split', 'sentences'} <= row.keys():
            raise UserError(f'{path} is not {SOURCE}: {str(row)[:80]} lacks one of filepath, filename, split, sentences')
    return rows
