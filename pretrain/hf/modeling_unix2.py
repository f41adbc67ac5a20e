"""transformers' model: the same ERNIE-UniX2 that was trained, with padded tensors at its border.

Inputs are those that UniX2Processor makes: input_ids (B, L) and attention_mask (B, L) with the encoder's sequences, pixel_values
(B, 3, H, W) uint8, picture i for row i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from pretrain.data.batch import Texts
from pretrain.generation import Decoding, search
from pretrain.hf.configuration_unix2 import UniX2Config
from pretrain.model.packed import Encoded, Layout, pad
from pretrain.model.unix2 import EOS, PAD, UniX2


@dataclass
class UniX2Output(ModelOutput):
    """What the fusion of texts and pictures gives; None where it was not asked for."""

    logits: Tensor | None = None  # (B, L, vocabulary), of the decoder: what follows each of decoder_input_ids
    itm_logits: Tensor | None = None  # (B,): that text and picture belong together, as a logit
    class_logits: Tensor | None = None  # (B, labels), of a fine-tuned model's classes


class UniX2Model(PreTrainedModel):
    """ERNIE-UniX2 in transformers' clothes; the model itself is `.unix2`."""

    config_class = UniX2Config
    base_model_prefix = 'unix2'  # so that weights without a prefix, as they are exported, are those of `.unix2`
    main_input_name = 'input_ids'

    def __init__(self, config: UniX2Config) -> None:
        super().__init__(config)
        self.unix2 = UniX2(config.sizes, config.vocabulary)
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """UniX2 has initialised itself; but transformers 5 makes a model without memory, and leaves to this what its files do not hold."""
        if isinstance(module, UniX2):
            module.set_pixel_normalisation()

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Unit vectors (B, projection), fp32."""
        return self.unix2.text_features(texts_of(input_ids, attention_mask))

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Unit vectors (B, projection), fp32."""
        return self.unix2.image_features(pixel_values)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, pixel_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None, decoder_attention_mask: Tensor | None = None,
    ) -> UniX2Output:  # fmt: skip
        """Component C, and B where there are decoder_input_ids (B, L)."""
        model = self.unix2
        fused = self._fused(input_ids, attention_mask, pixel_values)
        out = UniX2Output(itm_logits=model.itm_logits(fused.first()))
        if model.config.labels:
            out['class_logits'] = model.class_logits(fused.first())
        if decoder_input_ids is not None:
            inputs = texts_of(decoder_input_ids, decoder_attention_mask)
            states = model.decode(inputs, fused)
            out['logits'] = pad(states, Layout.of(inputs.lengths, states.device)) @ model.embed_tokens.T
        return out

    def get_input_embeddings(self) -> torch.nn.Module:
        """The token table, which the text encoder, the decoder and the output share: its weight is the model's parameter itself."""
        rows, width = self.unix2.embed_tokens.shape
        table = torch.nn.Embedding(rows, width, device='meta')
        table.weight = self.unix2.embed_tokens
        return table

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, pixel_values: Tensor | None = None,
        *, decoder_input_ids: Tensor | None = None, num_beams: int = 4, max_new_tokens: int = 50, length_penalty: float = 1.0,
        early_stopping: bool | Literal['never'] = False, do_sample: Literal[False] = False, **others: Any,
    ) -> Tensor:  # fmt: skip
        """Beam search, the model's own: (B, L) ids with the prompt before and <pad> behind.

        decoder_input_ids (B, P): the prompt, which says in what language. Raises ValueError without one, when prompt and text do not fit
        `max_positions`, and for what this search does not know.
        """
        if do_sample or others:
            unknown = ', '.join(['do_sample=True'] * bool(do_sample) + sorted(others))
            raise ValueError(
                f'generate does not know {unknown}: num_beams, max_new_tokens, length_penalty and early_stopping are what it takes'
            )
        if input_ids is None or decoder_input_ids is None:
            raise ValueError("generate needs a language to write in: processor(…, target='de') gives input_ids and decoder_input_ids")
        room = self.unix2.config.max_positions - decoder_input_ids.shape[1]
        decoding = Decoding(num_beams, min(max_new_tokens, room), length_penalty, early_stopping)
        written = search(self.unix2, self._fused(input_ids, attention_mask, pixel_values), decoder_input_ids, decoding)
        rows = [torch.tensor([*prompt, *ids, EOS]) for prompt, ids in zip(decoder_input_ids.tolist(), written.ids, strict=True)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD).to(input_ids.device)

    def _fused(self, input_ids: Tensor, attention_mask: Tensor | None, pixel_values: Tensor | None) -> Encoded:
        if pixel_values is not None and len(pixel_values) != len(input_ids):
            raise ValueError(f'{len(pixel_values)} pictures for {len(input_ids)} texts; give as many, or none')
        return self.unix2.fuse(texts_of(input_ids, attention_mask), pixel_values, torch.arange(len(input_ids)))


def texts_of(input_ids: Tensor, attention_mask: Tensor | None) -> Texts:
    """Padded rows (B, L), on either side, without their padding; with no mask it is where <pad> stands."""
    mask = input_ids != PAD if attention_mask is None else attention_mask.bool()
    return Texts(input_ids[mask], mask.sum(1).cpu())
