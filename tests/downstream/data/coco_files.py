"""COCO's and COCO-CN's files over the sample's pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pretrain.evaluation.multi30k import read_split

SAMPLE = Path(__file__).parents[3] / 'sample' / 'evaluation' / 'multi30k_emoji'
SPLITS = ['test'] * 9 + ['val', 'train', 'restval']


def write_coco(root: Path) -> dict[str, Any]:
    """dataset_coco.json and val2014/: 9 test pictures with 5 captions, one of them with 6; returns its content."""
    split = read_split(SAMPLE, languages=['en'])
    (root / 'val2014').mkdir(parents=True)
    images = []
    for row, name in enumerate(SPLITS):
        filename = f'COCO_val2014_{row:012d}.jpg'
        shutil.copyfile(split.paths[row], root / 'val2014' / filename)
        text = split.captions['en'].texts[row]
        raw = [text, f'A picture of {text}.', f'{text},\nas one sees.', f'This is "{text}"!', f'Café with {text}']
        raw += ['One more.'] if row == 4 else []
        images.append({'filepath': 'val2014', 'filename': filename, 'split': name, 'sentences': [{'raw': one} for one in raw]})
    content = {'images': images, 'dataset': 'coco'}
    (root / 'dataset_coco.json').write_text(json.dumps(content))
    return content


def write_coco_cn(root: Path) -> None:
    """The lists and both files of captions: every test picture has one that was written, the first four also two translated ones."""
    texts = read_split(SAMPLE, languages=['zh']).captions['zh'].texts
    root.mkdir(parents=True, exist_ok=True)
    stems = [f'COCO_val2014_{row:012d}' for row in range(len(SPLITS))]
    for split in ('train', 'val', 'test'):
        own = [stem for stem, name in zip(stems, SPLITS, strict=True) if name == split]
        (root / f'coco-cn_{split}.txt').write_text('\n'.join(own) + '\n')
    written = [f'{stem}#0{" " if row == 2 else chr(9)}{texts[row]}。' for row, stem in enumerate(stems)]
    translated = [f'{stem}#{number}\t这是{texts[row]}' for row, stem in enumerate(stems[:4]) for number in range(2)]
    (root / 'imageid.human-written-caption.txt').write_text('\n'.join(written) + '\n', encoding='utf8')
    (root / 'imageid.manually-translated-caption.txt').write_text('\n'.join(translated) + '\n', encoding='utf8')
    (root / '._coco-cn_test.txt').write_bytes(b'\0\5\x16')
