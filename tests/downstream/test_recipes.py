"""From the paper's recipe, the base model and the command line to a configuration; and the base model's weights in the new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from downstream.cli import run
from downstream.finetune_command import BENCHMARKS
from downstream.finetuning import BaseWeights
from downstream.recipes import RECIPES, compose, recipe_help
from downstream.result import setting
from downstream.xvnli import XVNLI
from pretrain.config import Config, validated
from pretrain.model.load import Found, find_model
from pretrain.model.unix2 import UniX2
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.support.launch import ROOT
from tests.support.toy_benchmarks import write_xvnli


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """54 rows to train on."""
    root = tmp_path_factory.mktemp('xvnli')
    write_xvnli(root, 6)
    return root


@pytest.fixture(scope='module')
def base(export: Path) -> Found:
    return find_model(export)


def composed(base: Found, data: Path, *settings: str) -> Config:
    return compose(XVNLI, base.where, base, data, None, Path('out'), list(settings))[0]


def test_recipe_of_the_paper(base: Found, data: Path) -> None:
    config = composed(base, data)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.lr_min, optimizer.betas, optimizer.weight_decay) == (5e-5, 0, (0.9, 0.999), 0.1)
    assert (config.batch.global_, config.data.caption_tokens, list(config.tasks), config.model.labels) == (1024, 80, ['entailment'], 3)
    finetune = config.finetune
    assert finetune and (finetune.epochs, finetune.classes) == (10, ['entailment', 'neutral', 'contradiction'])
    assert config.model.model_copy(update={'labels': None}) == base.config.model
    assert config.steps == 1  # 540 rows in all


def test_languages_in_any_spelling(base: Found, data: Path) -> None:
    """What is trained on them says so in one spelling, which the report looks for; also when it is read from a saved run."""
    raw = composed(base, data).model_dump(by_alias=True, mode='json')
    raw['finetune'] |= {'benchmark': 'multi30k-retrieval', 'languages': ['eng', 'deu', 'fra', 'ces', 'en'], 'source': 'en_XX'}
    config = validated(raw)
    assert config.finetune and (config.finetune.languages, config.finetune.source) == (['en', 'de', 'fr', 'cs'], 'en')
    assert setting(config, 'multi30k-retrieval') == 'fine-tuned on en de fr cs'
    assert composed(base, data, 'finetune.languages=eng') == composed(base, data)
    with pytest.raises(UserError, match=r"finetune\.languages.*unknown language code 'xqz'"):
        composed(base, data, 'finetune.languages=[en, xqz]')


def test_help_shows_what_a_fine_tuning_gets(base: Found, data: Path) -> None:
    """Given as it is shown, nothing changes; but for what follows from the number of examples."""
    shown = dict(line.strip().split('=', 1) for line in recipe_help('xvnli').splitlines() if line.startswith('  ') and line[2] != ' ')
    assert len(shown) == 14
    formulas = {'steps', 'optimizer.warmup', 'eval.every', 'checkpoint.every'}
    given = [f'{key}={value}' for key, value in shown.items() if key not in formulas]
    assert composed(base, data, *given) == composed(base, data)
    for key in ('optimizer.lr', 'data.caption_tokens', 'recovery.spike', 'finetune.patience'):
        assert composed(base, data, *given, f'{key}=7') != composed(base, data)


@pytest.mark.parametrize('benchmark', BENCHMARKS)
def test_every_fine_tuning_has_its_own_help(benchmark: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run([benchmark, 'finetune', '--help'])
    printed = capsys.readouterr().out
    assert f'the recipe for {benchmark}:' in printed
    assert f'  batch.global={BENCHMARKS[benchmark].recipe.batch}\n' in printed and '  finetune.patience=3\n' in printed


def test_every_fine_tuning_has_its_own_recipe() -> None:
    assert RECIPES.keys() == BENCHMARKS.keys()
    assert all(kind.recipe is RECIPES[name] for name, kind in BENCHMARKS.items())


@pytest.mark.parametrize('benchmark', RECIPES)
def test_the_help_imports_no_torch(benchmark: str) -> None:
    """It is there in a moment, not after the seconds that the imports of a fine-tuning take."""
    code = 'import atexit, sys; from downstream.cli import run; '
    code += "atexit.register(lambda: print('torch' if 'torch' in sys.modules else 'light')); run(sys.argv[1:])"
    words = [sys.executable, '-c', code, benchmark, 'finetune', '--help']
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f'the recipe for {benchmark}:' in printed and printed.splitlines()[-1] == 'light'


def test_steps_follow_from_the_training_set(base: Found, data: Path) -> None:
    config = composed(base, data, 'batch.global=8')
    assert (config.steps, config.eval.every, config.checkpoint.every) == (68, 7, 7)
    assert config.optimizer.warmup == 6  # a tenth: 2,000 would never end
    assert composed(base, data, 'batch.global=1', 'finetune.epochs=100').optimizer.warmup == 2000
    chosen = composed(base, data, 'batch.global=8', 'steps=30', 'optimizer.warmup=1', 'eval.every=4', 'checkpoint.every=5')
    assert (chosen.steps, chosen.optimizer.warmup, chosen.eval.every, chosen.checkpoint.every) == (30, 1, 4, 5)


def test_texts_are_no_longer_than_the_model_reads(base: Found, data: Path) -> None:
    short = Found(base.where, base.tokenizer, base.config.model_copy(deep=True), base.sha256)
    short.config.model.max_positions = short.config.data.text_tokens = 32
    assert composed(short, data).data.caption_tokens == 32


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        ('optimizer.rl=1', 'unknown setting optimizer.rl.*did you mean optimizer'),
        ('batch.global=many', "batch.global = 'many'"),
        ('finetune.classes=[a, b]', 'tasks, finetune.benchmark and finetune.classes are what `downstream xvnli finetune` says and reads'),
        ('tasks=[mlm]', 'tasks, finetune.benchmark and finetune.classes'),
        ('batch', "'batch' is not key=value"),
    ],
)
def test_wrong_settings(base: Found, data: Path, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        composed(base, data, setting)


def test_only_the_head_is_new(base: Found, data: Path) -> None:
    config, tokenizer = composed(base, data), Tokenizer.load(base.tokenizer)
    torch.manual_seed(1)
    model = UniX2(config.model, tokenizer.vocabulary)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    BaseWeights(config, tokenizer, base).load(model)
    for name, parameter in model.named_parameters():
        new = name.startswith(('class_dense', 'class_norm', 'class_scores'))
        assert torch.equal(parameter, before[name] if new else base.weights()[name]), name


def test_positions_of_larger_pictures_are_interpolated(base: Found, data: Path) -> None:
    config, tokenizer = composed(base, data, 'model.visual.image_size=64'), Tokenizer.load(base.tokenizer)
    model = UniX2(config.model, tokenizer.vocabulary)
    BaseWeights(config, tokenizer, base).load(model)
    found = base.weights()['visual_encoder.pos_embed']
    assert (found.shape[1], model.visual_encoder.pos_embed.shape[1]) == (1 + 4, 1 + 16)
    assert torch.equal(model.visual_encoder.pos_embed[:, 0], found[:, 0])
    grid = torch.nn.functional.interpolate(
        found[:, 1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2), size=(4, 4), mode='bicubic', antialias=True, align_corners=False
    )
    torch.testing.assert_close(model.visual_encoder.pos_embed[0, 1:].T.reshape(-1, 4, 4), grid[0])


def test_other_sizes_than_the_base(base: Found, data: Path) -> None:
    config, tokenizer = composed(base, data, 'model.dim=32'), Tokenizer.load(base.tokenizer)
    with pytest.raises(UserError, match=r'has \d+x16 for embed_tokens, this configuration needs \d+x32; leave `model` as the base has it'):
        BaseWeights(config, tokenizer, base)
