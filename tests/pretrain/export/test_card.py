"""A model card says what the run's own records say."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pretrain.config import Config, FineTune, Init
from pretrain.data.sources import check_data
from pretrain.export.card import UNKNOWN, card
from pretrain.model.load import Found
from pretrain.records import EVALUATION
from shards.tokenizer import Tokenizer

RECALLS = {'de': {'text_to_image': [0.125, 0.5, 0.75], 'image_to_text': [0.25, 0.5, 1.0]}}
NONE: dict[str, object] = {'mean': None, 'languages': {}}
LINES = [
    {'step': step, 'heldout': {'mlm': {'mean': loss, 'languages': {'de': loss}}, 'itm': NONE}, 'retrieval': RECALLS}
    for step, loss in ((0, 9.0), (20, 4.5), (40, 3.25))
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / EVALUATION).write_text(''.join(json.dumps(line) + '\n' for line in LINES))
    return tmp_path


@pytest.fixture
def found(config: Config, tokenizer: Tokenizer) -> Found:
    return Found(Path('x'), Path(config.data.tokenizer), config, '0' * 64, 30, check_data(config, tokenizer))


def test_languages_and_data_are_the_manifests(found: Found, run: Path) -> None:
    text = card('model', found, 1234567, run)
    _, front, body = text.split('---\n', 2)
    languages = yaml.safe_load(front)['language']
    assert {'de', 'yo', 'zh'} <= set(languages) and languages == sorted(languages) and 'zh-TW' not in languages
    corpora = {row.split(' | ')[0].strip('| '): row for row in body.splitlines() if row.startswith('| ')}
    assert {'cc3m', 'cc12m', 'wit', 'cc100', 'opus'} <= corpora.keys()
    total = sum(json.loads(path.read_text())['samples'] for path in Path(found.config.data.shards, 'opus', 'train').rglob('manifest.json'))
    assert f'| opus | bitext | {total:,} |' in corpora['opus'] and corpora['opus'].endswith(f' | {UNKNOWN} |')
    assert corpora['wit'].endswith(' | test |') and 'had changed' not in body
    assert '1,234,567 parameters' in body and '30 optimizer steps' in body and 'Initial weights: random.' in body


@pytest.mark.parametrize(
    ('licences', 'said'),
    [
        ({'CC BY 4.0': 3}, 'CC BY 4.0'),
        ({'CC BY 4.0': 2, 'CC0': 1}, 'CC BY 4.0 (2), CC0 (1)'),
        ({'CC BY 4.0': 2}, f'CC BY 4.0 (2), {UNKNOWN} (1)'),
        ({'': 3}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_licences_are_those_that_the_manifests_have(found: Found, run: Path, tmp_path: Path, licences: dict[str, int], said: str) -> None:
    """A model that has seen nothing of IIT Bombay's, say, is not bound by that licence; and what nobody noted is not made up."""
    shards = Path(shutil.copytree(found.config.data.shards, tmp_path / 'shards'))
    path = next(path for path in (shards / 'opus/train').rglob('manifest.json'))
    path.write_text(json.dumps(json.loads(path.read_text()) | {'samples': 3, 'licences': licences}))
    config = found.config.model_copy(update={'data': found.config.data.model_copy(update={'shards': str(shards)})})
    data = {path.parent.relative_to(shards).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()}
    text = card('model', replace(found, config=config, data=data), 1, run)
    assert next(row for row in text.splitlines() if row.startswith('| opus |')).endswith(f' | {said} |')


def test_figures_are_those_of_the_exported_step(found: Found, run: Path) -> None:
    text = card('model', found, 1, run)
    assert 'at step 20' in text and '| mlm | 4.500 |' in text and '| itm |' not in text
    assert '| de | 12.5 | 50.0 | 75.0 | 25.0 | 50.0 | 100.0 |' in text
    assert 'None was recorded' in card('model', found, 1, run / 'nowhere')
    assert 'None was recorded' in card('model', replace(found, step=None), 1, run)


def test_what_cannot_be_known_is_said(found: Found, run: Path) -> None:
    config = found.config.model_copy(update={'data': found.config.data.model_copy(update={'shards': str(run)}), 'init': Init(text='a/b')})
    text = card('model', replace(found, config=config), 1, run)
    assert 'cc12m/train, cc3m/train' in text.partition('were gone or had changed when this card was written: ')[2]
    assert 'text from `a/b`' in text and 'language:' not in text.split('---\n')[1]
    kept = card('model', replace(found, config=config, languages=('de', 'en', 'zh-TW')), 1, run)
    assert yaml.safe_load(kept.split('---\n')[1])['language'] == ['de', 'en'], 'an export that is exported again'
    text = card('model', replace(found, data={**found.data, 'wit/train': '0' * 64}), 1, run)
    assert 'had changed when this card was written: wit/train.' in text and '| wit |' not in text and '| cc3m |' in text
    assert 'Not recorded.' in card('model', replace(found, data={}), 1, run)


@pytest.mark.parametrize('name', ['unix2', "it's a model", 'a "model"', 'back\\slash'])
def test_the_example_names_the_folder_whatever_its_name(found: Found, run: Path, name: str) -> None:
    (example,) = re.findall(r'```python\n(.*?)```', card(name, found, 1, run), re.DOTALL)
    strings = [node.value for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Constant)]
    assert strings.count(f'./{name}') == 2


def test_a_fine_tuned_model_names_its_classes(found: Found, run: Path) -> None:
    (run / EVALUATION).write_text(json.dumps({'step': 20, 'dev': {'en': 0.625}, 'score': 'BLEU', 'loss': 1.0}) + '\n')
    tuned = FineTune(benchmark='xvnli', model='runs/base', data='xvnli', classes=['yes', 'no'])
    model = found.config.model.model_copy(update={'labels': 2})
    config = found.config.model_copy(update={'finetune': tuned, 'model': model, 'tasks': ['entailment']})
    text = card('model', replace(found, config=config), 1, run)
    assert yaml.safe_load(text.split('---\n')[1])['language'] == ['en']
    assert 'scores the 2 classes: yes, no.' in text and 'Fine-tuned on xvnli from `runs/base`' in text
    assert '| development set | BLEU times 100 |\n| --- | --- |\n| en | 62.5 |' in text and 'had changed' not in text
