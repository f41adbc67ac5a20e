"""The flags that `downstream coco` and `downstream coco-cn` share."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from downstream.tasks.arguments import finetuned, out_folder, positive, report, verb


def add_verbs(verbs: Any, benchmark: str, layout: str) -> None:
    """Adds `evaluate` and `finetune` of a benchmark, named as in downstream/coco.py."""
    text = 'write captions by beam search, and rank pictures and captions with the dual encoder; on several ranks under a launcher'
    add = verb(verbs, 'evaluate', text, partial(_evaluate, benchmark), layout, 'DATA-SPLIT[-PART]', None).add_argument
    add('--images', type=Path, metavar='DIR', help="folder that holds COCO's train2014/ and val2014/, if not DATA")
    add('--split', default='test', choices=('test', 'val', 'train'), metavar='SPLIT', help='test, val or train; default: %(default)s')
    add('--beams', type=positive, default=4, metavar='N', help="beams of the search; 1: greedy; default: %(default)s, the paper's")
    add('--only', choices=('captioning', 'retrieval'), metavar='PART', help='captioning or retrieval; default: both')
    tuned = 'fine-tune the whole model to write captions, select on the development set, test its captions'
    finetuned(verbs, tuned, layout, None, "folder that holds COCO's train2014/ and val2014/, if not DATA")


def _evaluate(benchmark: str, options: argparse.Namespace) -> None:
    from downstream import coco

    part = f'-{options.only}' if options.only else ''  # beside the result of both, not in its place
    out = out_folder(options, f'{options.data.resolve().name}-{options.split}{part}')
    parts = [options.only] if options.only else coco.PARTS
    kind = getattr(coco, benchmark)
    result = coco.evaluate(kind, options.model, options.data, out, options.split, options.images, options.beams, parts)
    report(coco.show, result, out)
