"""The triton kernels interpreted on a CPU, in a process of its own: TRITON_INTERPRET=1 must be set before triton is imported.

Prints, as JSON, what went wrong by backend.
"""

from __future__ import annotations

import json
import sys
import traceback

import torch

from tests.pretrain.kernels.token_losses import check, check_held_gradient

CPU = torch.device('cpu')
# Tokens that are more than our kernel's block. Liger's has one block for all tokens, and interprets a program for each in the backward.
MANY = {'triton': 5_000, 'liger': 150}

if __name__ == '__main__':
    problems = {}
    for name in sys.argv[1:]:
        try:
            for precision in ('fp32', 'bf16'):
                check(name, CPU, precision, MANY[name])
            if name == 'triton':
                check_held_gradient(CPU)
        except Exception:
            problems[name] = traceback.format_exc()
    print(json.dumps(problems))
