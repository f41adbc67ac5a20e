"""The real command with published weights: refused before anything starts, or trained from; with a checkpoint there they are not read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.data.batch import Texts
from pretrain.init import Start
from pretrain.model.load import load_model
from pretrain.model.unix2 import UniX2
from pretrain.pretraining import Pretraining
from pretrain.trainer import Trainer
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.init.started import SIZES, configured
from tests.support.launch import command, prewarmed, succeed
from tests.support.published import VIT, mbart_states_and_loss, save_vit

MODEL = [f'model.{key}={value}' for key, value in SIZES.items()]
SLOW = 'optimizer={lr: 1e-9, lr_min: 0, warmup: 0}'  # one update changes next to nothing


@pytest.mark.slow
@pytest.mark.launcher
@torch.no_grad()
def test_a_run_starts_from_published_weights(home: Path, published: dict[str, tuple[Any, Path]], tmp_path: Path) -> None:
    theirs, folder = published['mbart-50']
    text, visual, out = (tmp_path / name for name in ('text', 'visual', 'run'))
    shutil.copytree(folder, text)
    save_vit(visual, 'vit_base_patch16_224', 32)
    model = [*MODEL, 'model.family=mbart-50', f'model.visual={{image_size: 48, options: {VIT}}}']
    model += ['tasks=[mt]', 'eval.samples=2', 'precision=fp32', 'data.workers=0', SLOW]
    init = [f'init.text={text}', f'init.visual={visual}', 'steps=1']
    succeed(command(prewarmed(1), home, out, *model, *init), tmp_path)
    trained = load_model(out)
    n = trained.tokenizer.pieces
    rows = [[n + 3, 10, 11, 12, 2], [n + 1, 20, 2]]
    encoded, _, _ = mbart_states_and_loss(theirs, rows, rows)
    ours = trained.model.encode_texts(Texts(torch.tensor([token for row in rows for token in row]), torch.tensor([5, 3])))
    torch.testing.assert_close(ours.tokens, encoded, atol=1e-4, rtol=1e-4)

    shutil.rmtree(text)
    shutil.rmtree(visual)
    assert 'resuming after step 1' in succeed(command(prewarmed(1), home, out, *model, *init[:2], 'steps=2'), tmp_path)


def test_a_misfit_is_refused_before_anything_starts(home: Path, published: dict[str, tuple[Any, Path]], tmp_path: Path) -> None:
    folder, out = published['mbart-cc25'][1], tmp_path / 'run'
    config = configured(home, 'mbart-cc25', {'text': str(folder)}, dim=64).model_copy(update={'out': str(out), 'tasks': ['mt']})
    with pytest.raises(UserError) as caught:
        Trainer(Pretraining(config), None)
    assert str(caught.value) == f'init.text = {folder}: model.dim is 64, these weights fit model.dim=32'
    assert not out.exists() and not torch.distributed.is_initialized()


def test_nothing_named_changes_nothing(home: Path, tokenizer: Tokenizer) -> None:
    config = configured(home, 'mbart-cc25')
    torch.manual_seed(0)
    model = UniX2(config.model, tokenizer.vocabulary)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    Start(config, tokenizer).load(model)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
