"""The reader on the sample's folders, and on hand-broken copies."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.evaluation.multi30k import read_split
from shards.errors import UserError

SAMPLE = Path(__file__).parents[3] / 'sample' / 'evaluation'
SPLIT = 'test_2016_flickr'


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A writable copy of the smaller set with English and Japanese."""
    root = tmp_path / 'multi30k'
    for folder in ('images', 'data/task1/image_splits'):
        shutil.copytree(SAMPLE / 'multi30k_emoji' / folder, root / folder)
    (root / 'data/task1/raw').mkdir()
    for language in ('en', 'ja'):
        shutil.copy(SAMPLE / f'multi30k_emoji/data/task1/raw/{SPLIT}.{language}.gz', root / 'data/task1/raw')
    return root


def captions(root: Path, language: str = 'en') -> Path:
    return root / f'data/task1/raw/{SPLIT}.{language}.gz'


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(''.join(line + '\n' for line in lines).encode()))


def test_reads_the_sample() -> None:
    split = read_split(SAMPLE / 'multi30k_seen')
    assert len(split.names) == 183
    assert len(split.captions) == 21
    assert split.captions['de'].texts[1] == 'Sonnenaufgang über dem Meer'
    assert split.captions['de'].rows == list(range(183))
    assert split.picture(0)[:2] == b'\xff\xd8'


def test_the_first_pictures_with_all_that_is_said_of_them() -> None:
    whole = read_split(SAMPLE / 'multi30k_seen', languages=['en', 'de'])
    few = whole.first(3)
    assert few.names == whole.names[:3] and few.paths == whole.paths[:3]
    for language, captions in few.captions.items():
        assert captions.texts == whole.captions[language].texts[:3] and captions.rows == [0, 1, 2]
    assert whole.first(1000) == whole


def test_languages_in_any_spelling() -> None:
    assert list(read_split(SAMPLE / 'multi30k_seen', languages=['deu', 'cs_CZ']).captions) == ['de', 'cs']


def test_lines_and_names_are_stripped(copy: Path) -> None:
    names = (copy / f'data/task1/image_splits/{SPLIT}.txt').read_text().split()
    (copy / f'data/task1/image_splits/{SPLIT}.txt').write_text(''.join(f'{name}#1234\n' for name in names))
    write(captions(copy), [f'\u200b caption {row}\u2028still {row}\u0085 too\u00a0\u200b \r' for row in range(37)])
    split = read_split(copy, languages=['en'])
    assert split.names == names
    assert split.captions['en'].texts[3] == 'caption 3\u2028still 3\u0085 too'


def test_task_2_has_five_captions_a_picture_in_its_own_order(copy: Path) -> None:
    names = read_split(copy).names
    for number in range(1, 6):
        write(copy / f'data/task2/raw/test_2016.{number}.de.gz', [f'{number} {name}' for name in reversed(names)])
    (copy / 'data/task2/image_splits').mkdir()
    (copy / 'data/task2/image_splits/test_2016_images.txt').write_text('\n'.join(reversed(names)) + '\n')
    german = read_split(copy).captions['de']
    assert len(german.texts) == 5 * len(names)
    assert all(text.split()[1] == names[row] for text, row in zip(german.texts, german.rows, strict=True))


def test_hash_depends_on_pictures_and_captions(copy: Path) -> None:
    before = read_split(copy).sha256()
    assert read_split(copy).sha256() == before
    picture = read_split(copy).paths[4]
    picture.write_bytes(picture.read_bytes() + b'\0')
    changed = read_split(copy).sha256()
    assert changed != before
    write(captions(copy), [f'caption {row}' for row in range(37)])
    assert read_split(copy).sha256() != changed


def drop_picture(root: Path) -> None:
    sorted((root / 'images').iterdir())[0].unlink()


def too_few_captions(root: Path) -> None:
    write(captions(root), ['one', 'two'])


def empty_caption(root: Path) -> None:
    write(captions(root), ['a'] * 20 + ['\u200b \u00a0'] + ['a'] * 16)


def not_utf8(root: Path) -> None:
    captions(root).write_bytes(gzip.compress(b'a\nb\n\xff\n'))


def truncated(root: Path) -> None:
    captions(root).write_bytes(captions(root).read_bytes()[:-9])


def not_gzip(root: Path) -> None:
    captions(root).write_text('a caption\n')


def no_list(root: Path) -> None:
    (root / f'data/task1/image_splits/{SPLIT}.txt').unlink()


def escaping_name(root: Path) -> None:
    (root / f'data/task1/image_splits/{SPLIT}.txt').write_text('../../secret.jpg\n')


def one_of_five_missing(root: Path) -> None:
    for number in (1, 2, 4, 5):
        write(root / f'data/task2/raw/test_2016.{number}.de.gz', ['a'] * 37)


def unknown_language(root: Path) -> None:
    captions(root).rename(captions(root, 'qqq'))


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        (drop_picture, r'images/\d+\.jpg.* missing; put the pictures there'),
        (too_few_captions, r'\.en\.gz has 2 captions, the image list .* 37'),
        (empty_caption, r'\.en\.gz:21: the caption is empty'),
        (not_utf8, r'\.en\.gz:3: not UTF-8'),
        (truncated, r'\.en\.gz is no whole gzip file'),
        (not_gzip, r'\.en\.gz is no whole gzip file'),
        (no_list, r'test_2016_flickr\.txt is missing; the folder has val'),
        (escaping_name, r'test_2016_flickr\.txt:1: .*secret'),
        (one_of_five_missing, r'test_2016\.3\.de\.gz is missing'),
        (unknown_language, r"test_2016_flickr\.qqq\.gz: unknown language code 'qqq'"),
    ],
)
def test_broken_input_is_one_line_that_names_the_file(copy: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(copy)
    with pytest.raises(UserError, match=message) as caught:
        read_split(copy)
    assert '\n' not in str(caught.value)


def test_missing_folder_split_and_language(copy: Path) -> None:
    with pytest.raises(UserError, match='is no folder'):
        read_split(copy / 'nowhere')
    with pytest.raises(UserError, match=r'test_2017_mscoco\.txt is missing; the folder has test_2016_flickr val'):
        read_split(copy, 'test_2017_mscoco')
    with pytest.raises(UserError, match='no captions in de for test_2016_flickr; it has en ja'):
        read_split(copy, languages=['en', 'de'])
    with pytest.raises(UserError, match='--split names the split'):
        read_split(copy, 'val')
