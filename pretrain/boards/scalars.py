"""The figures of a run's lines by the names that every board shows them under. Numbers that are not there, or not finite, are left out."""

from __future__ import annotations

import math
from typing import Any

PLAIN = ('lr', 'grad_norm', 'data_wait', 'utilisation', 'logit_scale', 'seconds')
BY_NAME = {'loss': 'loss', 'task_samples_per_s': 'samples_per_s', 'tokens': 'tokens', 'examples': 'examples'}  # field -> group
Scalars = dict[str, float]


def of_metrics(line: dict[str, Any]) -> Scalars:
    """Of a line of metrics.jsonl: `loss/TASK`, `samples_per_s/TASK`, `tokens/LANGUAGE`, `lr`, `temperature`, …"""
    found = {name: line.get(name) for name in PLAIN}
    for field, group in BY_NAME.items():
        found |= {f'{group}/{name}': value for name, value in line.get(field, {}).items()}
    found['samples_per_s/total'] = line.get('samples_per_s')  # in a folder of MLflow's a name is a file: it cannot be a group as well
    if scale := line.get('logit_scale'):
        found['temperature'] = 1 / scale
    if 'skipped' in line:
        found['skipped'] = float(line['skipped'])
    return numbers(found)


def of_evaluation(line: dict[str, Any]) -> Scalars:
    """Of a line of evaluation.jsonl: `heldout/TASK`, `heldout_TASK/LANGUAGE`, `accuracy/TASK`, `retrieval_r10/LANGUAGE` (text to
    image), `retrieval_i2t_r10/LANGUAGE` (image to text); of a fine-tuning `dev/LANGUAGE`.
    """
    found = {f'dev/{language}': score for language, score in line.get('dev', {}).items()}
    for task, report in line.get('heldout', {}).items():
        found[f'heldout/{task}'] = report['mean']
        found |= {f'heldout_{task}/{language}': loss for language, loss in report['languages'].items()}
        found[f'accuracy/{task}'] = report.get('accuracy')
    for language, recall in (line.get('retrieval') or {}).items():
        found[f'retrieval_r10/{language}'] = recall['text_to_image'][2]
        found[f'retrieval_i2t_r10/{language}'] = recall['image_to_text'][2]
    return numbers(found)


def of_event(line: dict[str, Any]) -> Scalars:
    """Of a checkpoint: `checkpoint/seconds` until it was published, and `checkpoint/stall`, which training stood still for."""
    if line.get('event') != 'checkpoint':
        return {}
    return numbers({f'checkpoint/{name}': line.get(name) for name in ('seconds', 'stall')})


def numbers(found: dict[str, Any]) -> Scalars:
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}
