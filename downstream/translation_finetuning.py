"""Multi30k's translation (paper, section 4.4), fine-tuned: the whole model, source and picture to target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from downstream import multi30k_translation
from downstream.data.captioned import CaptionRows
from downstream.generate import Example
from downstream.metrics.bleu import sacre_bleu
from downstream.recipes import RECIPES
from downstream.writing import Writing
from pretrain.config import FineTune
from pretrain.evaluation.multi30k import Split, read_split
from shards.errors import UserError
from shards.languages import canonical

TEST = 'test_2016_flickr'


class Translation(Writing):
    """Task 1's captions, which are each other's translations."""

    name = 'multi30k-translation'
    task = 'translation'
    recipe = RECIPES[name]
    score = 'BLEU'
    decoding = multi30k_translation.DECODING

    def __init__(self, options: FineTune) -> None:
        super().__init__(options)
        self.origin, self.targets = options.source, options.languages
        if self.origin in self.targets:
            raise UserError(f'finetune.languages names {self.origin}, which finetune.source translates from; name what it translates into')
        self.train, self.dev = (self._read(split, self.targets) for split in ('train', 'val'))
        self.captions = CaptionRows(self.train, self.targets)

    def _read(self, split: str, targets: list[str]) -> Split:
        return read_split(self.data, split, [self.origin, *targets], self.images, translations=True, pictures=not self.options.text_only)

    def source(self, split: Split, picture: int, target: str) -> Example:
        path = split.paths[picture] if split.paths else None
        return Example(split.captions[self.origin].texts[picture], self.origin, target, path)

    def judge(self, written: list[str], target: str) -> float:
        """sacreBLEU, smoothed: the literature's figure is 0 as long as no four words in a row are right, and then no model is the best."""
        return float(sacre_bleu(written, self.dev.captions[target].texts, target)['score']) / 100

    def tested(self, languages: list[str] | None) -> tuple[list[str], dict[str, Any]]:
        targets = self._tested(languages)
        flags = ['--source', self.origin, *(['--text-only'] if self.options.text_only else []), '--languages', *targets]
        return flags, {'sha256': self._read(TEST, targets).sha256()}

    def test(self, model: Path, out: Path, languages: list[str] | None) -> None:
        multi30k_translation.evaluate(
            model, self.data, out, TEST, self.origin, self._tested(languages), self.images, self.options.text_only
        )

    def show(self, result: dict[str, Any]) -> str:
        return multi30k_translation.show(result)

    def _tested(self, languages: list[str] | None) -> list[str]:
        return [*map(canonical, languages or self.targets)]
