"""`--licence`: what it is given stands in every record and manifest, in place of what the reader knows, and nothing else is another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.job import BUILD
from data_pipeline.plan import JOB
from data_pipeline.readers import cc12m, cc100, opus, wit
from shards.errors import UserError
from shards.schema import MANIFEST
from tests.data_pipeline.conftest import Builder, samples

Raw = Callable[..., Path]

TOLD = 'Twemoji (CC-BY-4.0); captions: Unicode CLDR'
FILES = {
    'cc12m': (),
    'wit': (),
    'cc100': ('th.txt.xz',),
    'opus': ('WikiMatrix/WikiMatrix.de-en.tsv.gz', 'OPUS-LibreOffice/v1/moses/de-en.txt.zip'),
}
KNOWN = {
    'cc12m': {cc12m.LICENCE},
    'wit': {wit.LICENCE},
    'cc100': {cc100.LICENCE},
    'opus': {opus.LICENCES['wikimatrix'], opus.OPUS_LICENCE},
}


def content(corpus: Path) -> list[dict[str, Any]]:
    """The samples of a corpus's only stream, in their order."""
    (manifest,) = corpus.rglob(MANIFEST)
    return [
        {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in sample.items()}
        for sample in samples(manifest.parent)
    ]


@pytest.mark.parametrize('corpus', FILES)
def test_it_is_in_records_and_manifests_and_changes_nothing_else(build_corpus: Builder, raw: Raw, tmp_path: Path, corpus: str) -> None:
    folder = raw(corpus, *FILES[corpus]) if FILES[corpus] else None
    plain = build_corpus(corpus, tmp_path / 'plain', folder, holdout=0)
    told = build_corpus(corpus, tmp_path / 'told', folder, holdout=0, licence=TOLD)
    assert len(told) == 1
    assert set(plain[0].licences) == KNOWN[corpus] and plain[0].settings['licence'] == ''
    assert told[0].licences == {TOLD: told[0].samples} and told[0].settings['licence'] == TOLD
    assert (told[0].samples, told[0].languages, told[0].tokens) == (plain[0].samples, plain[0].languages, plain[0].tokens)
    pictures = corpus in ('cc12m', 'wit')
    before, after = (content(tmp_path / name / corpus) for name in ('plain', 'told'))
    assert after == [{**sample, 'licence': TOLD} if pictures else sample for sample in before]


def test_a_build_has_one(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder, out = raw('cc100', *FILES['cc100']), tmp_path / 'out'
    build_corpus('cc100', out, folder, licence=TOLD)
    with pytest.raises(UserError, match=r'was begun with --licence Twemoji .*, not \(none\); use that, or choose another --out'):
        build_corpus('cc100', out, folder)


def test_a_build_from_before_there_was_the_setting_goes_on(build_corpus: Builder, raw: Raw, tmp_path: Path) -> None:
    folder, out = raw('cc100', *FILES['cc100']), tmp_path / 'out'
    before = build_corpus('cc100', out, folder)
    path = out / BUILD / 'cc100' / JOB
    begun = json.loads(path.read_text())
    assert begun['settings'].pop('licence') == ''
    path.write_text(json.dumps(begun))
    assert build_corpus('cc100', out, folder) == before
    with pytest.raises(UserError, match=r'was begun with --licence \(none\), not Twemoji'):
        build_corpus('cc100', out, folder, licence=TOLD)
