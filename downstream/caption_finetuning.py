"""COCO's and COCO-CN's captioning (paper, section 4.4), fine-tuned: the whole model, picture to caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from downstream import captioning, coco
from downstream.data.captioned import CaptionRows
from downstream.generate import Example
from downstream.metrics.captions import cider
from downstream.recipes import RECIPES
from downstream.writing import Writing
from pretrain.config import FineTune
from pretrain.evaluation.multi30k import Split
from shards.errors import UserError


class Captioning(Writing):
    """Every caption of a training picture is an example."""

    task = 'captioning'
    score = 'CIDEr'
    decoding = captioning.DECODING
    kind: ClassVar[coco.Benchmark]

    def __init__(self, options: FineTune) -> None:
        super().__init__(options)
        if options.text_only:
            raise UserError('finetune.text_only: there is no captioning without pictures; leave it out')
        self.targets = [self.kind.language]
        if options.languages != self.targets:
            raise UserError(f'finetune.languages = {options.languages}: {self.name} has captions in {self.targets[0]} alone; leave it out')
        self.train, self.dev = (self.kind.read(self.data, split, self.images) for split in ('train', 'val'))
        self.captions = CaptionRows(self.train)

    def source(self, split: Split, picture: int, target: str) -> Example:
        return Example(None, target, target, split.paths[picture])

    def judge(self, written: list[str], target: str) -> float:
        """CIDEr, which grows with every right word; its document frequencies are of the development set's references."""
        texts = [' '.join(text.split()) for text in written]
        return cider(texts, captioning.references_of(self.dev, target), self.kind.tokens()[0])

    def tested(self, languages: list[str] | None) -> tuple[list[str], dict[str, Any]]:
        return ['--only', 'captioning'], {'sha256': self.kind.read(self.data, 'test', self.images).sha256()}

    def test(self, model: Path, out: Path, languages: list[str] | None) -> None:
        coco.evaluate(self.kind, model, self.data, out, images=self.images, parts=('captioning',))

    def show(self, result: dict[str, Any]) -> str:
        return coco.show(result)


class COCO(Captioning):
    """MSCOCO in Karpathy's split: English; trained on train and restval."""

    name, kind, recipe = 'coco', coco.COCO, RECIPES['coco']


class COCOCN(Captioning):
    """COCO-CN: Chinese."""

    name, kind, recipe = 'coco-cn', coco.COCO_CN, RECIPES['coco-cn']
