"""FlexAttention with a mask by row. Compiled on a GPU, where its first calls take a minute; as it is on a CPU (forward only)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from pretrain.model.packed import Layout

BLOCK = 128  # tokens, of queries and of keys: FlexAttention's own


def kernel() -> Callable[[Tensor, Tensor, Tensor, Layout, Layout, bool], Tensor]:
    """(q (T, H, d), k (S, H, d), v, layout, memory_layout, causal) -> (T, H, d)."""
    compiled: Any = torch.compile(flex_attention, dynamic=True)

    def attention(q: Tensor, k: Tensor, v: Tensor, layout: Layout, memory: Layout, causal: bool) -> Tensor:
        function = compiled if q.is_cuda else flex_attention
        out: Tensor = function(*(x.transpose(0, 1)[None] for x in (q, k, v)), block_mask=mask_of(layout, memory, causal))
        return out[0].transpose(0, 1)

    return attention


@lru_cache(maxsize=8)
def mask_of(layout: Layout, memory: Layout, causal: bool) -> BlockMask:
    """The pairs of tokens of the same row; `causal`, for which both layouts are the same: those not after the query. All layers of a stack
    ask it, and their recomputation.

    The blocks are found on the host from where rows begin. For that PyTorch's create_block_mask would make the matrix of all pairs, on the
    device.
    """
    device = layout.index.device
    query_rows, key_rows = layout.row_of_token, memory.row_of_token

    def together(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = query_rows[query] == key_rows[key]
        return same & (key <= query) if causal else same  # causal is self-attention: places in the packed tensor compare

    # Rows lie in order in both tensors: the keys of a block of queries are one piece, from its first row's first to its last row's last.
    ends = layout.lengths.cumsum(0)
    first_query = torch.arange(0, layout.tokens, BLOCK)
    last_query = (first_query + BLOCK).clamp(max=layout.tokens) - 1
    first_row, last_row = torch.searchsorted(ends, first_query, right=True), torch.searchsorted(ends, last_query, right=True)
    key_ends = memory.lengths.cumsum(0)
    first = (key_ends - memory.lengths)[first_row] // BLOCK
    last = (last_query if causal else key_ends[last_row] - 1) // BLOCK
    count = last - first + 1
    blocks = torch.arange(-(-memory.tokens // BLOCK))
    indices = (first[:, None] + blocks).clamp(max=len(blocks) - 1)  # of each only the first `count` are looked at
    numbers = (count[None, None].int(), indices[None, None].int())
    mask = BlockMask.from_kv_blocks(*numbers, BLOCK_SIZE=BLOCK, mask_mod=together, seq_lengths=(layout.tokens, memory.tokens))
    return mask.to(device)
