from __future__ import annotations

import torch

from pretrain.kernels.workspace import Workspace

CPU = torch.device('cpu')


def test_a_named_buffer_is_the_same_memory_and_grows() -> None:
    workspace = Workspace()
    first = workspace.buffer('a', (4, 6), torch.float32, CPU)
    assert workspace.buffer('a', (3, 8), torch.float32, CPU).data_ptr() == first.data_ptr()
    assert workspace.buffer('a', (5, 6), torch.float32, CPU).shape == (5, 6)
    assert workspace.buffer('a', (4, 6), torch.bfloat16, CPU).dtype == torch.bfloat16


def test_what_is_taken_is_not_handed_out_again_before_it_is_given_back() -> None:
    workspace = Workspace()
    first = workspace.take((2, 3), torch.float32, CPU)
    second = workspace.take((2, 3), torch.float32, CPU)
    assert first.data_ptr() != second.data_ptr()
    workspace.give_back(first)
    assert workspace.take((3, 2), torch.float32, CPU).data_ptr() != first.data_ptr()
    assert workspace.take((2, 3), torch.float32, CPU).data_ptr() == first.data_ptr()
