"""Settings of the data: shards, tokenizer, mixture, lengths, augmentation."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from pretrain.config.section import Folder, Section
from shards.schema import KINDS

PICTURES = [corpus for corpus, kind in KINDS.items() if kind == 'pictures']


def _known(corpus: str) -> str:
    if corpus not in PICTURES:
        raise ValueError(f'{corpus!r} is no picture corpus; there are {", ".join(PICTURES)}')
    return corpus


Pictures = Annotated[str, AfterValidator(_known)]


class Data(Section):
    shards: Folder = Field('data/shards', description='folder that holds <corpus>/<split>/… as data_pipeline builds it')
    tokenizer: Folder = Field('data/tokenizer', description='folder of the tokenizer; its fingerprint must be that of the text shards')
    cache: Folder | None = Field(
        None,
        description='folder for decompressed copies of compressed shards, as large as they are, and for notes of what was verified; '
        'none: one in the temporary folder',
    )
    pictures: list[Pictures] = Field(
        default_factory=lambda: ['cc3m', 'cc12m', 'wit'], min_length=1, description='picture corpora to train on; each must be there'
    )
    accept_removals: bool = Field(
        False, description='go on from a checkpoint though pictures were removed from the shards since: the rest comes in another order'
    )
    workers: int = Field(4, ge=0, description='loader processes per rank; the batches do not depend on it')
    prefetch: int = Field(2, ge=1, description='steps that each worker prepares ahead')
    caption_tokens: int = Field(64, ge=4, description='longest caption, special tokens included')
    text_tokens: int = Field(128, ge=4, description='longest text of CC100 and OPUS, special tokens included')
    language_alpha: float = Field(
        0.7,
        ge=0,
        le=1,
        description='languages are drawn with p proportional to n^alpha, n: captions, tokens (CC100), pairs (OPUS); mBART 0.7, XLM-R 0.3',
    )
    corpus_alpha: float = Field(
        1.0,
        ge=0,
        le=1,
        description='picture corpora are drawn with p proportional to n^alpha, n: records that the task can use (1: by size)',
    )
    block: int = Field(1024, gt=0, description='positions of a task in which every stream has a fixed quota')
    shuffle_shards: int = Field(
        8,
        gt=0,
        description='shards in a window of the block shuffle: samples are mixed, and files read, within so many of a stream at a time',
    )
    augment_min_scale: float = Field(
        0.8,
        gt=0,
        le=1,
        description="smallest share of the largest square's area that a random crop keeps; 1: the centred square, no cropping",
    )
    augment_aspect: float = Field(
        0.1, ge=0, le=1, description="a random crop's sides differ by up to this share (to be exact, their ratio lies between e^-a and e^a)"
    )
    augment_flip: float = Field(0.0, ge=0, le=1, description='probability of a mirror image (captions name left and right, so 0)')
    augment_colour: float = Field(
        0.0, ge=0, le=1, description='brightness and contrast vary by up to this share, each channel by half of it'
    )
