"""COCO-CN's files: merged captions, a space for the tab, junk, and what is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from downstream.data.coco_cn import TRANSLATED, WRITTEN, read_coco_cn
from shards.errors import UserError
from tests.downstream.data.coco_files import write_coco, write_coco_cn


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path)
    write_coco_cn(tmp_path)
    return tmp_path


def test_captions_are_merged(root: Path) -> None:
    split = read_coco_cn(root)
    captions = split.captions['zh']
    assert captions.rows == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7, 8]
    assert captions.texts[0].endswith('。') and captions.texts[1].startswith('这是')
    assert captions.texts[6].endswith('。') and '#' not in captions.texts[6]  # the line with a space
    assert split.names[3] == 'val2014/COCO_val2014_000000000003.jpg'
    assert captions.sources == [WRITTEN, TRANSLATED]


def test_written_ones_alone(root: Path) -> None:
    assert read_coco_cn(root, translated=False).captions['zh'].rows == list(range(9))
    (root / TRANSLATED).unlink()
    assert read_coco_cn(root).captions['zh'].sources == [WRITTEN]
    assert read_coco_cn(root, 'val').names == ['val2014/COCO_val2014_000000000009.jpg']


def append(path: Path, text: str) -> None:
    with path.open('a', encoding='utf8') as file:
        file.write(text)


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        (lambda root: (root / 'coco-cn_test.txt').unlink(), r'coco-cn_test\.txt is missing; --data takes the folder of'),
        (lambda root: (root / 'coco-cn_test.txt').write_text(''), r'coco-cn_test\.txt is empty'),
        (lambda root: append(root / 'coco-cn_test.txt', '7598.jpg\n'), r"coco-cn_test\.txt:10: '7598\.jpg' is no picture of COCO-CN"),
        (lambda root: append(root / 'coco-cn_test.txt', 'COCO_val2014_000000000000\n'), 'names a picture twice'),
        (lambda root: append(root / 'coco-cn_test.txt', 'COCO_val2014_000000000099\n'), 'has no caption of COCO_val2014_000000000099'),
        (lambda root: append(root / WRITTEN, '一只猫\n'), r"human-written-caption\.txt:13: '一只猫' is no `picture#number<TAB>caption`"),
        (lambda root: (root / WRITTEN).unlink(), r'human-written-caption\.txt is missing'),
        (lambda root: (root / 'val2014/COCO_val2014_000000000002.jpg').unlink(), r'000000002\.jpg is missing; --images'),
    ],
)
def test_broken_input_is_one_line_that_names_the_file(root: Path, harm: Any, message: str) -> None:
    harm(root)
    with pytest.raises(UserError, match=message) as caught:
        read_coco_cn(root)
    assert '\n' not in str(caught.value)
