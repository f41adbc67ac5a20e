"""The decoder one token at a time: keys and values of what is written are kept, those of the source are computed once.

Suffixes: B sources, K beams of each, N = B * K rows, H heads, d their width, S the source's tokens, L those written.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.model.packed import Encoded, pad
from pretrain.model.transformer import POSITION_OFFSET, Attention, Layer, embed
from pretrain.model.unix2 import UniX2


class Cache:
    """The decoder's state for B sources with K beams each, up to `longest` tokens a row."""

    def __init__(self, model: UniX2, memory: Encoded, beams: int, longest: int):
        self.model, self.sources, self.beams = model, memory.layout.rows, beams
        self.length = 0  # tokens written
        dim, heads = model.config.dim, model.config.heads
        shape = (self.sources * beams, heads, longest, dim // heads)
        self.layers = [_LayerCache(layer, memory, shape) for layer in model.decoder.layers]  # type: ignore[arg-type]

    def step(self, tokens_N: Tensor) -> Tensor:
        """Append one token to every row; the decoder's states (N, D) for what comes next."""
        model = self.model
        position = model.decoder_positions.weight[self.length + POSITION_OFFSET]
        states = embed(tokens_N, model.embed_tokens, scale=model.config.family != 'xlm-r') + position
        x = model.decoder.layernorm_embedding(states).float()
        for layer in self.layers:
            x = layer.step(x, self.length, self.beams)
        self.length += 1
        out: Tensor = model.decoder.layer_norm(x)
        return out

    def reorder(self, parents_N: Tensor) -> None:
        """Row n goes on from what row parents_N[n] has written. The source's keys stay: a row's parent has the same source."""
        for layer in self.layers:
            for written in (layer.keys_NHLd, layer.values_NHLd):
                written[:, :, : self.length] = written[:, :, : self.length].index_select(0, parents_N)


class _LayerCache:
    def __init__(self, layer: Layer, memory: Encoded, shape: tuple[int, ...]):
        self.layer = layer
        weight = layer.self_attn.qkv_proj.weight
        self.keys_NHLd, self.values_NHLd = weight.new_empty(shape), weight.new_empty(shape)
        source = pad(layer.encoder_attn.kv_proj(memory.states), memory.layout)
        source = source.view(memory.layout.rows, memory.layout.width, 2, shape[1], shape[3])
        self.source_keys_BHSd, self.source_values_BHSd = source.permute(2, 0, 3, 1, 4).contiguous().unbind(0)
        self.valid = memory.layout.valid

    def step(self, x_ND: Tensor, place: int, beams: int) -> Tensor:
        layer = self.layer
        x_ND = x_ND + self._written(layer.self_attn, layer.self_attn_layer_norm(x_ND), place)
        x_ND = x_ND + self._source(layer.encoder_attn, layer.encoder_attn_layer_norm(x_ND), beams)
        return x_ND + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(x_ND))))

    def _written(self, attention: Attention, x_ND: Tensor, place: int) -> Tensor:
        q, k, v = attention.qkv_proj(x_ND).view(len(x_ND), 3, attention.heads, -1).unbind(1)  # (N, H, d)
        self.keys_NHLd[:, :, place], self.values_NHLd[:, :, place] = k, v
        past = slice(place + 1)
        out = F.scaled_dot_product_attention(q[:, :, None], self.keys_NHLd[:, :, past], self.values_NHLd[:, :, past])
        projected: Tensor = attention.out_proj(out.flatten(1))
        return projected

    def _source(self, attention: Attention, x_ND: Tensor, beams: int) -> Tensor:
        """The beams of a source are queries of one attention, so that its keys are there once, not once a beam."""
        q_BHKd = attention.q_proj(x_ND).view(-1, beams, attention.heads, self.source_keys_BHSd.shape[3]).transpose(1, 2)
        out = F.scaled_dot_product_attention(q_BHKd, self.source_keys_BHSd, self.source_values_BHSd, attn_mask=self.valid)
        projected: Tensor = attention.out_proj(out.transpose(1, 2).reshape(len(x_ND), -1))
        return projected


def next_log_probabilities(model: UniX2, states_ND: Tensor) -> Tensor:
    """(N, V) log-probabilities of the next token, fp32, by the tied output."""
    return torch.log_softmax((states_ND @ model.embed_tokens.T).float(), dim=-1)
