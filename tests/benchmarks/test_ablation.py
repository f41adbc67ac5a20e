"""The commands of the ablation and what is read of their results; the runs themselves take hours, a tiny one is a part of the smoke run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import ablation
from benchmarks.parts.directions import COLUMNS, NAMES
from downstream.files import write_json, write_text
from pretrain.config import TASKS, load_config
from tests.support.launch import ROOT


def asked(out: Path, **more: object) -> argparse.Namespace:
    told = {
        'benchmarks': ablation.BENCHMARKS,
        'left_out': ablation.LEFT_OUT,
        'seeds': [0, 1],
        'steps': 10,
        'set': [],
        'tune': ['data.workers=0'],
    }
    return argparse.Namespace(**{'out': out, 'evaluation': Path('e'), 'ranks': 3, **told, **more})


def test_the_variants_differ_in_one_task_alone() -> None:
    commands = {variant: [step.command for step in ablation.steps(variant, 4, asked(Path('o')))] for variant in NAMES}
    configs = {}
    for variant, (train, *_) in commands.items():
        config = load_config(ROOT / 'configs/bench.yaml', train[train.index('--config') + 2 :])
        assert config.tasks == [task for task in TASKS if task != variant] and (config.seed, config.steps) == (4, 10)
        configs[variant] = config.model_dump(exclude={'tasks', 'out'})
    assert all(config == configs['all'] for config in configs.values())
    assert len({command[-1] for variant in commands.values() for command in variant if command[2] == 'finetune'}) == 1
    outs = [command[command.index('--out') + 1] for variant in commands.values() for command in variant[1:]]
    assert len(set(outs)) == len(outs) == 6 * 4
    tuned = {command[1]: command for command in commands['itm'][1:] if command[2] == 'finetune'}
    assert set(tuned) == {'xgqa', 'coco', 'multi30k-translation'} and all('seed=4' in command for command in tuned.values())
    assert tuned['coco'].index('finetune.epochs=5') > tuned['coco'].index('finetune.epochs=20'), 'the later one holds'


def test_only_what_is_asked_is_run() -> None:
    found = ablation.steps('itm', 0, asked(Path('o'), benchmarks=['coco']))
    assert [step.command[:3] for step in found[1:]] == [['downstream', 'coco', 'finetune']]


def write_results(out: Path, value: float) -> None:
    """Those of one model."""
    recall = {'R@1': value / 2, 'R@5': value, 'R@10': 1.5 * value}
    scores = {'text_to_image': recall, 'image_to_text': recall, 'mR': value, 'chance': {'mR': 0.01}}
    write_json(
        out / 'zero-shot-multi30k_seen/result.json', {'languages': {'en': scores, 'ja': scores}, 'mean': scores, 'mean_paper': scores}
    )
    write_json(
        out / 'tuned-xgqa/result.json',
        {'languages': {'en': {'accuracy': value, 'majority': 0.3}}, 'mean': {'accuracy': value / 2, 'majority': 0.2}},
    )
    write_json(out / 'tuned-coco/result.json', {'captioning': {'tokens': {'PTB': {'BLEU-4': value, 'CIDEr': 2 * value}}}})
    bleu = {'with_picture': {'sacrebleu': {'score': 7.0}, 'tokenised': {'score': 0.0}}}
    write_json(out / 'tuned-multi30k-translation/result.json', {'languages': {'de': bleu}})
    lines = [
        {'step': 0, 'heldout': {'mt': {'mean': 9.0}}},
        {'step': 10, 'heldout': {'mt': {'mean': 5.0}, 'itm': {'mean': 0.7, 'accuracy': value}}},
    ]
    write_text(out / 'run/evaluation.jsonl', ''.join(json.dumps(line) + '\n' for line in lines))


def test_figures_are_in_percent_a_value_a_seed(tmp_path: Path) -> None:
    options = asked(tmp_path, left_out=['cmcl'])
    for seed, value in enumerate((0.2, 0.4)):
        for variant in ablation.variants(options):
            write_results(ablation.folder(variant, seed, tmp_path), value / (2 if variant == 'cmcl' else 1))
    figures, measures = ablation.collect(options)
    assert set(figures) == {'all', 'cmcl'} and set(figures['all']) == set(COLUMNS)
    expected = {'xgqa_en': 20, 'xgqa_7avg': 10, 'multi30k_mR': 20, 'coco_B4': 20, 'coco_CIDEr': 40, 'multi30k_ende_B4': 7, 'mean': 117 / 6}
    assert {column: values[0] for column, values in figures['all'].items()} == pytest.approx(expected)
    assert figures['all']['multi30k_mR'] == pytest.approx([20, 40]) and figures['cmcl']['multi30k_mR'] == pytest.approx([10, 20])
    assert measures['cmcl']['mt, held-out loss'] == [5.0, 5.0], 'at the end, not at the start'
    assert measures['cmcl']['itm, held-out accuracy, %'] == pytest.approx([10, 20])
    assert measures['all']['text->image, mean of R@1/5/10, all 2 languages, %'] == pytest.approx([20, 40])


def test_without_a_column_there_is_no_mean(tmp_path: Path) -> None:
    write_results(tmp_path, 0.2)
    assert set(ablation.columns(tmp_path, ['xgqa', 'coco'])) == {'xgqa_en', 'xgqa_7avg', 'coco_B4', 'coco_CIDEr'}


def test_the_floors_are_those_of_one_answer_for_all(tmp_path: Path) -> None:
    options = asked(tmp_path, seeds=[3], evaluation=ROOT / 'sample/evaluation')
    out = ablation.folder('all', 3, tmp_path)
    write_results(out, 0.2)
    lines = [{'references': ['a red ball on the table']}, {'references': ['a red ball on the floor']}]
    write_text(out / 'tuned-coco/captions.jsonl', ''.join(json.dumps(line) + '\n' for line in lines))
    options.benchmarks = ['multi30k-retrieval', 'xgqa', 'coco']
    found = ablation.lowest(options)
    assert found['xgqa_en'] == pytest.approx(30) and found['xgqa_7avg'] == pytest.approx(20) and found['multi30k_mR'] == pytest.approx(1)
    assert 50 < found['coco_B4'] < 100, 'one of the two is right'
    assert 'mean' not in found and set(found) < set(COLUMNS)
