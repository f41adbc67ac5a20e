"""LASER's layout: odd sizes, languages that nobody knows, and what is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from downstream.data.tatoeba import LANGUAGES, read_tatoeba, sha256
from shards.errors import UserError


def write(root: Path, code: str, texts: list[str], english: list[str]) -> None:
    (root / f'tatoeba.{code}-eng.{code}').write_bytes(''.join(f'{text}\n' for text in texts).encode())
    (root / f'tatoeba.{code}-eng.eng').write_bytes(''.join(f'{text}\n' for text in english).encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    javanese = ['Sugeng enjing.\u2028Piye', ' Aku luwe.\u00a0', 'Matur nuwun.']
    write(tmp_path, 'jav', javanese, ['Good morning. How', 'I am hungry.', 'Thank you.'])
    write(tmp_path, 'pes', ['سلام', 'بله'], ['Hello.', 'Yes.'])
    write(tmp_path, 'dan', ['Hej.'], ['Hello.'])
    write(tmp_path, 'kzj', ['Kopisanangan.'], ['Hello.'])  # LASER has it; nobody has a code for it
    (tmp_path / '._tatoeba.jav-eng.eng').write_bytes(b'\0\5')
    return tmp_path


def test_pairs_are_line_by_line(root: Path) -> None:
    pairs = read_tatoeba(root)
    assert list(pairs) == ['fa', 'jv']  # of XTREME's set, in its order
    assert pairs['jv'].texts == ['Sugeng enjing.\u2028Piye', 'Aku luwe.', 'Matur nuwun.']
    assert pairs['jv'].english[1] == 'I am hungry.'
    assert pairs['fa'].sources == ['tatoeba.pes-eng.pes', 'tatoeba.pes-eng.eng']


def test_named_languages_in_any_spelling(root: Path) -> None:
    assert list(read_tatoeba(root, ['da', 'fas'])) == ['da', 'fa']


def test_hash_depends_on_every_sentence_and_pairing(root: Path) -> None:
    before = sha256(read_tatoeba(root))
    assert sha256(read_tatoeba(root)) == before
    write(root, 'pes', ['بله', 'سلام'], ['Hello.', 'Yes.'])
    assert sha256(read_tatoeba(root)) != before


def test_xtreme_has_36_languages() -> None:
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 36


def fewer_lines(root: Path) -> None:
    write(root, 'pes', ['سلام'], ['Hello.', 'Yes.'])


def empty_line(root: Path) -> None:
    write(root, 'pes', ['سلام', ' \u200b'], ['Hello.', 'Yes.'])


def one_side(root: Path) -> None:
    (root / 'tatoeba.pes-eng.pes').unlink()


def not_utf8(root: Path) -> None:
    (root / 'tatoeba.pes-eng.pes').write_bytes(b'a\n\xff\n')


def twice(root: Path) -> None:
    write(root, 'fas', ['سلام'], ['Hello.'])


def nothing(root: Path) -> None:
    write(root, 'pes', [], [])


@pytest.mark.parametrize(
    ('harm', 'message'),
    [
        (fewer_lines, r'tatoeba\.pes-eng\.pes has 1 sentences, tatoeba\.pes-eng\.eng 2; take both from'),
        (empty_line, r'tatoeba\.pes-eng\.pes:2: the sentence is empty'),
        (one_side, r'tatoeba\.pes-eng\.pes is missing'),
        (not_utf8, r'tatoeba\.pes-eng\.pes:2: not UTF-8'),
        (twice, r'fas-eng\.eng and .*pes-eng\.eng are the same language \(fa\)'),
        (nothing, r'tatoeba\.pes-eng\.pes is empty'),
    ],
)
def test_broken_input_is_one_line_that_names_the_file(root: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(root)
    with pytest.raises(UserError, match=message) as caught:
        read_tatoeba(root)
    assert '\n' not in str(caught.value)


def test_languages_and_folders_that_are_not_there(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UserError, match='no sentences in th; it has da fa jv'):
        read_tatoeba(root, ['th'])
    with pytest.raises(UserError, match="unknown language code 'kzj'"):
        read_tatoeba(root, ['kzj'])
    with pytest.raises(UserError, match='is no folder'):
        read_tatoeba(root / 'nowhere')
    other = tmp_path_factory.mktemp('other')
    with pytest.raises(UserError, match=r'has no tatoeba\.<xxx>-eng\.eng; take the files of'):
        read_tatoeba(other)
    (other / 'af-en.en').write_text('a\n')
    with pytest.raises(UserError, match='it sorts the English side'):
        read_tatoeba(other)
    write(other, 'dan', ['Hej.'], ['Hello.'])
    with pytest.raises(UserError, match='has no sentences in any of the 36 languages of XTREME'):
        read_tatoeba(other)
