"""Tatoeba as LASER lays it out: `tatoeba.<xxx>-eng.<xxx>` and `tatoeba.<xxx>-eng.eng`, line by line each other's translation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from downstream.paper import paper_tables
from pretrain.evaluation.lines import stripped_lines
from shards.errors import UserError
from shards.languages import canonical

SOURCE = 'github.com/facebookresearch/LASER (data/tatoeba/v1)'
LANGUAGES: tuple[str, ...] = tuple(paper_tables()['table8']['langs'])  # XTREME's 36


@dataclass(frozen=True)
class Pairs:
    """Sentences in one language and their translations into English, in the order of the files."""

    language: str  # canonical code
    texts: list[str]
    english: list[str]
    sources: list[str]  # files, relative to the data folder


def read_tatoeba(root: Path, languages: list[str] | None = None) -> dict[str, Pairs]:
    """{canonical language: pairs} of the named languages; none: those of XTREME's 36 that the folder has.

    Raises UserError for a folder in another layout, files of unequal length or with an empty line, a language that is not there.
    """
    if not root.is_dir():
        raise UserError(f'{root} is no folder; --data takes the folder of {SOURCE}')
    found = _files(root)
    if not found:
        why = "; what XTREME's preprocessing writes is no use: it sorts the English side" if any(root.glob('*-en.en')) else ''
        raise UserError(f'{root} has no tatoeba.<xxx>-eng.eng{why}; take the files of {SOURCE}')
    wanted = list(dict.fromkeys(map(canonical, languages))) if languages else [code for code in LANGUAGES if code in found]
    for language in wanted or ['any of the 36 languages of XTREME; --languages names others']:
        if language not in found:
            raise UserError(f'{root} has no sentences in {language}; it has {" ".join(sorted(found))}')
    return {language: _pairs(root, language, found[language]) for language in wanted}


def sha256(pairs: Mapping[str, Pairs]) -> str:
    """Hash of every sentence, its language and its place."""
    digest = hashlib.sha256()
    for language, both in sorted(pairs.items()):
        for text, english in zip(both.texts, both.english, strict=True):
            digest.update(f'{language}\0{text}\0{english}\n'.encode())
    return digest.hexdigest()


def _files(root: Path) -> dict[str, Path]:
    """Canonical language -> the English side. LASER also has languages that no model here has a code for: they are passed over."""
    found: dict[str, Path] = {}
    for path in sorted(root.glob('tatoeba.*-eng.eng')):
        try:
            language = canonical(path.name.split('.')[1].removesuffix('-eng'))
        except UserError:
            continue
        if language in found:
            raise UserError(f'{found[language]} and {path} are the same language ({language}); leave one of them')
        found[language] = path
    return found


def _pairs(root: Path, language: str, english: Path) -> Pairs:
    other = english.with_name(english.name.removesuffix('eng') + english.name.split('.')[1].removesuffix('-eng'))
    texts, translations = _sentences(other), _sentences(english)
    if len(texts) != len(translations):
        raise UserError(f'{other} has {len(texts)} sentences, {english.name} {len(translations)}; take both from {SOURCE}')
    if not texts:
        raise UserError(f'{other} is empty; take it from {SOURCE} again')
    return Pairs(language, texts, translations, [str(path.relative_to(root)) for path in (other, english)])


def _sentences(path: Path) -> list[str]:
    try:
        return stripped_lines(path, path.read_bytes(), SOURCE, 'sentence')
    except FileNotFoundError:
        raise UserError(f'{path} is missing; take it from {SOURCE}') from None
