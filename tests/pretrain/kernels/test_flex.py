"""The blocks that FlexAttention is told of, against those that PyTorch finds in the matrix of all pairs. Its results: test_parity.py."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from pretrain.kernels import flex
from pretrain.kernels.attention import BACKENDS
from pretrain.model.packed import Layout

LENGTHS = ([3], [128, 128], [1] * 300, [130, 1, 500, 7, 128, 64, 64, 3], [90] * 9)
OTHERS = ([700], [1, 5], [2] * 300, [40, 300, 1, 128, 128, 60, 4, 2], [50] * 9)


def blocks(numbers: Tensor | None, indices: Tensor | None) -> set[tuple[int, int]]:
    """(block of queries, block of keys) of a mask's lists."""
    if numbers is None or indices is None:
        return set()
    return {(row, int(column)) for row, number in enumerate(numbers[0, 0]) for column in indices[0, 0, row, :number]}


@pytest.mark.parametrize('kind', ['self', 'causal', 'cross'])
@pytest.mark.parametrize('number', range(len(LENGTHS)))
def test_blocks_are_those_with_a_pair_of_one_row(number: int, kind: str) -> None:
    layout = Layout.of(torch.tensor(LENGTHS[number]), 'cpu')
    memory = Layout.of(torch.tensor(OTHERS[number]), 'cpu') if kind == 'cross' else layout
    ours = flex.mask_of(layout, memory, kind == 'causal')
    theirs = create_block_mask(ours.mask_mod, None, None, layout.tokens, memory.tokens, device='cpu')
    assert ours.BLOCK_SIZE == theirs.BLOCK_SIZE and ours.seq_lengths == theirs.seq_lengths and ours.shape == theirs.shape
    by_query = blocks(theirs.kv_num_blocks, theirs.kv_indices) | blocks(theirs.full_kv_num_blocks, theirs.full_kv_indices)
    by_key = blocks(theirs.q_num_blocks, theirs.q_indices) | blocks(theirs.full_q_num_blocks, theirs.full_q_indices)
    assert blocks(ours.kv_num_blocks, ours.kv_indices) == by_query
    assert blocks(ours.q_num_blocks, ours.q_indices) == by_key


@pytest.mark.filterwarnings('ignore:flex_attention called without torch.compile')
def test_layers_of_a_stack_share_a_mask() -> None:
    """And no matrix of all pairs is made for it."""
    attention = next(backend for backend in BACKENDS if backend.name == 'flex').load()
    layout = Layout.of(torch.tensor([5, 150, 9]), 'cpu')
    with (
        patch.object(flex, 'BlockMask', wraps=flex.BlockMask) as made,
        patch('torch.nn.attention.flex_attention.create_block_mask') as whole,
    ):
        for _ in range(3):
            attention(torch.randn(layout.total, 3 * 32), 2, layout, False)
    assert made.from_kv_blocks.call_count == 1 and not whole.called
