"""The published sizes, on models without memory."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from pretrain.config import load_config
from pretrain.model.unix2 import UniX2

ROOT = Path(__file__).parents[3]
VOCABULARY = 250_027 + 351  # docs/method.md's: mBART-cc25's, and the codes that were appended when it was written


def full_size(name: str) -> UniX2:
    with torch.device('meta'):
        return UniX2(load_config(ROOT / f'configs/{name}.yaml').model, VOCABULARY)


def test_paper_has_the_parameters_that_the_docs_itemise() -> None:
    model = full_size('paper')
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    table = (ROOT / 'docs/method.md').read_text().partition('## Parameters of configs/paper.yaml')[2].partition('python -c')[0]
    rows = re.findall(r'^\| (.+) \| \**([\d,]+)\** \|$', table, re.MULTILINE)
    documented = {names: int(number.replace(',', '')) for names, number in rows}
    assert documented.pop('**all**') == sum(counts.values()) == sum(documented.values()) == 850_724_108
    for names, number in documented.items():
        parts = re.findall(r'`(\w+)`', names)
        assert parts and number == sum(count for name, count in counts.items() if name.partition('.')[0] in parts), names


def test_layers_have_the_parameters_of_their_formulas() -> None:
    """Attention 4 (d d + d), feed-forward 2 d f + d + f, norms 2 d."""
    for name, d, f, cross in (('paper', 1024, 4096, 12), ('comparable', 768, 3072, 6)):
        model = full_size(name)
        attention, rest = 4 * (d * d + d) + 2 * d, 2 * d * f + d + f + 2 * d
        norms = 2 * 2 * d if name == 'paper' else 0
        assert sum(parameter.numel() for parameter in model.cross_encoder.parameters()) == cross * (attention + rest) + norms
        assert sum(parameter.numel() for parameter in model.decoder.parameters()) == cross * (2 * attention + rest) + 4 * d
    assert sum(parameter.numel() for parameter in full_size('comparable').parameters()) == 422_479_884
