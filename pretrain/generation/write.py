"""Texts for a batch: encode, fuse with the pictures, search, decode."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pretrain.data.batch import Texts
from pretrain.data.sequences import Sequences
from pretrain.generation.beam import Decoding, search
from pretrain.model.unix2 import UniX2
from shards.tokenizer import Tokenizer


@torch.no_grad()
def write(
    model: UniX2, tokenizer: Tokenizer, texts: Texts, languages: Sequence[str],
    images: Tensor | None = None, image_rows: Tensor | None = None, decoding: Decoding | None = None,
) -> list[str]:  # fmt: skip
    """A text in languages[i] for row i of `texts`, the encoder's sequences, with pictures as `UniX2.fuse` takes them.

    A caption is written from a row without pieces, `Sequences.encoder_input([], language)`, and its picture; a translation from the
    source in its own language, with a picture or without. What does not fit `model.max_positions` is not written. Raises UserError for
    a language without a code, and Diverged, which is one, as `search` does.
    """
    sequences = Sequences(tokenizer)
    prompts = torch.tensor([sequences.prompt(language) for language in languages], device=texts.ids.device)
    decoding = (decoding or Decoding()).within(model.config.max_positions, prompts.shape[1])
    was_training = model.training
    model.eval()
    try:
        written = search(model, model.fuse(texts, images, image_rows), prompts, decoding)
    finally:
        model.train(was_training)
    return [tokenizer.decode(ids) for ids in written.ids]
