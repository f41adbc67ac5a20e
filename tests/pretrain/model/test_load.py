"""A run and its export give the same model; what is damaged is named in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pretrain.cli import run as pretrain_command
from pretrain.config import Config
from pretrain.engine.checkpoint import STATE, read_state
from pretrain.engine.distributed import init_distributed
from pretrain.engine.zero import Engine
from pretrain.export import export
from pretrain.model.folder import CONFIG
from pretrain.model.load import WEIGHTS, Loaded, embed_texts, find_model, load_model
from pretrain.model.unix2 import UniX2
from shards.errors import UserError
from shards.tokenizer import Tokenizer
from tests.pretrain.data.small_shards import Record, make_config
from tests.support.checkpoints import save_checkpoint
from tests.support.distributed import run_distributed
from tests.support.exported import embed_images

TEXTS = ['a red apple', 'zwei Hunde am Strand', 'x']
SIZES = {
    'visual': {'image_size': 32, 'options': {'embed_dim': 24, 'depth': 1, 'num_heads': 2, 'patch_size': 16}},
    'dim': 32, 'heads': 2, 'ffn': 64, 'text_layers': 1, 'cross_layers': 1, 'decoder_layers': 1, 'projection': 16, 'dropout': 0.5,
}  # fmt: skip


def untrained(raw: dict[str, object]) -> dict[str, Tensor]:
    """Save a run's checkpoint of random weights; returns them."""
    init_distributed()
    config = Config.model_validate(raw)
    torch.manual_seed(0)
    engine = Engine(UniX2(config.model, Tokenizer.load(config.data.tokenizer).vocabulary), config, None)
    save_checkpoint(engine, Path(config.out) / 'checkpoints', 5, config, {})
    return {name: parameter.detach().clone() for name, parameter in engine.module.named_parameters()}


@pytest.fixture(scope='module')
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('loading')
    config = make_config(home, out=str(folder / 'run'), model=SIZES, precision='fp32')
    weights = run_distributed(untrained, 1, folder, config.model_dump(by_alias=True, mode='json'))
    torch.save(weights, folder / 'weights.pt')
    return folder / 'run'


@pytest.fixture(scope='module')
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('export') / 'model'
    assert pretrain_command(['export', str(run), '--out', str(out)]) == 0
    return out


def embeddings(loaded: Loaded, pictures: list[Record]) -> list[Tensor]:
    return [embed_images(loaded, [record['image'] for record in pictures[:5]]), embed_texts(loaded, TEXTS, 'de')]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert '\n' not in str(caught.value)
    return str(caught.value)


pytestmark = [pytest.mark.slow, pytest.mark.launcher]


def test_weights_are_those_of_the_run(run: Path) -> None:
    saved = torch.load(run.parent / 'weights.pt', weights_only=True)
    loaded = load_model(run)
    assert not loaded.model.training and loaded.config.out == str(run)
    got = dict(loaded.model.named_parameters())
    assert got.keys() == saved.keys() and all(torch.equal(got[name], saved[name]) for name in got)


def test_run_and_export_give_identical_embeddings(run: Path, exported: Path, pictures: list[Record]) -> None:
    one, other = load_model(run), load_model(exported)
    assert one.config == other.config and one.tokenizer.fingerprint == other.tokenizer.fingerprint
    for a, b in zip(embeddings(one, pictures), embeddings(other, pictures), strict=True):
        assert torch.equal(a, b)
    assert json.loads((exported / CONFIG).read_text())['checkpoint_sha256'] == one.sha256
    assert find_model(exported).step == find_model(run).step == 5


def test_embeddings_are_unit_vectors(run: Path, pictures: list[Record]) -> None:
    images, texts = embeddings(load_model(run), pictures)
    assert images.shape == (5, 16) and texts.shape == (3, 16) and images.dtype == texts.dtype == torch.float32
    for rows in (images, texts):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
        assert not rows.requires_grad


def test_language_and_length_matter(run: Path) -> None:
    loaded = load_model(run)
    assert not torch.equal(embed_texts(loaded, TEXTS, 'de'), embed_texts(loaded, TEXTS, 'fr'))
    assert torch.equal(embed_texts(loaded, TEXTS, 'deu'), embed_texts(loaded, TEXTS, 'de'))
    alone = torch.cat([embed_texts(loaded, [text], 'de') for text in TEXTS])
    torch.testing.assert_close(embed_texts(loaded, TEXTS, 'de'), alone)
    assert embed_texts(loaded, ['word ' * 500], 'en').shape == (1, 16)
    assert 'klingon' in refusal(lambda: embed_texts(loaded, TEXTS, 'klingon'))


def test_what_is_neither(run: Path, tmp_path: Path) -> None:
    assert f'{tmp_path} is neither a run' in refusal(lambda: load_model(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    assert 'holds no checkpoint; train with pretrain/run.py first' in refusal(lambda: load_model(tmp_path))
    assert 'holds no checkpoint' in refusal(lambda: export(tmp_path, tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)


def change_model(folder: Path) -> None:
    description = json.loads((folder / CONFIG).read_text())
    description['run']['model']['ffn'] = 48
    (folder / CONFIG).write_text(json.dumps(description))


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])


def cut_without_hash(folder: Path) -> None:
    """An older export has no hash of its weights."""
    cut(folder)
    description = json.loads((folder / CONFIG).read_text())
    del description['weights_sha256']
    (folder / CONFIG).write_text(json.dumps(description))


def another_format(folder: Path) -> None:
    description = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**description, 'format': 2}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    'flipped byte': (lambda folder: flip(folder / WEIGHTS), 'does not have the hash'),
    'cut weights': (cut, 'does not have the hash'),
    'cut weights, no hash': (cut_without_hash, 'is not a whole export'),
    'no weights': (lambda folder: (folder / WEIGHTS).unlink(), 'is not a whole export'),
    'no json': (lambda folder: (folder / CONFIG).write_text('{'), 'is not a whole export'),
    'a list': (lambda folder: (folder / CONFIG).write_text('[]'), 'is not a whole export'),
    'no settings': (lambda folder: (folder / CONFIG).write_text('{}'), 'is not a whole export'),
    'unknown settings': (
        lambda folder: (folder / CONFIG).write_text('{"run": {"colour": 1}}'),
        'that this version does not know (colour); use the',
    ),
    'another format': (another_format, 'config.json has format 2, this program reads 1; export it again from the run'),
    'no tokenizer': (lambda folder: (folder / 'tokenizer.json').unlink(), 'tokenizer.json is missing'),
    'another tokenizer': (lambda folder: flip(folder / 'sentencepiece.bpe.model'), 'sentencepiece.bpe.model'),
    'another model': (change_model, 'does not fit its own configuration'),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_export_is_named(exported: Path, tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / 'model'))
    change, words = DAMAGES[damage]
    change(folder)
    message = refusal(lambda: load_model(folder))
    assert words in message and str(folder) in message, message


def test_a_run_is_not_read_with_another_tokenizer(run: Path, home: Path, tmp_path: Path) -> None:
    folder, moved = Path(shutil.copytree(run, tmp_path / 'run')), tmp_path / 'tokenizer'
    path = folder / 'checkpoints' / 'step-0000005' / STATE
    state, fingerprint = read_state(path.parent), Tokenizer.load(home / 'tokenizer').fingerprint
    state['config']['data']['tokenizer'] = str(moved)
    path.write_text(json.dumps({**state, 'tokenizer': fingerprint}))
    assert f'was trained with the tokenizer in {moved}, which is not there; put it back' in refusal(lambda: load_model(folder))
    shutil.copytree(home / 'tokenizer', moved)
    assert load_model(folder).tokenizer.fingerprint == fingerprint
    path.write_text(json.dumps({**state, 'tokenizer': 'another'}))
    assert f'was trained with tokenizer another, and {moved} has {fingerprint} by now' in refusal(lambda: load_model(folder))


def test_a_damaged_run_is_named(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / 'run'))
    checkpoint = folder / 'checkpoints' / 'step-0000005'
    state = read_state(checkpoint)
    (checkpoint / STATE).write_text(json.dumps({**state, 'config': {'colour': 1}}))
    assert 'has settings that this version does not know (colour); use the version that' in refusal(lambda: load_model(folder))
    other = {**state['config'], 'precision': 'fp7', 'log': {'old': 1}}
    (checkpoint / STATE).write_text(json.dumps({**state, 'config': other}))
    assert "does not know (precision = 'fp7': Input should be 'fp32' or 'bf16'); use" in refusal(lambda: load_model(folder))
    (checkpoint / STATE).write_text(json.dumps({**state, 'config': {**other, 'precision': 'fp32'}}))
    assert load_model(folder).config.precision == 'fp32', 'settings of the log say nothing of the model'
    flip(next(checkpoint.glob('*.safetensors')))
    assert 'no checkpoint in' in refusal(lambda: load_model(folder))
