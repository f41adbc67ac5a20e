"""Settings of a fine-tuning, beside those that it shares with pre-training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pretrain.config.section import Folder, Section
from shards.errors import UserError
from shards.languages import canonical


def _canonical(code: str) -> str:
    try:
        return canonical(code)
    except UserError as error:
        raise ValueError(str(error)) from None


Language = Annotated[str, AfterValidator(_canonical)]  # in any spelling; what reads a result has one to look for
Benchmark = Literal['multi30k-retrieval', 'multi30k-translation', 'coco', 'coco-cn', 'xvnli', 'xgqa']


class FineTune(Section):
    benchmark: Benchmark = Field(description='what is learned')
    model: Folder = Field(description='folder of the run or export that it starts from')
    data: Folder = Field(description='folder of the benchmark, in its own layout')
    images: Folder | None = Field(None, description='folder of its pictures; none: DATA/images')
    languages: Annotated[list[Language], AfterValidator(lambda codes: list(dict.fromkeys(codes)))] = Field(
        default_factory=lambda: ['en'],
        min_length=1,
        description='languages that are trained on, in any spelling; of translations: those translated into',
    )
    source: Language = Field('en', description='of translations: the language that is translated from')
    classes: list[str] = Field(default_factory=list, description='names of the classes, in the order of their scores; the data has them')
    text_only: bool = Field(
        False, description='of classes and translations: without pictures, trained and tested; the floor that pictures must beat'
    )
    epochs: float = Field(10, gt=0, description='passes over the training set; `steps` follows from it, unless it is given')
    patience: int = Field(
        3, ge=0, description='evaluations on the development set without a better one after which the training ends; 0: it never does'
    )
