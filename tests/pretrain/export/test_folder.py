"""An export in a process without this repository: the card's example runs, and transformers' model gives what the trained one gives."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from downstream.api import Model, load
from pretrain.cli import run as pretrain_command
from pretrain.data.batch import Texts
from pretrain.data.images import read_picture
from pretrain.data.sequences import Sequences, encoder_input
from pretrain.export.card import CARD, PACKAGES
from pretrain.export.sources import sources
from pretrain.generation import Decoding
from pretrain.hf.configuration_unix2 import UniX2Config
from pretrain.hf.modeling_unix2 import UniX2Model
from pretrain.model.folder import BEST
from pretrain.model.load import WEIGHTS
from pretrain.model.packed import Layout, pad
from shards.errors import UserError
from tests.support.exported import SAMPLE, made, made_to_write

PICTURES = sorted((SAMPLE / 'multi30k_emoji' / 'images').iterdir())[:4]
NAME = 'unix2'
TEXTS = ['a red apple', 'Two dogs, ｆｕｌｌ width on the beach </s> de_DE', '', 'word ' * 200]
STRANGER = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('pretrain', 'shards', 'downstream', 'data_pipeline'):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
"""
# Run after the card's example, which leaves `model` and `processor`.
ASK = """
import json, sys
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

pictures, texts, out = json.loads(sys.argv[1])
assert not model.training and model.dtype == torch.float32
with torch.no_grad():
    inputs = processor(images=pictures, text=texts, language='en', target='fr', return_tensors='pt', padding=True, truncation=True)
    rows = {'decoder_input_ids': inputs['input_ids'], 'decoder_attention_mask': inputs['attention_mask']}
    answers = model(**{**inputs, **rows})
    found = {
        'images': model.get_image_features(**processor(images=pictures)),
        'bytes': model.get_image_features(**processor(images=[open(path, 'rb').read() for path in pictures])),
        'decoded': processor(images=[Image.open(path) for path in pictures])['pixel_values'],
        'texts': model.get_text_features(**processor(text=texts, language='en')),
        'logits': answers.logits,
        'itm': answers.itm_logits,
        'classes': answers.class_logits,
    }
save_file({name: tensor.contiguous() for name, tensor in found.items()}, out + '/found.safetensors')
written = {
    'captions': processor.batch_decode(model.generate(**processor(images=pictures, target='zh'), max_new_tokens=12)),
    'translations': processor.batch_decode(model.generate(**inputs, num_beams=2, max_new_tokens=12)),
    'text_only': processor.batch_decode(model.generate(**processor(text=texts, language='en', target='fr'), max_new_tokens=12)),
}
said = []
for wrong in (
    lambda: model.generate(**processor(images=pictures)),
    lambda: model.generate(**processor(text=texts, language='en')),
    lambda: model.generate(**inputs, do_sample=True, top_k=5),
    lambda: processor(images=[], target='de'),
    lambda: processor(text=['a', None], language='en'),
    lambda: processor(images=torch.zeros(3, 8, 8)),
):
    try:
        wrong()
    except Exception as error:
        said.append(str(error))
written['said'] = said
written['greedy'] = processor.batch_decode(model.generate(**inputs, do_sample=False, num_beams=2, max_new_tokens=12))
table = model.get_input_embeddings()
assert table.weight is model.unix2.embed_tokens and torch.equal(table(torch.tensor([5, 6])), table.weight[[5, 6]])
model.save_pretrained(out + '/again')
processor.save_pretrained(out + '/again')
AutoConfig.from_pretrained(out + '/again', trust_remote_code=True)
AutoTokenizer.from_pretrained(out + '/again', trust_remote_code=True)
AutoImageProcessor.from_pretrained(out + '/again', trust_remote_code=True)
AutoProcessor.from_pretrained(out + '/again', trust_remote_code=True)
again = type(model).from_pretrained(out + '/again')
assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
written['imported'] = sorted({name.split('.')[0] for name in sys.modules})
open(out + '/written.json', 'w').write(json.dumps(written))
"""


@pytest.fixture(scope='module')
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export and `picture.jpg`, as the card's example expects them. `source` has a model as a fine-tuning's run has it."""
    home = tmp_path_factory.mktemp('home')
    made_to_write(home / 'source' / BEST, labels=3)
    assert pretrain_command(['export', str(home / 'source'), '--out', str(home / NAME)]) == 0
    (home / 'picture.jpg').write_bytes(PICTURES[0].read_bytes())
    return home


@pytest.fixture(scope='module')
def stranger(home: Path) -> dict[str, Any]:
    """What a process without this repository prints, finds and writes."""
    example = re.search(r'```python\n(.*?)```', (home / NAME / CARD).read_text(), re.DOTALL)
    assert example is not None
    (home / 'stranger.py').write_text(STRANGER + example[1] + ASK)
    environment = {**os.environ, 'HF_HOME': str(home / 'cache'), 'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1'}
    asked = json.dumps([[str(path) for path in PICTURES], TEXTS, str(home)])
    done = subprocess.run(
        [sys.executable, 'stranger.py', asked], cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return {'printed': done.stdout.splitlines(), 'stderr': done.stderr, **json.loads((home / 'written.json').read_text())}


@pytest.fixture(scope='module')
def trained(home: Path) -> Model:
    return load(home / 'source')


@pytest.fixture(scope='module')
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of their own for the copies that transformers makes of an export's code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('transformers.dynamic_module_utils.HF_MODULES_CACHE', str(tmp_path_factory.mktemp('modules')))
        yield


pytestmark = pytest.mark.slow


def test_the_cards_example(stranger: dict[str, Any], trained: Model, home: Path) -> None:
    caption, translation, scores = map(ast.literal_eval, stranger['printed'])
    picture = home / 'picture.jpg'
    assert caption == trained.caption([picture], 'de')
    assert translation == trained.translate(['a red apple'], 'en', 'fr', [picture])
    texts = trained.embed_texts(['a red apple', 'two dogs'], 'en')
    np.testing.assert_allclose(scores, trained.embed_images([picture]) @ texts.T, rtol=0, atol=1e-6)


def test_nothing_of_the_repository_is_needed_and_nothing_is_complained_of(stranger: dict[str, Any]) -> None:
    assert {'transformers', 'torch'} <= set(stranger['imported'])
    assert not {'pretrain', 'shards', 'downstream', 'deepspeed', 'streaming'} & set(stranger['imported'])
    assert stranger['stderr'] == ''


def test_embeddings_and_logits_are_the_trained_models(stranger: dict[str, Any], trained: Model, home: Path) -> None:
    found = load_file(home / 'found.safetensors')
    model, tokenizer = trained.loaded.model, trained.loaded.tokenizer
    images = torch.stack([read_picture(path, 32) for path in PICTURES])
    rows = [encoder_input(ids, tokenizer, 'en', 64) for ids in tokenizer.encode_batch(TEXTS)]
    texts = Texts(torch.tensor([token for row in rows for token in row]), torch.tensor([len(row) for row in rows]))
    with torch.no_grad():
        fused = model.fuse(texts, images, torch.arange(len(PICTURES)))
        states = pad(model.decode(texts, fused), Layout.of(texts.lengths, 'cpu'))
        expected = {
            'images': torch.from_numpy(trained.embed_images(PICTURES)),
            'bytes': torch.from_numpy(trained.embed_images([path.read_bytes() for path in PICTURES])),
            'texts': torch.from_numpy(trained.embed_texts(TEXTS, 'en')),
            'logits': states @ model.embed_tokens.T,
            'itm': model.itm_logits(fused.first()),
            'classes': model.class_logits(fused.first()),
        }
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=2e-6 * float(tensor.abs().max()), err_msg=name)
    # A decoded JPEG has not been decoded at a smaller scale: the same picture, not the same pixels.
    assert (found['decoded'].int() - images.int()).abs().float().mean() < 4


def test_texts_are_those_that_the_trained_model_writes(stranger: dict[str, Any], trained: Model) -> None:
    decoding = Decoding(beams=4, max_tokens=12)
    assert stranger['captions'] == trained.caption(PICTURES, 'zh', decoding)
    assert stranger['translations'] == trained.translate(TEXTS, 'en', 'fr', PICTURES, Decoding(beams=2, max_tokens=12))
    assert stranger['text_only'] == trained.translate(TEXTS, 'en', 'fr', decoding=decoding)
    assert len({*stranger['captions'], *stranger['translations'], *stranger['text_only']}) > 6, 'texts that are all alike prove little'


def test_what_it_does_not_know_it_says(stranger: dict[str, Any]) -> None:
    language = "generate needs a language to write in: processor(…, target='de') gives input_ids and decoder_input_ids"
    assert stranger['said'][:2] == [language] * 2 and stranger['greedy'] == stranger['translations']
    assert stranger['said'][2].startswith('generate does not know do_sample=True, top_k: num_beams,')
    assert (
        stranger['said'][3].startswith('no picture is given')
        and stranger['said'][4] == "text=['a', None]; give a string, or a list of them"
    )
    assert stranger['said'][5].startswith('Tensor given as a picture') and len(stranger['said']) == 6


def test_the_card_names_what_the_code_imports() -> None:
    names = {'PIL': 'pillow'}
    imported = {module for text in sources().values() for module in re.findall(r'^(?:from|import) (\w+)', text, re.MULTILINE)}
    assert {names.get(module, module) for module in imported - set(sys.stdlib_module_names)} | {'safetensors'} == set(PACKAGES)


def test_a_readme_of_ones_own_stays(home: Path, tmp_path: Path) -> None:
    (tmp_path / CARD).write_text('# Mine\n')
    with pytest.raises(UserError, match=r'README\.md is no model card of an export and would be overwritten'):
        pretrain_command(['export', str(home / 'source'), '--out', str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == [CARD]
    assert pretrain_command(['export', str(home / 'source'), '--out', str(home / NAME)]) == 0  # its own may be written again


@pytest.mark.parametrize('family', ['mbart-cc25', 'mbart-50', 'xlm-r'])
@pytest.mark.usefixtures('cache')
def test_the_tokenizer_is_the_models_in_every_family(family: str, tmp_path: Path) -> None:
    made(tmp_path / 'source' / BEST, family=family)
    assert pretrain_command(['export', str(tmp_path / 'source'), '--out', str(tmp_path / f'unix2_{family}')]) == 0
    theirs = AutoTokenizer.from_pretrained(tmp_path / f'unix2_{family}', trust_remote_code=True)
    ours = load(tmp_path / 'source').loaded.tokenizer
    theirs.src_lang = 'de'
    for text in ['ein roter Apfel', *TEXTS[:2], 'ﬁ ２ \u200b 日本語 ℃ <mask>']:
        assert theirs(text)['input_ids'] == Sequences(ours).encoder_input(np.array(ours.encode(text)), 'de').tolist()
        assert theirs.decode(theirs(text)['input_ids'], skip_special_tokens=True) == ours.decode(ours.encode(text))
    assert theirs('a ' * 99, truncation=True)['input_ids'] == encoder_input(ours.encode('a ' * 99), ours, 'de', 64)
    assert len(theirs) == theirs.vocab_size == ours.vocabulary
    assert theirs.convert_tokens_to_ids(['<mask>', 'de_DE', 'sw_KE']) == [ours.mask, ours.language('de'), ours.language('sw')]
    with pytest.raises(Exception, match='klingon'):  # a UserError, of the export's own code
        theirs.row(np.array([5]), 'klingon')


def test_a_model_that_is_made_without_memory_is_whole(home: Path, trained: Model) -> None:
    """As transformers 5 makes it: what no file holds is filled in by `_init_weights`."""
    config = UniX2Config.from_pretrained(home / NAME)
    with torch.device('meta'):
        model = UniX2Model(config)
    model.to_empty(device='cpu')
    model.unix2.load_state_dict(load_file(home / NAME / WEIGHTS))
    model.eval().apply(model._init_weights)
    images = torch.stack([read_picture(path, 32) for path in PICTURES])
    with torch.no_grad():
        np.testing.assert_array_equal(model.get_image_features(images), trained.loaded.model.image_features(images))


def test_bf16(home: Path, trained: Model) -> None:
    model = UniX2Model.from_pretrained(home / NAME, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16 and model.unix2.pixel_mean.dtype == torch.float32
    images = torch.stack([read_picture(path, 32) for path in PICTURES])
    with torch.no_grad():
        cosines = (model.get_image_features(images) * trained.loaded.model.image_features(images)).sum(1)
    assert cosines.min() > 0.98, cosines
