"""What the peer of the step benchmark computes on: its own functions and constants, taken from its source without running its training, and
compared with what ours is given, tensor by tensor."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MBartConfig

from benchmarks.parts.step_batches import step_data
from pretrain.data.batch import TaskBatch, Texts

PEER = Path(__file__).resolve().parents[1] / 'peers/straightforward_step.py'
FUNCTIONS, CONSTANTS = ('texts', 'batch'), ('IMAGE', 'TASKS')
IGNORED = -100  # the peer's, of a place that is no target


class Peer:
    """The peer's `texts`, `batch`, `IMAGE` and `TASKS`, and the configuration of its layers, for the flags `a`."""

    def __init__(self, a: argparse.Namespace):
        found: dict[str, Any] = {'torch': torch, 'a': a, 'MBartConfig': MBartConfig}
        tree = ast.parse(PEER.read_text(encoding='utf8'))
        taken: list[ast.stmt] = [node for node in tree.body if _name(node) in (*FUNCTIONS, *CONSTANTS)]
        taken += [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
                  and isinstance(node.value.func, ast.Name) and node.value.func.id == 'MBartConfig']  # fmt: skip
        exec(compile(ast.Module(taken, []), str(PEER), 'exec'), found)
        self.batch, self.image, self.tasks = found['batch'], found['IMAGE'], list(found['TASKS'])
        self.config = found['c']

    @property
    def dropout(self) -> dict[str, float]:
        """Of a layer's outputs, of its attention, and between the two products of its feed-forward part."""
        return {name: getattr(self.config, name) for name in ('dropout', 'attention_dropout', 'activation_dropout')}


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def check_batches(a: argparse.Namespace, peer: Peer) -> dict[str, int]:
    """Draw the batches of all steps as both programs do. Returns what they have in common: the mean tokens, targets and pictures of a step.

    Raises ValueError that names what differs.
    """
    theirs, own = (torch.Generator().manual_seed(1) for _ in range(2))
    counts = {'tokens': 0, 'targets': 0, 'pictures': 0}
    for _ in range(a.steps + 1):
        batches = {task: peer.batch(theirs, task) for task in peer.tasks}
        data = step_data(own, a)
        if [*data] != peer.tasks:
            raise ValueError(f'tasks differ: the peer has {" ".join(peer.tasks)}, ours {" ".join(data)}')
        for task, micro_batches in data.items():
            if len(micro_batches) != 1:
                raise ValueError(f'{task} has {len(micro_batches)} micro-batches, the peer one')
            for name, count in _compare(task, batches[task], micro_batches[0], a.share_images).items():
                counts[name] += count
    return {name: round(count / (a.steps + 1)) for name, count in counts.items()}


def _compare(task: str, theirs: dict[str, Tensor], own: TaskBatch, shared: bool) -> dict[str, int]:
    """Tokens, targets and pictures of a batch. With `shared` the pictures are other ones, but as many of the same size."""
    wanted, found = _of_peer(task, theirs), _of_ours(own)
    for name in {**wanted, **found}:
        one, other = wanted.get(name), found.get(name)
        if one is None or other is None or (one.shape != other.shape if shared and name == 'pictures' else not torch.equal(one, other)):
            raise ValueError(f'{task}: {name} differ')
    tokens = sum(len(part.ids) for part in (own.text, own.other, own.decoder_input) if part is not None)
    return {'tokens': tokens, 'targets': own.targets, 'pictures': 0 if own.images is None else len(own.images)}


def _of_peer(task: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the peer's `forward` reads of a batch, packed as ours is."""
    present, other = batch['mask'].bool(), batch['mask2'].bool()
    found = {'text': batch['ids'][present], 'lengths of text': present.sum(1)}
    if 'image' in batch:
        found['pictures'] = (batch['image'] * 64 + 128).clamp(0, 255).to(torch.uint8)
    if task == 'clcl':
        found |= {'other': batch['ids2'][other], 'lengths of other': other.sum(1)}
    if task == 'itm':
        found['match'] = batch['match']
    if task in ('mlm', 'mmmt'):
        targets = batch['mlm'] != IGNORED
        found |= {'masked': targets[present].nonzero().squeeze(1), 'masked_labels': batch['mlm'][targets]}
    if task in ('plm', 'vplm', 'mt', 'mmmt'):
        targets = batch['target'] != IGNORED
        shifted = torch.roll(batch['target'], 1, 1)  # as its `decode`
        shifted[:, 0] = 2
        found |= {'decoder_input': shifted[targets], 'lengths of decoder_input': targets.sum(1), 'labels': batch['target'][targets]}
    return found


def _of_ours(batch: TaskBatch) -> dict[str, Tensor]:
    found = {name: getattr(batch, name) for name in ('match', 'masked', 'masked_labels', 'labels')} | {'pictures': batch.images}
    for name in ('text', 'other', 'decoder_input'):
        texts: Texts | None = getattr(batch, name)
        found |= {} if texts is None else {name: texts.ids, f'lengths of {name}': texts.lengths}
    return {name: tensor for name, tensor in found.items() if tensor is not None}
