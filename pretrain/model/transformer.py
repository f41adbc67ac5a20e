"""mBART's transformer on packed tokens: pre-norm layers, GELU, learned positions offset by 2, scaled embeddings,
`layernorm_embedding`, a final norm.

Parameter names are those of transformers' MBart, except that q, k and v of a self-attention (k and v of a cross-attention) are one matrix.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pretrain import kernels
from pretrain.model.gradients import Embedding
from pretrain.model.packed import Kept, Layout

POSITION_OFFSET = 2  # fairseq's, kept by mBART: position i uses row i + 2


class Norm(nn.LayerNorm):
    """LayerNorm of an fp32 residual stream that gives the weights' precision: statistics in fp32, output ready for a bf16 matrix product.

    The residual stream stays fp32 under bf16 weights. With a bf16 stream the nearly equal states of an untrained tower are rounded
    together, and
    the contrastive loss falls much more slowly than in fp32 (docs/method.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        return kernels.norm(x, self.weight, self.bias, self.eps)


class StreamNorm(Norm):
    """A Norm whose output is the residual stream itself, and so stays fp32."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)


class Attention(nn.Module):
    """Multi-head attention of packed queries over their own row, or over the row of the same number in `memory`. Heads divide `dim`."""

    def __init__(self, dim: int, heads: int, cross: bool = False, causal: bool = False):
        super().__init__()
        self.heads, self.cross, self.causal = heads, cross, causal
        if cross:
            self.q_proj, self.kv_proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        else:
            self.qkv_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self, x_TD: Tensor, layout: Layout, memory_SD: Tensor | None = None, memory_layout: Layout | None = None, kept: Kept | None = None
    ) -> Tensor:
        """States (T, D) -> (T, D); with `kept`, of those queries only (not for a causal or a cross-attention)."""
        if self.cross:
            assert memory_SD is not None and memory_layout is not None
            out = kernels.attention(self.q_proj(x_TD), self.heads, layout, False, self.kv_proj(memory_SD), memory_layout)
        elif kept is not None:
            assert not self.causal
            dim = x_TD.shape[1]
            (q_weight, kv_weight), (q_bias, kv_bias) = (part.split([dim, 2 * dim]) for part in (self.qkv_proj.weight, self.qkv_proj.bias))
            queries, keys = F.linear(kept.of(x_TD), q_weight, q_bias), F.linear(x_TD, kv_weight, kv_bias)
            out = kernels.attention(queries, self.heads, kept.layout, False, keys, layout)
        else:
            out = kernels.attention(self.qkv_proj(x_TD), self.heads, layout, self.causal)
        return self.out_proj(out)


class Layer(nn.Module):
    """Pre-norm transformer layer; a decoder layer when `decoder`: causal, with attention over the encoder's states."""

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float, decoder: bool = False):
        super().__init__()
        self.dropout = dropout
        self.self_attn = Attention(dim, heads, causal=decoder)
        self.self_attn_layer_norm = Norm(dim)
        if decoder:
            self.encoder_attn = Attention(dim, heads, cross=True)
            self.encoder_attn_layer_norm = Norm(dim)
        self.decoder = decoder
        self.fc1, self.fc2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.final_layer_norm = Norm(dim)

    def forward(
        self, x: Tensor, layout: Layout, memory: Tensor | None = None, memory_layout: Layout | None = None, kept: Kept | None = None
    ) -> Tensor:
        """The states of the `kept` tokens; None: of all."""
        attended = self.self_attn(self.self_attn_layer_norm(x), layout, kept=kept)
        x = (x if kept is None else kept.of(x)) + self._drop(attended)
        if self.decoder:
            x = x + self._drop(self.encoder_attn(self.encoder_attn_layer_norm(x), layout, memory, memory_layout))
        return x + self._drop(self.fc2(F.gelu(self.fc1(self.final_layer_norm(x)))))

    def _drop(self, x: Tensor) -> Tensor:
        return kernels.dropout(x, self.dropout, self.training)


class PostNormLayer(nn.Module):
    """XLM-R's layer: the norms come after the sums. The stream that they give stays fp32."""

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.self_attn = Attention(dim, heads)
        self.self_attn_layer_norm = StreamNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.final_layer_norm = StreamNorm(dim)

    def forward(self, x: Tensor, layout: Layout, kept: Kept | None = None) -> Tensor:
        """The states of the `kept` tokens; None: of all."""
        precision = self.fc1.weight.dtype
        attended = self.self_attn(x.to(precision), layout, kept=kept)
        x = self.self_attn_layer_norm((x if kept is None else kept.of(x)) + kernels.dropout(attended, self.dropout, self.training))
        return self.final_layer_norm(x + kernels.dropout(self.fc2(F.gelu(self.fc1(x.to(precision)))), self.dropout, self.training))


class PostNormStack(nn.Module):
    """XLM-R's encoder, or a part of it: layers without a final norm, since the last layer ends in one. Only its beginning has
    a `layernorm_embedding`: a later part takes the states of the earlier one as they are."""

    def __init__(self, dim: int, heads: int, ffn: int, layers: int, dropout: float, embedded: bool):
        super().__init__()
        self.dropout, self.recompute = dropout, False
        self.layernorm_embedding = Norm(dim) if embedded else None
        self.layers = nn.ModuleList(PostNormLayer(dim, heads, ffn, dropout) for _ in range(layers))

    def forward(self, x: Tensor, layout: Layout, kept: Kept | None = None) -> Tensor:
        """States of all tokens, or of those that are `kept`, to which the last layer then confines itself."""
        if self.layernorm_embedding is not None:
            x = kernels.dropout(self.layernorm_embedding(x), self.dropout, self.training)
        precision, x = x.dtype, x.float()
        for layer in self.layers[:-1]:
            x = run(layer, self.recompute, x, layout)
        return run(self.layers[-1], self.recompute, x, layout, kept).to(precision)


class Stack(nn.Module):
    """`layernorm_embedding`, layers, final norm. Takes embedded states: the text encoder and the decoder embed ids first, the
    cross encoder does not."""

    def __init__(self, dim: int, heads: int, ffn: int, layers: int, dropout: float, decoder: bool = False):
        super().__init__()
        self.dropout, self.recompute = dropout, False
        self.layernorm_embedding = Norm(dim)
        self.layers = nn.ModuleList(Layer(dim, heads, ffn, dropout, decoder) for _ in range(layers))
        self.layer_norm = Norm(dim)

    def forward(
        self, x: Tensor, layout: Layout, memory: Tensor | None = None, memory_layout: Layout | None = None, kept: Kept | None = None
    ) -> Tensor:
        """States of all tokens, or of those that are `kept`, to which the last layer then confines itself."""
        x = kernels.dropout(self.layernorm_embedding(x), self.dropout, self.training).float()  # the residual stream
        for layer in self.layers[:-1]:
            x = run(layer, self.recompute, x, layout, memory, memory_layout)
        return self.layer_norm(run(self.layers[-1], self.recompute, x, layout, memory, memory_layout, kept))


def run(layer: nn.Module, recompute: bool, *inputs: Any) -> Tensor:
    """The layer's states; with `recompute` (activation checkpointing) only its inputs are kept, and the backward runs it again with the
    same dropout."""
    if recompute and torch.is_grad_enabled():
        out: Tensor = checkpoint(layer, *inputs, use_reentrant=False)
    else:
        out = layer(*inputs)
    return out


class Positions(nn.Module):
    """Learned positions of one stack."""

    def __init__(self, dim: int, longest: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(longest + POSITION_OFFSET, dim))

    def forward(self, layout: Layout) -> Tensor:
        """(T, D). The gradient adds up in fp32: every row of a batch has a position 0, and on a CPU PyTorch's own would add in bf16."""
        out: Tensor = Embedding.apply(layout.positions + POSITION_OFFSET, self.weight)
        return out


def embed(ids: Tensor, weight: Tensor, scale: bool = True) -> Tensor:
    """Token embeddings (T, D), scaled by sqrt(D) as mBART's `scale_embedding`; XLM-R does not scale."""
    embedded: Tensor = Embedding.apply(ids, weight)
    return embedded * math.sqrt(weight.shape[1]) if scale else embedded
