"""What the page searches: a folder of pictures and a list of texts, each embedded once, when the page starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from downstream import ranks
from downstream.api import Floats, Model
from downstream.embed import PICTURES_A_CALL, TEXTS_A_CALL
from downstream.web.pictures import SAMPLE
from pretrain.config import Config
from pretrain.evaluation.lines import text_lines
from pretrain.evaluation.multi30k import read_split
from shards.errors import UserError
from shards.languages import canonical

Text = tuple[str, str]  # canonical language, text


@dataclass(frozen=True)
class Pictures:
    """Files, and their unit vectors (N, D)."""

    paths: list[Path]
    vectors: Floats


@dataclass(frozen=True)
class Texts:
    """Texts, and their unit vectors (T, D)."""

    rows: list[Text]
    vectors: Floats

    @property
    def languages(self) -> list[str]:
        """In which there are texts."""
        return sorted({language for language, _ in self.rows})


def find_texts(file: Path | None, config: Config) -> list[Text]:
    """The texts of a file (none: the captions of the run's own retrieval set, or those of the sample), each once.

    A line is a text, in English, or a language's code, a tab and a text. Raises UserError for a file that cannot be read, has none, or
    names an unknown language.
    """
    return list(dict.fromkeys(_captions(config) if file is None else _read(file)))


def _read(file: Path) -> list[Text]:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f'{file} cannot be read ({error.strerror}); --texts takes a file with a text a line') from None
    rows = []
    for number, line in enumerate(text_lines(file, raw, 'where you have it from'), 1):
        code, tab, text = line.partition('\t')
        if not line.strip():
            continue
        try:
            rows.append((canonical(code), text.strip()) if tab else ('en', line.strip()))
        except UserError as error:
            raise UserError(f'{file}:{number}: {error}; a line is a text in English, or a language, a tab and a text') from None
    if not rows:
        raise UserError(f'{file} has no text; --texts takes a file with a text a line')
    return rows


def _captions(config: Config) -> list[Text]:
    asked = config.eval.retrieval
    if asked.data is not None and Path(asked.data).is_dir():
        split = read_split(Path(asked.data), asked.split, list(asked.languages) or None, pictures=False)
    elif (SAMPLE / 'multi30k_seen').is_dir():
        split = read_split(SAMPLE / 'multi30k_seen', pictures=False)
    else:
        raise UserError('neither the retrieval set of the run nor sample/evaluation is here; name a file of texts with --texts')
    return [(language, text) for language, captions in sorted(split.captions.items()) for text in captions.texts]


def embed_pictures(model: Model, paths: Sequence[Path]) -> Pictures:
    """With a bar on the terminal. Files that are no pictures are left out, and said; raises UserError when none is one."""
    kept: list[Path] = []
    parts: list[Floats] = []
    bad: list[str] = []
    with ranks.progress_bar(len(paths), 'embedding pictures', 'picture') as bar:
        for start in range(0, len(paths), PICTURES_A_CALL):
            call = paths[start : start + PICTURES_A_CALL]
            try:
                good, vectors = list(call), [model.embed_images(call)]
            except UserError:
                good, vectors = _one_by_one(model, call, bad)
            kept += good
            parts += vectors
            bar.update(len(call))
    if bad:
        print(f'left out {len(bad)} of {len(paths)}: {bad[0]}', file=sys.stderr, flush=True)
    if not kept:
        raise UserError(f'none of {len(paths)} pictures can be decoded; name another folder with --images')
    return Pictures(kept, np.concatenate(parts))


def _one_by_one(model: Model, paths: Sequence[Path], bad: list[str]) -> tuple[list[Path], list[Floats]]:
    kept: list[Path] = []
    vectors: list[Floats] = []
    for path in paths:
        try:
            vectors.append(model.embed_images([path]))
            kept.append(path)
        except UserError as error:
            bad.append(str(error))
    return kept, vectors


def embed_texts(model: Model, rows: Sequence[Text]) -> Texts:
    """With a bar on the terminal. Raises UserError for a language that the model has no code for."""
    vectors = np.zeros((len(rows), model.loaded.config.model.projection), np.float32)
    with ranks.progress_bar(len(rows), 'embedding texts', 'text') as bar:
        for language in dict.fromkeys(language for language, _ in rows):
            own = [place for place, row in enumerate(rows) if row[0] == language]
            for start in range(0, len(own), TEXTS_A_CALL):
                call = own[start : start + TEXTS_A_CALL]
                vectors[call] = model.embed_texts([rows[place][1] for place in call], language)
                bar.update(len(call))
    return Texts(list(rows), vectors)


def nearest(query: Floats, vectors: Floats, count: int) -> list[tuple[int, float]]:
    """Rows of `vectors` (N, D) with the largest cosines with `query` (D,), and these; of equal ones the earlier row first."""
    cosines = vectors @ query
    return [(int(row), float(cosines[row])) for row in np.argsort(-cosines, kind='stable')[:count]]
