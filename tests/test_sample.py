"""What sample/ must be: nothing that is evaluated on is among what is trained on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from data_pipeline.cli import main
from data_pipeline.drops import Drops
from data_pipeline.readers import cc100, opus
from downstream.quickstart.__main__ import LICENCES
from pretrain.data.sequences import normalised
from pretrain.evaluation.multi30k import read_split

SAMPLE = Path(__file__).parents[1] / 'sample'


@pytest.mark.parametrize('corpus', ['cc3m', 'cc12m', 'wit'])
def test_no_picture_is_evaluated_on_and_trained_on(corpus: str, tmp_path: Path) -> None:
    """Not even resized or compressed again. Captions may be the same in multi30k_seen, whose concepts are known, not in multi30k_emoji."""
    pictures = list((SAMPLE / 'evaluation').rglob('*.jpg'))
    for number, path in enumerate(pictures):
        shutil.copy(path, tmp_path / f'{number}.jpg')
    assert found(corpus, tmp_path, tmp_path / 'out') == {(len(pictures), 0)}
    unseen = found(corpus, SAMPLE / 'evaluation/multi30k_emoji/data', tmp_path / 'again')
    assert unseen and all(number for number, _ in unseen) and not any(met for _, met in unseen)


def test_no_text_of_the_unseen_concepts_is_trained_on() -> None:
    """As captions: above. Nor in the bitext, nor in CC100."""
    split = read_split(SAMPLE / 'evaluation/multi30k_emoji', pictures=False)
    unseen = {normalised(text) for captions in split.captions.values() for text in captions.texts}
    bitext = {normalised(side) for file in opus.files(SAMPLE / 'raw/opus') for pair in opus.pairs(file, 0.0, Drops()) for side in pair}
    documents = (document for path in cc100.files(SAMPLE / 'raw/cc100') for document in cc100.documents(path, Drops()))
    lines = {normalised(line) for document in documents for line in document.split('\n')}
    assert len(unseen) > 700 and len(bitext) > 20_000 and len(lines) > 3000
    assert not unseen & bitext and not unseen & lines


def test_a_trained_picture_would_be_found(tmp_path: Path) -> None:
    picture = sorted((SAMPLE / 'raw/cc12m/images_files').rglob('*.jpg'))[0]
    (tmp_path / 'evaluation').mkdir()
    shutil.copy(picture, tmp_path / 'evaluation')
    assert found('cc12m', tmp_path / 'evaluation', tmp_path / 'out') == {(1, 1)}


def test_the_demo_has_the_licences_of_the_notice() -> None:
    """Its shards, and so the card of its model, name them in place of those of the corpora that the sample only looks like."""
    notice = ' '.join((SAMPLE / 'NOTICE').read_text(encoding='utf8').split())
    assert sorted(LICENCES) == sorted(path.name for path in (SAMPLE / 'raw').iterdir())
    named = {match for told in LICENCES.values() for match in re.findall(r'(\w[^,;:]*) \(([^)]+)\)', told)}
    assert len(named) == 5 and {licence for _, licence in named} == {'Apache-2.0', 'CC-BY-4.0', 'Unicode-3.0', 'MPL-2.0'}
    for work, licence in named:
        assert re.search(rf'{work.strip()}[^.;]*\({licence}', notice), (work, licence)
    assert all('LibreOffice' in LICENCES[corpus] for corpus in ('cc100', 'opus')) and 'Universal Declaration of Human Rights' in notice


def found(corpus: str, evaluation: Path, out: Path) -> set[tuple[int, int]]:
    """(texts or pictures, those of them met in the corpus) of each file or folder of an evaluation set."""
    folders = ['--raw', str(SAMPLE / 'raw' / corpus), '--out', str(out), '--decontaminate', str(evaluation)]
    assert main(['build', corpus, *folders, '--holdout', '0']) == 0
    report = json.loads((out / corpus / 'decontamination.json').read_text())
    return {(entry.get('texts', 0) + entry.get('pictures', 0), entry['found']) for entry in report.values()}
