"""A small untrained model, exported, with a tokenizer of the sample's captions."""
from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import save_file

from pretrain.config import Config
from pretrain.evaluation.multi30k import read_split
from pretrain.model.unix2 import UniX2
from shards.tokenizer import save_tokenizer

SAMPLE = Path(__file__).parents[2] / 'sample' / 'evaluation'


@pytest.fixture(scope='session')
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pretrain export` writes it."""
    folder = tmp_path_factory.mktemp('export')
    captions = read_split(SAMPLE / 'multi30k_seen').captions.values()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for language in captions for text in language.texts]), model_writer=model, model_type='unigram',
        vocab_size=800, hard_vocab_limit=False, character_coverage=0.98, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    tokenizer = save_tokenizer(folder, model.getvalue(), {})
    config = Config.model_validate(
        {
            'model': {
                'visual': {'image_size': 32, 'options': {'embed_dim': 16, 'depth': 1, 'num_heads': 2, 'patch_size': 16}},
                'dim': 16, 'heads': 2, 'ffn': 32, 'text_layers': 1, 'cross_layers': 1, 'decoder_layers': 1, 'projection': 8,
            },
        },
    )  # fmt: skip
    torch.manual_seed(0)
    weights = {name: tensor.detach().contiguous() for name, tensor in UniX2(config.model, tokenizer.vocabulary).named_parameters()}
    save_file(weights, folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps({'run': config.model_dump(by_alias=True, mode='json')}))
    return folder
