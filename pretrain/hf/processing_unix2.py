"""transformers' tokenizer, image processor and processor: the model's own preparation of texts and pictures.

The tokenizer is shards/tokenizer.py and not one of transformers' fast ones, since those lose the sentencepiece model's normaliser.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BaseImageProcessor, PreTrainedTokenizer, ProcessorMixin
from transformers.image_processing_base import BatchFeature

from pretrain.data.images import Picture, is_picture, read_picture
from pretrain.data.sequences import Sequences
from shards.errors import UserError
from shards.languages import token
from shards.tokenizer import DESCRIPTION, MODEL, Family, Tokenizer


class UniX2Tokenizer(PreTrainedTokenizer):
    """`tokenizer(text)` gives the encoder's sequence in `src_lang`. Special tokens are never found in a text."""

    vocab_files_names = {'vocab_file': MODEL, 'description_file': DESCRIPTION}  # noqa: RUF012
    model_input_names = ['input_ids', 'attention_mask']  # noqa: RUF012

    def __init__(self, vocab_file: str, description_file: str, family: Family = 'mbart-cc25', src_lang: str = 'en', **others: Any) -> None:
        self.files = vocab_file, description_file
        self.unix2 = Tokenizer.load(Path(vocab_file).parent, family)
        self.sequences, self.src_lang = Sequences(self.unix2), src_lang
        pieces = ['<s>', '<pad>', '</s>', '<unk>', *self.unix2.piece_list()[3:]]
        codes = {number: token(code) for code, number in self.unix2.languages.items()}
        names = dict(enumerate(pieces)) | codes | {self.unix2.mask: '<mask>'}
        self._tokens = [names[number] for number in range(self.unix2.vocabulary)]
        self._ids = {name: number for number, name in names.items()}
        special = {'bos_token': '<s>', 'pad_token': '<pad>', 'eos_token': '</s>', 'unk_token': '<unk>', 'mask_token': '<mask>'}
        super().__init__(**{**others, **special, 'family': family, 'src_lang': src_lang, 'split_special_tokens': True})

    @property
    def vocab_size(self) -> int:
        return self.unix2.vocabulary

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        if token_ids_1 is not None:
            raise UserError('this model takes one text a row, and no second one')
        return self.row(np.asarray(token_ids_0, np.int64), self.src_lang)

    def row(self, ids: np.ndarray[Any, np.dtype[np.int64]], language: str) -> list[int]:
        """The encoder's sequence. Raises UserError for a language without a code."""
        self.unix2.language(language)  # in a family without codes in the encoder, too
        sequence: list[int] = self.sequences.encoder_input(ids, language).tolist()
        return sequence

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Copies the sentencepiece model and its description."""
        return tuple(str(shutil.copyfile(file, Path(save_directory) / Path(file).name)) for file in self.files)

    def _tokenize(self, text: str, **others: Any) -> list[str]:
        return [self._tokens[number] for number in self.unix2.encode(text)]

    def _convert_token_to_id(self, name: str) -> int:
        return self._ids.get(name, self.unix2.unk)

    def _convert_id_to_token(self, index: int) -> str:
        return self._tokens[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return self.unix2.decode(self._convert_token_to_id(name) for name in tokens)

    def _decode(self, token_ids: int | list[int], skip_special_tokens: bool = False, *others: Any, **named: Any) -> str:
        """Language codes are special, too."""
        if skip_special_tokens:
            return self.unix2.decode([token_ids] if isinstance(token_ids, int) else token_ids)
        text: str = super()._decode(token_ids, False, *others, **named)
        return text


class UniX2ImageProcessor(BaseImageProcessor):
    """Pictures of any size -> pixel_values (N, 3, size, size) uint8: the largest centred square. Pixels are normalised by the model."""

    model_input_names = ['pixel_values']  # noqa: RUF012

    def __init__(self, size: int = 224, **others: Any) -> None:
        super().__init__(**others)
        self.size = size

    def preprocess(self, images: Picture | Sequence[Picture], **others: Any) -> BatchFeature:
        """Raises UserError for what is no picture, and for none."""
        pictures: Sequence[Any] = [images] if is_picture(images) else images  # type: ignore[assignment]
        if not len(pictures):
            raise UserError('no picture is given: images=[]; leave `images` out, or give one at least')
        return BatchFeature({'pixel_values': torch.stack([read_picture(picture, self.size) for picture in pictures])})

    def to_dict(self) -> dict[str, Any]:
        """Without `image_processor_type`, at which transformers would warn, when it reads it again, that this is no fast one."""
        return {name: value for name, value in super().to_dict().items() if name != 'image_processor_type'}


class UniX2Processor(ProcessorMixin):
    """Inputs of UniX2Model for every use:

    text, language                  sequences to embed, or for `forward`
    images                          pictures to embed
    images, target                  for `generate`: a caption in the language `target`
    text, language, target[, images]   for `generate`: a translation from `language` into `target`, with a picture a text or without
    """

    attributes = ['image_processor', 'tokenizer']  # noqa: RUF012
    image_processor: Any
    tokenizer: Any
    image_processor_class = 'AutoImageProcessor'
    tokenizer_class = 'AutoTokenizer'  # type: ignore[assignment]

    def __init__(self, image_processor: UniX2ImageProcessor, tokenizer: UniX2Tokenizer) -> None:
        super().__init__(image_processor, tokenizer)

    def __call__(  # type: ignore[override]
        self, images: Picture | Sequence[Picture] | None = None, text: str | Sequence[str] | None = None, language: str | None = None,
        target: str | None = None, *, return_tensors: str = 'pt', padding: bool | str = True, truncation: bool = True,
    ) -> BatchFeature:  # fmt: skip
        """Tensors by name. Texts are cut to the length of captions in training; what other processors of transformers are asked for by
        return_tensors='pt', padding=True, truncation=True is always done. Raises UserError for other values of these, for a language that
        the model has no code for, and for what is no picture.
        """
        if return_tensors != 'pt' or padding not in (True, 'longest') or truncation is not True:
            raise UserError("this processor gives padded, cut tensors of PyTorch alone: return_tensors='pt', padding=True, truncation=True")
        tokenizer, features = self.tokenizer, BatchFeature()
        if images is not None:
            features.update(self.image_processor(images))
        rows: list[list[int]] = []
        if text is not None:
            if language is None:
                raise UserError('name the language of the texts: language=…')
            texts = [text] if isinstance(text, str) else text
            if not texts or not all(isinstance(one, str) for one in texts):
                raise UserError(f'text={text!r}; give a string, or a list of them')
            rows = [tokenizer.row(tokenizer.sequences.caption(one, tokenizer.model_max_length), language) for one in texts]
        elif target is not None and images is not None:
            rows = [tokenizer.row(np.array([], np.int64), target)] * len(features['pixel_values'])
        if rows:
            features.update(tokenizer.pad({'input_ids': rows}, return_tensors='pt'))
        if target is not None:
            features['decoder_input_ids'] = torch.tensor([tokenizer.sequences.prompt(target)] * len(rows))
        return features

    def batch_decode(self, sequences: Sequence[Sequence[int]] | torch.Tensor, **others: Any) -> list[str]:
        """What `generate` gave, as texts."""
        texts: list[str] = self.tokenizer.batch_decode(sequences, **{'skip_special_tokens': True, **others})
        return texts
