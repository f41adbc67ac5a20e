"""The zero-shot retrieval curve of a run: a small Multi30k-like set, ranked by the dual encoder at every evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from pretrain.config import Config
from pretrain.data.batch import Texts
from pretrain.data.images import named_image
from pretrain.data.sequences import encoder_input
from pretrain.engine.zero import Engine
from pretrain.evaluation.multi30k import Split, read_split
from pretrain.evaluation.retrieval import image_to_text, text_to_image
from pretrain.model.unix2 import UniX2
from shards.errors import UserError
from shards.tokenizer import Tokenizer

Curve = dict[str, dict[str, list[float]]]
MICRO = 256


def retrieval_split(config: Config) -> Split | None:
    """The configured set, read once; None when there is none. Raises UserError for a folder that does not hold it."""
    options = config.eval.retrieval
    return None if options.data is None else _read(options.data, options.split, tuple(options.languages))


@lru_cache(1)
def _read(data: str, split: str, languages: tuple[str, ...]) -> Split:
    try:
        return read_split(Path(data), split, list(languages) or None)
    except UserError as error:
        raise UserError(f'eval.retrieval.data={data}, .split={split}, .languages=[{", ".join(languages)}]: {error}') from None


def retrieval_curve(engine: Engine, config: Config, tokenizer: Tokenizer, tell: Callable[[str], object]) -> Curve | None:
    """What `rank_split` gives for the configured set; None when there is none. Raises UserError as it does."""
    split = retrieval_split(config)
    return None if split is None else rank_split(engine, config, tokenizer, split, tell)


@torch.no_grad()
def rank_split(engine: Engine, config: Config, tokenizer: Tokenizer, split: Split, tell: Callable[[str], object]) -> Curve:
    """{language: {'text_to_image': [R@1, R@5, R@10], 'image_to_text': […]}}. Languages are shared among ranks.

    Embeddings that are not finite are misses, of which `tell` hears on the rank that has them: whether a run ends or goes back is not for
    an evaluation to say. Raises UserError, on every rank, for a picture that cannot be read or decoded.
    """
    model: UniX2 = engine.module
    model.eval()
    size = config.model.visual.image_size
    pictures = torch.stack([named_image(split.picture(row), size, path) for row, path in enumerate(split.paths)])
    images = torch.cat([model.image_features(part.to(engine.device)).cpu() for part in pictures.split(MICRO)]).numpy()
    if engine.rank == 0:
        _tell_diverged(images, f'{split.root} (pictures)', tell)
    local: Curve = {}
    for language in sorted(split.captions)[engine.rank :: engine.world]:
        captions = split.captions[language]
        rows = [encoder_input(ids, tokenizer, language, config.data.caption_tokens) for ids in tokenizer.encode_batch(captions.texts)]
        texts = []
        for start in range(0, len(rows), MICRO):
            part = rows[start : start + MICRO]
            ids = torch.tensor([token for row in part for token in row], device=engine.device)
            texts.append(model.text_features(Texts(ids, torch.tensor([len(row) for row in part]))).cpu())
        embedded, owners = torch.cat(texts).numpy(), torch.tensor(captions.rows).numpy()
        _tell_diverged(embedded, f'{split.root} ({language})', tell)
        local[language] = {
            'text_to_image': list(text_to_image(embedded, images, owners).values()),
            'image_to_text': list(image_to_text(images, embedded, owners).values()),
        }
    model.train()
    every: list[Curve] = [{}] * engine.world
    dist.all_gather_object(every, local)
    return dict(sorted((language, recall) for part in every for language, recall in part.items()))


def _tell_diverged(embedded: NDArray[np.float32], what: str, tell: Callable[[str], object]) -> None:
    wrong = int((~np.isfinite(embedded).all(1)).sum())
    if wrong:
        tell(f'{wrong} of {len(embedded)} embeddings of {what} are not finite: the model has diverged; they count as misses')
