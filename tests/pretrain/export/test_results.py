"""What `downstream` measured stands in the card of the model that it measured, and of no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from downstream import multi30k_retrieval, multi30k_translation
from pretrain.cli import run as pretrain_command
from pretrain.export.card import CARD
from pretrain.export.results import find_results, model_index, tables
from pretrain.model.folder import BEST
from shards.errors import UserError
from tests.downstream.pages import results
from tests.support.exported import SAMPLE, made, made_to_write

DATA = SAMPLE / 'multi30k_emoji'
SHA256 = 'abc' * 20  # of the model of tests/downstream/pages/results.py


@pytest.mark.slow
def test_real_results_of_a_model_and_of_its_export(tmp_path: Path) -> None:
    model, out, elsewhere = made_to_write(tmp_path / 'model' / BEST).parent, tmp_path / 'unix2', tmp_path / 'elsewhere'
    ranked = multi30k_retrieval.evaluate(model, DATA, model / 'downstream/multi30k-retrieval', languages=['de', 'en'])
    multi30k_retrieval.evaluate(made(tmp_path / 'other', dim=32), DATA, model / 'downstream/other', languages=['fr'])
    assert pretrain_command(['export', str(model), '--out', str(out)]) == 0
    written = multi30k_translation.evaluate(out, DATA, elsewhere, beams=1)
    assert pretrain_command(['export', str(model), '--out', str(out), '--results', str(elsewhere)]) == 0
    card = (out / CARD).read_text(encoding='utf8')

    for language, scores in ranked['languages'].items():
        recalls = [scores[way][f'R@{k}'] for way in ('text_to_image', 'image_to_text') for k in (1, 5, 10)]
        assert f'| {language} | {" | ".join(f"{100 * share:.1f}" for share in [scores["mR"], *recalls])} |' in card
    assert not re.search(r'^\| fr \|', card, re.MULTILINE), 'another model'
    bleu = [written['languages']['de'][way][kind] for way in ('with_picture', 'text_only') for kind in ('sacrebleu', 'tokenised')]
    assert ' | '.join(['| de', *(f'{found["score"]:.1f}' for found in bleu)]) in card
    assert ranked['metric'] in card and all(found['signature'] in card for found in bleu)
    assert str(tmp_path) not in card, "where it lay is no matter of a card's"

    name, found = model_index_to_eval_results(yaml.safe_load(card.split('---\n')[1])['model-index'])  # the Hub's own reader
    recall = sum(scores['mR'] for scores in ranked['languages'].values()) / 2
    assert name == 'unix2' and {(one.task_type, one.metric_type, one.metric_name, one.metric_value) for one in found} == {
        ('feature-extraction', 'recall', 'mR, mean of 2 languages', round(100 * recall, 2)),
        ('translation', 'bleu', 'sacreBLEU with picture, de', round(bleu[0]['score'], 2)),
    }

    with pytest.raises(UserError, match=r'other holds no result\.json of the model that is exported; `downstream TASK evaluate'):
        pretrain_command(['export', str(model), '--out', str(out), '--results', str(model / 'downstream/other')])


@pytest.mark.parametrize(
    ('put', 'head', 'row', 'signature', 'headline'),
    [
        (lambda folder: results.tatoeba(folder, ('ar', 'de')), 'accuracy into English', '| ar | 1.0 |', 'x|y', ('accuracy', 2.5)),
        (lambda folder: results.xvnli(folder, fr=0.5), 'accuracy', '| fr | 50.0 |', 'x|y', ('accuracy', 50.0)),
        (
            lambda folder: results.coco(folder, 'coco-cn'), 'CIDEr | BLEU-4 | ROUGE-L', '| zh | 123.4 | 12.3 | 45.6 |', 'beams:4|max:50',
            ('cider', 123.4),
        ),
    ],
)  # fmt: skip
def test_every_benchmark_has_its_figures(
    put: Any, head: str, row: str, signature: str, headline: tuple[str, float], tmp_path: Path
) -> None:
    put(tmp_path / 'a')
    found = find_results([SHA256], [tmp_path], [tmp_path / 'a'])
    assert len(found) == 1, 'found twice, and told once'
    page = tables(found)
    assert f'| language | {head} |' in page and row in page.splitlines() and f'Signature: `{signature}' in page
    metric = yaml.safe_load(model_index('m', found))['model-index'][0]['results'][0]['metrics'][0]
    assert (metric['type'], metric['value']) == headline
    assert find_results(['0' * 64], [tmp_path]) == [] and model_index('m', []) == ''


def test_files_that_are_no_results_are_passed_over(tmp_path: Path) -> None:
    for number, text in enumerate(('', '[]', '{"model": 1}', json.dumps({'model': {'sha256': SHA256}, 'data': {}}))):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / 'result.json').write_text(text)
    assert find_results([SHA256], [tmp_path]) == []
