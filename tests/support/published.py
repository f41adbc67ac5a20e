"""Small checkpoints as they are published, random, and what their own libraries make of them. Nothing here comes from pretrain: these are
references."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import MBartConfig, MBartForConditionalGeneration, XLMRobertaConfig, XLMRobertaForMaskedLM
from transformers.models.mbart.modeling_mbart import shift_tokens_right

PAD = 1
WIDTH = {'d_model': 32, 'encoder_attention_heads': 4, 'decoder_attention_heads': 4, 'encoder_ffn_dim': 64, 'decoder_ffn_dim': 64}
VIT: dict[str, Any] = {'embed_dim': 24, 'depth': 2, 'num_heads': 2}


def scrambled(model: Any, seed: int = 0, std: float = 0.2) -> Any:
    """Every weight N(0, std), norms around 1: nothing is 0 or 1, so that a swapped or forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * std
        parameter.data.copy_(1 + noise if 'norm' in name.lower() and name.endswith('weight') else noise)
    return model.eval()


def mbart(pieces: int, codes: int, **changes: Any) -> Any:
    """A random mBART over `pieces` sentencepieces with so many language codes, 25 (cc25) or 52 (mBART-50)."""
    settings = {**WIDTH, 'encoder_layers': 2, 'decoder_layers': 2, 'max_position_embeddings': 40, **changes}
    return scrambled(MBartForConditionalGeneration(MBartConfig(vocab_size=pieces + 1 + codes + 1, scale_embedding=True, **settings)))


def widened(model: Any, pieces: int, vocabulary: int) -> Any:
    """A copy with further ids after <mask>, each the mean of the model's language codes: they take part in every softmax."""
    copied = copy.deepcopy(model)
    old = model.model.shared.weight.detach()
    copied.resize_token_embeddings(vocabulary, mean_resizing=False)
    copied.model.shared.weight.data[len(old) :] = old[pieces + 1 : -1].mean(0)
    return copied.eval()


def xlmr(pieces: int, layers: int = 4) -> Any:
    config = XLMRobertaConfig(
        vocab_size=pieces + 2, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=42, type_vocab_size=1, pad_token_id=PAD, layer_norm_eps=1e-5,
    )  # fmt: skip
    return scrambled(XLMRobertaForMaskedLM(config))


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """(B, L) ids with <pad> on the right, and the mask of the others."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def mbart_states_and_loss(model: Any, sources: list[list[int]], labels: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder and decoder states (tokens, D) each, and mean loss. The decoder reads transformers' own shift of the labels."""
    ids, mask = padded(sources)
    targets, target_mask = padded(labels)
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, labels=targets.masked_fill(target_mask == 0, -100), output_hidden_states=True)
        decoded = model.model(input_ids=ids, attention_mask=mask, decoder_input_ids=shift_tokens_right(targets, PAD)).last_hidden_state
    return out.encoder_last_hidden_state[mask.bool()], decoded[target_mask.bool()], out.loss


def save_vit(folder: Path, name: str, size: int, **options: Any) -> Any:
    """A random timm ViT, saved as timm's repositories are; returns it without its classifier."""
    model = scrambled(timm.create_model(name, pretrained=False, num_classes=5, img_size=size, **VIT, **options))
    folder.mkdir(parents=True, exist_ok=True)
    named: Any = timm.get_pretrained_cfg(name)
    pretrained = {'mean': list(named.mean), 'std': list(named.std), 'input_size': [3, size, size]}
    (folder / 'config.json').write_text(json.dumps({'architecture': name, 'num_classes': 5, 'pretrained_cfg': pretrained}))
    save_file(model.state_dict(), folder / 'model.safetensors')
    model.reset_classifier(0)
    return model


def vit_states(model: Any, name: str, images: Tensor) -> Tensor:
    """[CLS] and patch states of uint8 pictures, normalised as timm's data configuration says."""
    named: Any = timm.get_pretrained_cfg(name)
    data = timm.data.resolve_data_config({}, pretrained_cfg=named.to_dict())
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        return model.forward_features((images / 255 - mean) / std)
