"""COCO-CN: Chinese captions of COCO's pictures, written by people or translated by them.

DATA/coco-cn_{train,val,test}.txt                     stems of pictures, one a line
DATA/imageid.human-written-caption.txt                `stem#number<TAB>caption`; in some lines a space stands for the tab
DATA/imageid.manually-translated-caption.txt          the same, for some pictures of the test set
IMAGES/{train2014,val2014}/<stem>.jpg                 COCO's own pictures
"""

from __future__ import annotations

import re
from pathlib import Path

from downstream.data.coco import coco_pictures
from pretrain.evaluation.lines import stripped_lines
from pretrain.evaluation.multi30k import Captions, Split
from shards.errors import UserError

SOURCE = 'github.com/li-xirong/coco-cn'
SPLITS = ('train', 'val', 'test')
WRITTEN, TRANSLATED = 'imageid.human-written-caption.txt', 'imageid.manually-translated-caption.txt'
STEM = re.compile(r'COCO_((?:train|val|test)\d{4})_\d{12}')
LINE = re.compile(r'(?P<stem>[^#\s]+)#\d+[\t ](?P<caption>.*)')


def read_coco_cn(root: Path, split: str = 'test', images: Path | None = None, translated: bool = True) -> Split:
    """A split in Chinese, pictures below `images` (none: ROOT): all captions of a picture or, without `translated`, the written ones alone.

    Raises UserError for files of another benchmark, a picture that is missing or has no caption.
    """
    path = root / f'coco-cn_{split}.txt'
    stems = _lines(path)
    names = []
    for number, stem in enumerate(stems, 1):
        match = STEM.fullmatch(stem)
        if match is None:
            raise UserError(f'{path}:{number}: {stem[:60]!r} is no picture of COCO-CN; take this file from {SOURCE} again')
        names.append(f'{match[1]}/{stem}.jpg')
    if len(set(stems)) < len(stems) or not stems:
        raise UserError(f'{path} {"names a picture twice" if stems else "is empty"}; take it from {SOURCE} again')
    files = [WRITTEN, TRANSLATED] if translated and (root / TRANSLATED).is_file() else [WRITTEN]
    own: dict[str, list[str]] = {stem: [] for stem in stems}
    for file in files:
        for number, line in enumerate(_lines(root / file), 1):
            match = LINE.fullmatch(line)
            if match is None or not match['caption'].strip():
                raise UserError(f'{root / file}:{number}: {line[:60]!r} is no `picture#number<TAB>caption`; take it from {SOURCE} again')
            if match['stem'] in own:
                own[match['stem']].append(match['caption'].strip())
    without = [stem for stem in stems if not own[stem]]
    if without:
        raise UserError(f'{root} has no caption of {without[0]}, which {path.name} names; take all files from one release of {SOURCE}')
    texts = [text for stem in stems for text in own[stem]]
    rows = [row for row, stem in enumerate(stems) for _ in own[stem]]
    return Split(root, split, names, coco_pictures(names, images or root), {'zh': Captions('zh', texts, rows, files)})


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f'{path} is missing; --data takes the folder of {SOURCE}')
    return stripped_lines(path, path.read_bytes(), SOURCE, 'line')
