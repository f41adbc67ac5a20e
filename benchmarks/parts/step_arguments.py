"""The flags of the step benchmark: the peer's own, with the peer's defaults, and how ours runs."""

from __future__ import annotations

import argparse

from shards.arguments import Parser

MODES = {True: 'all tasks together', False: 'one task after the other'}  # batch.together


def parser(description: str | None, threads: bool = True) -> Parser:
    """Flags of benchmarks/peers/straightforward_step.py, but for `--threads` if not wanted, and `--apart`, which it has not."""
    out = Parser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = out.add_argument
    add('--dim', type=int, default=256, help='width of text, cross and decoder layers')
    add('--layers', type=int, default=4, help='layers of each of the three')
    add('--heads', type=int, default=4, help='attention heads')
    add('--vocab', type=int, default=32000, help='token ids')
    add('--batch', type=int, default=16, help='samples of a task and step')
    add('--caption', type=int, default=32, help='longest caption, tokens')
    add('--text', type=int, default=96, help='longest text, tokens')
    add('--image', type=int, default=64, help='side of the pictures, pixels')
    add('--patch', type=int, default=8, help='side of a patch')
    add('--vit-dim', type=int, default=192, help='width of the visual encoder')
    add('--vit-layers', type=int, default=6, help='layers of the visual encoder')
    add('--vit-heads', type=int, default=3, help='heads of the visual encoder')
    add('--steps', type=int, default=6, help='timed steps of a process, after one to warm up')
    add('--apart', action='store_true', help='ours runs one task after the other, batch.together=false, as configs/paper.yaml has it')
    add('--bf16', action='store_true', help='bf16 in both; without it fp32')
    if threads:
        add('--threads', type=int, default=0, help='threads of both; 0: as many as cores')
    return out
