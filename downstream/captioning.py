"""Captions written for pictures and scored: what COCO and COCO-CN have in common (paper, Table 2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from downstream.files import write_text
from downstream.generate import Example, generate
from downstream.metrics.captions import METRICS, Tokens, score_captions
from pretrain.evaluation.multi30k import Split
from pretrain.generation import Decoding
from pretrain.model.load import Loaded
from shards.tables import table

DECODING = Decoding(beams=4, max_tokens=50)
FILE = 'captions.jsonl'


def write_captions(loaded: Loaded, split: Split, language: str, decoding: Decoding) -> list[str]:
    """A caption in `language` for every picture of the split, without line ends; the same on every rank."""
    examples = [Example(None, language, language, path) for path in split.paths]
    return [' '.join(text.split()) for text in generate(loaded, examples, decoding, f'captions of {split.root.name}')]


def references_of(split: Split, language: str) -> list[list[str]]:
    """Each picture's captions."""
    captions = split.captions[language]
    found: list[list[str]] = [[] for _ in split.names]
    for text, row in zip(captions.texts, captions.rows, strict=True):
        found[row].append(text)
    return found


def save_captions(out: Path, split: Split, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """OUT/captions.jsonl: a line a picture, with its file, what was written and what it is compared with."""
    rows = zip(split.names, split.paths, hypotheses, references, strict=True)
    lines = [{'picture': name, 'path': str(path.resolve()), 'caption': text, 'references': own} for name, path, text, own in rows]
    write_text(out / FILE, ''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in lines))


def scores_of(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], ways: Sequence[Tokens], spice: bool, paper: dict[str, float]
) -> dict[str, Any]:
    """{'tokens': {how the texts were cut: scores}, 'empty': empty captions, 'paper': the paper's figures in percent}."""
    scored = {way.name: score_captions(hypotheses, references, way, spice) for way in ways}
    return {'references': sum(map(len, references)), 'empty': sum(not text for text in hypotheses), 'tokens': scored, 'paper': paper}


def captions_table(scores: dict[str, Any]) -> str:
    """The scores times 100 beside the paper's; n/a with its reason."""
    paper = {'BLEU-4': 'B4', 'METEOR': 'METEOR', 'ROUGE-L': 'ROUGE', 'CIDEr': 'CIDEr', 'SPICE': 'SPICE'}
    rows = [
        [name, *('n/a' if found[metric] is None else f'{100 * found[metric]:.1f}' for metric in METRICS)]
        for name, found in scores['tokens'].items()
    ]
    theirs = (scores['paper'].get(paper[metric]) for metric in METRICS)
    rows += [[''], ['paper', *('' if figure is None else f'{figure:.1f}' for figure in theirs)]]
    reasons = {f'{metric} {why}' for found in scores['tokens'].values() for metric, why in found['unavailable'].items()}
    return '\n'.join([table(['tokens', *METRICS], rows), *sorted(reasons)])
