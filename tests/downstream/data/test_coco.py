"""Karpathy's file: splits, captions, and what is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from downstream.data.coco import read_coco
from shards.errors import UserError
from tests.downstream.data.coco_files import write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path)
    return tmp_path


def test_splits_and_captions(root: Path) -> None:
    split = read_coco(root)
    captions = split.captions['en']
    assert split.names == [f'val2014/COCO_val2014_{row:012d}.jpg' for row in range(9)]
    assert captions.rows == sorted([*range(9)] * 5 + [4])
    assert captions.texts[2].endswith(', as one sees.')  # the line end inside is a space
    assert all(path.is_file() for path in split.paths)
    assert read_coco(root, 'train').names == [f'val2014/COCO_val2014_{row:012d}.jpg' for row in (10, 11)]  # and restval
    assert len(read_coco(root, 'val').names) == 1


def test_other_folder_of_pictures(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp('coco')
    (root / 'val2014').rename(elsewhere / 'val2014')
    with pytest.raises(UserError, match=r'val2014/COCO_val2014_0{12}\.jpg and 8 more of 9 are missing; --images names'):
        read_coco(root)
    assert read_coco(root, images=elsewhere).paths[0].parent == elsewhere / 'val2014'


def change(root: Path, **changes: Any) -> None:
    content = json.loads((root / 'dataset_coco.json').read_text())
    (root / 'dataset_coco.json').write_text(json.dumps({**content, **changes}))


def change_first(root: Path, **changes: Any) -> None:
    content = json.loads((root / 'dataset_coco.json').read_text())
    content['images'][0].update(changes)
    (root / 'dataset_coco.json').write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        (lambda root: (root / 'dataset_coco.json').unlink(), r'dataset_coco\.json is missing; --data takes'),
        (lambda root: (root / 'dataset_coco.json').write_text('{'), r'dataset_coco\.json is not JSON'),
        (lambda root: (root / 'dataset_coco.json').write_text('[]'), 'it has no "images"'),
        (lambda root: change(root, dataset='flickr30k'), "is of the benchmark 'flickr30k', not of COCO"),
        (lambda root: change(root, images=[{'filename': 'x.jpg'}]), r"is not Karpathy's dataset_coco\.json: .*x\.jpg.* lacks"),
        (lambda root: change_first(root, sentences=[]), r'COCO_val2014_0{12}\.jpg has no caption'),
        (lambda root: change_first(root, sentences=[{'raw': ' '}]), r'COCO_val2014_0{12}\.jpg has an empty caption'),
        (lambda root: change_first(root, filepath='../..'), 'is no picture of COCO'),
        (lambda root: (root / 'val2014/COCO_val2014_000000000003.jpg').unlink(), r'000000003\.jpg is missing; --images'),
    ],
)
def test_broken_input_is_one_line_that_names_the_file(root: Path, harm: Any, message: str) -> None:
    harm(root)
    with pytest.raises(UserError, match=message) as caught:
        read_coco(root)
    assert '\n' not in str(caught.value)
