"""Small untrained models with a tokenizer of the sample's captions, in the layout of an export as far as `find_model` reads it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file

from pretrain.config import Config
from pretrain.data.images import evaluation_image
from pretrain.evaluation.multi30k import read_split
from pretrain.model.load import Loaded, load_model
from pretrain.model.unix2 import UniX2
from shards.tokenizer import save_tokenizer
from tests.support.published import scrambled

SAMPLE = Path(__file__).parents[2] / 'sample' / 'evaluation'


def made(folder: Path, data: dict[str, Any] | None = None, **changes: Any) -> Path:
    """`changes` of the model's settings, `data`: of the data's."""
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
                'dim': 16, 'heads': 2, 'ffn': 32, 'text_layers': 1, 'cross_layers': 1, 'decoder_layers': 1, 'projection': 8, **changes,
            },
            'data': data or {},
        },
    )  # fmt: skip
    torch.manual_seed(0)
    save(folder, UniX2(config.model, tokenizer.vocabulary))
    (folder / 'config.json').write_text(json.dumps({'run': config.model_dump(by_alias=True, mode='json')}))
    return folder


def save(folder: Path, model: UniX2) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in model.named_parameters()}, folder / 'model.safetensors')


def made_to_write(folder: Path, data: dict[str, Any] | None = None, **changes: Any) -> Path:
    """`made`, of a model whose texts depend on all before them, and end early and late."""
    made(folder, data, **changes)
    loaded = load_model(folder)
    model = scrambled(loaded.model, seed=1, std=0.7)
    model.embed_tokens.data /= 7
    model.embed_tokens.data[loaded.tokenizer.eos] *= 2
    model.decoder.layer_norm.bias.data.zero_()
    save(folder, model)
    return folder


@torch.no_grad()
def embed_images(loaded: Loaded, pictures: Sequence[bytes]) -> torch.Tensor:
    """(N, D) unit vectors of encoded pictures in one batch, without anything that comes between a picture and the model in `downstream`."""
    size = loaded.config.model.visual.image_size
    return loaded.model.image_features(torch.stack([evaluation_image(picture, size) for picture in pictures]).to(loaded.device))
