"""Small sets in the place of those of shared/evaluation, for runs of results.py and learning.py that only show that they run.

Of the sample come its own three sets, and Multi30k: a few of its pictures as every split. The others are made as the tests make them.
As in shared/evaluation, the pictures of XVNLI and xGQA are in Multi30k's folder.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from tests.downstream.data.coco_files import write_coco, write_coco_cn
from tests.support.toy_benchmarks import write_text, write_xgqa, write_xvnli

SAMPLE = Path(__file__).resolve().parents[2] / 'sample/evaluation'
PICTURES = 16
LANGUAGES = ('en', 'de', 'fr', 'cs')  # Multi30k's own


def write_evaluation(folder: Path) -> None:
    """All eight sets, named as shared/evaluation names them."""
    folder.mkdir(parents=True)
    for name in ('multi30k_seen', 'multi30k_emoji', 'tatoeba'):
        (folder / name).symlink_to(SAMPLE / name)
    write_multi30k(folder / 'multi30k')
    for write, name in ((write_xvnli, 'xvnli'), (write_xgqa, 'xgqa')):
        write(folder / name, 2)
        for path in (folder / name / 'images').iterdir():
            path.replace(folder / 'multi30k/images' / path.name)
        (folder / name / 'images').rmdir()
    write_coco(folder / 'coco')
    write_coco_cn(folder / 'coco-cn')


def write_multi30k(folder: Path) -> None:
    """The first pictures of the sample's drawings, with their captions, as train, val and test_2016_flickr alike."""
    source, test = SAMPLE / 'multi30k_seen', 'test_2016_flickr'
    task = source / 'data/task1'
    folder.mkdir()
    shutil.copytree(source / 'images', folder / 'images')
    names = (task / f'image_splits/{test}.txt').read_text(encoding='utf8').splitlines()[:PICTURES]
    for split in ('train', 'val', test):
        write_text(folder / f'data/task1/image_splits/{split}.txt', names)
        for language in LANGUAGES:
            captions = gzip.decompress((task / f'raw/{test}.{language}.gz').read_bytes()).decode().split('\n')[:PICTURES]
            place = folder / f'data/task1/raw/{split}.{language}.gz'
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(gzip.compress(''.join(f'{caption}\n' for caption in captions).encode()))
