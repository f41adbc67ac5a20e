"""ERNIE-UniX2 (paper section 3): four parts, combined into three components.

visual_encoder   pictures -> [CLS] and patches          A  dual encoder:       visual_encoder, text_encoder -> contrastive space
text_encoder     tokens -> states                       B  encoder-decoder:    A -> cross_encoder -> decoder
cross_encoder    [MM_CLS] ; text ; picture -> states    C  encoder only:       A -> cross_encoder -> heads (ITM, MLM)
decoder          target tokens given those states
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import Model
from pretrain.data.batch import Texts
from pretrain.model.gradients import Clamped
from pretrain.model.packed import Encoded, Kept, Layout, place, rounded, sent, take
from pretrain.model.transformer import Norm, Positions, PostNormStack, Stack, embed
from pretrain.model.visual import build_visual_encoder, pixel_normalisation
from shards.errors import UserError

PAD, EOS = 1, 2  # in every tokenizer under mBART's id rule


class UniX2(nn.Module):
    """The model. `vocabulary` counts every token id, language codes included."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: Model, vocabulary: int):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        dim = config.dim
        self.visual_encoder: Any = build_visual_encoder(config)
        visual_dim = int(self.visual_encoder.num_features)
        self.embed_tokens = nn.Parameter(torch.empty(vocabulary, dim))  # text encoder, decoder, LM head and MLM head share it

        sizes = dim, config.heads, config.ffn
        self.text_encoder: Stack | PostNormStack
        self.cross_encoder: Stack | PostNormStack
        self.text_positions = Positions(dim, config.max_positions)
        if config.family == 'xlm-r':
            self.text_encoder = PostNormStack(*sizes, config.text_layers, config.dropout, embedded=True)
            self.cross_encoder = PostNormStack(*sizes, config.cross_layers, config.dropout, embedded=False)
        else:
            self.text_encoder = Stack(*sizes, config.text_layers, config.dropout)
            self.cross_encoder = Stack(*sizes, config.cross_layers, config.dropout)
        self.decoder_positions = Positions(dim, config.max_positions)
        self.decoder = Stack(*sizes, config.decoder_layers, config.dropout, decoder=True)
        self.text_encoder.recompute = self.cross_encoder.recompute = self.decoder.recompute = config.recompute

        self.visual_projection = nn.Linear(visual_dim, config.projection, bias=False)  # contrastive space
        self.text_projection = nn.Linear(dim, config.projection, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(1))  # log of the inverse temperature; [1], as DeepSpeed cannot take 0-dim
        self.logit_bias = nn.Parameter(torch.empty(1)) if config.contrastive == 'sigmoid' else None

        self.mm_cls = nn.Parameter(torch.empty(1, dim))
        self.modality = nn.Parameter(torch.empty(3, dim))  # [MM_CLS], text, picture
        self.visual_bridge, self.visual_norm = nn.Linear(visual_dim, dim), Norm(dim)

        self.itm_head = nn.Linear(dim, 1)
        if config.labels:  # an MLP, which fine-tuning adds
            self.class_dense, self.class_norm = nn.Linear(dim, dim), Norm(dim)
            self.class_scores = nn.Linear(dim, config.labels)
        self.mlm_dense, self.mlm_norm = nn.Linear(dim, dim), Norm(dim)  # XLM-R's head before the tied output
        self.mlm_bias = nn.Parameter(torch.empty(vocabulary))
        for name in ('pixel_mean', 'pixel_std'):
            self.register_buffer(name, torch.empty(3, 1, 1, dtype=torch.float32), persistent=False)
        self.set_pixel_normalisation()
        self.initialise()

    def set_pixel_normalisation(self) -> None:
        """Fill the buffers that no checkpoint holds."""
        for buffer, values in zip((self.pixel_mean, self.pixel_std), pixel_normalisation(self.config.visual), strict=True):
            buffer.copy_(torch.tensor(values).view(3, 1, 1) * 255)

    def initialise(self) -> None:
        """N(0, token_std) as mBART for everything but the visual encoder, which timm initialises."""
        std = self.config.token_std
        for name, parameter in self.named_parameters():
            if name.startswith('visual_encoder.'):
                continue
            if name == 'logit_scale':
                nn.init.constant_(parameter, math.log(self.config.logit_scale))
            elif name == 'logit_bias':
                nn.init.constant_(parameter, self.config.logit_bias)
            elif name.endswith('bias'):
                nn.init.zeros_(parameter)
            elif 'norm' in name:
                nn.init.ones_(parameter)
            else:
                nn.init.normal_(parameter, std=std)

    # ---- A: dual encoder -------------------------------------------------------------------------------------------------------------

    def encode_images(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> states of [CLS] and patches (B, 1 + P, visual D)."""
        pixels = (images - self.pixel_mean) / self.pixel_std
        return self.visual_encoder.forward_features(pixels.to(self.embed_tokens.dtype))

    def embed(self, ids: Tensor, layout: Layout) -> Tensor:
        """Token embeddings (total, D) of packed ids (T,); idle tokens are <pad>."""
        return embed(F.pad(ids, (0, layout.total - layout.tokens), value=PAD), self.embed_tokens, scale=self.config.family != 'xlm-r')

    def encode_texts(self, texts: Texts, whole: int | None = None) -> Encoded:
        """States of every token of the first `whole` rows (none: of all rows). Of the other rows only what stands for the text comes
        back, as a row of one token: most of the last layer is not computed for them. (With model.text_pooling=mean they come back whole.)

        Raises UserError for a text that is too long.
        """
        layout = Layout.of(texts.lengths, texts.ids.device)
        if layout.width > self.config.max_positions:
            raise UserError(f'a text of {layout.width} tokens is longer than model.max_positions = {self.config.max_positions}')
        kept = None if whole is None else self._kept(texts, layout, whole)
        states = self.text_encoder(self.embed(texts.ids, layout) + self.text_positions(layout), layout, kept=kept)
        return Encoded(states, layout if kept is None else kept.layout)

    def _kept(self, texts: Texts, layout: Layout, whole: int) -> Kept | None:
        pooling = self.config.text_pooling
        if whole == layout.rows or pooling == 'mean':
            return None
        places = layout.starts
        if pooling == 'eos':  # the last one, as a text may hold more
            at_end = torch.where(texts.ids == EOS, layout.positions[: layout.tokens], 0)
            places = places + torch.zeros_like(places).scatter_reduce(0, layout.row_of_token, at_end, 'amax')
        every = torch.arange(int(layout.lengths[:whole].sum()), device=places.device)
        lengths = torch.cat([layout.lengths[:whole], torch.ones_like(layout.lengths[whole:])])
        return Kept(torch.cat([every, places[whole:]]), Layout.of(lengths, places.device))

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> unit vectors (B, projection), fp32."""
        return self.project_images(self.encode_images(images))

    def text_features(self, texts: Texts) -> Tensor:
        """Unit vectors (B, projection), fp32."""
        return self.project_texts(self.pooled(self.encode_texts(texts, whole=0)))

    def project_images(self, visual: Tensor) -> Tensor:
        """States (B, 1 + P, visual D) -> unit vectors (B, projection), fp32."""
        return F.normalize(self.visual_projection(visual[:, 0]).float(), dim=-1)

    def project_texts(self, pooled: Tensor) -> Tensor:
        """(B, D) -> unit vectors (B, projection), fp32."""
        return F.normalize(self.text_projection(pooled).float(), dim=-1)

    def pooled(self, encoded: Encoded, whole: int = 0) -> Tensor:
        """(B - whole, D): what stands for each text behind the first `whole` ones (`model.text_pooling`); of what
        `encode_texts(texts, whole)` gave."""
        layout = encoded.layout
        if self.config.text_pooling != 'mean':
            return take(encoded.states, layout.starts[whole:])
        states = encoded.tokens.float()
        sums = states.new_zeros(layout.rows, states.shape[1]).index_add(0, layout.row_of_token, states)
        return (sums / layout.lengths.to(sums.device)[:, None]).to(encoded.states.dtype)[whole:]

    def scale(self) -> Tensor:
        """(1,) inverse temperature, clamped; what would raise it further has no gradient, what lowers it has."""
        scale: Tensor = Clamped.apply(self.logit_scale.float().exp(), self.config.logit_scale_max)
        return scale

    # ---- the fusion that B and C share -----------------------------------------------------------------------------------------------

    def fuse(self, texts: Texts, images: Tensor | None = None, image_rows: Tensor | None = None) -> Encoded:
        """One stream a row: [MM_CLS] ; text ; the picture's [CLS] and patches, where the row has one (`image_rows` (Bi,): row of
        picture i).

        States (T', D); row b starts with [MM_CLS], its text follows at `layout.starts[b] + 1`.
        """
        pictures = images is not None and len(images) > 0
        return self.join(self.encode_texts(texts), self.encode_images(images) if pictures and images is not None else None, image_rows)

    def join(self, text: Encoded, visual: Tensor | None = None, image_rows: Tensor | None = None) -> Encoded:
        """`fuse` of encoded texts and of pictures' states (Bi, 1 + P, visual D)."""
        device = text.states.device
        lengths = text.layout.lengths + 1
        if visual is not None:
            assert image_rows is not None
            rows, patches = image_rows.cpu(), visual.shape[1]  # already there, as a batch has them
            lengths = lengths.index_add(0, rows, torch.full_like(rows, patches))
        layout = Layout.of(lengths, device)
        parts = [
            ((self.mm_cls + self.modality[0]).expand(layout.rows, -1), layout.starts),
            (text.tokens + self.modality[1], text_places(text.layout, layout)),
        ]
        if visual is not None and image_rows is not None:
            states = self.visual_norm(self.visual_bridge(visual)) + self.modality[2]
            before = 1 + text.layout.lengths[rows]
            first = layout.starts[sent(rows, device)] + sent(before, device)
            parts.append((states.flatten(0, 1), (first[:, None] + torch.arange(patches, device=device)).flatten()))
        return Encoded(self.cross_encoder(place(parts, layout.total), layout), layout)

    # ---- B: encoder-decoder, C: heads ------------------------------------------------------------------------------------------------

    def decode(self, inputs: Texts, memory: Encoded) -> Tensor:
        """Decoder states (T rounded up, D) of every input token; row b attends to row b of `memory`."""
        layout = Layout.of(inputs.lengths, inputs.ids.device)
        states = self.embed(inputs.ids, layout) + self.decoder_positions(layout)
        return self.decoder(states, layout, memory.states, memory.layout)

    def mlm_states(self, encoded: Encoded, text: Layout, masked: Tensor) -> Tensor:
        """States (M rounded up, D) for the tied MLM output, of the text tokens whose places in the packed texts, laid out as `text`, are
        `masked` (M,)."""
        states = take(encoded.states, text_places(text, encoded.layout)[masked], rounded(len(masked)))
        return self.mlm_norm(F.gelu(self.mlm_dense(states)))

    def class_logits(self, first: Tensor) -> Tensor:
        """States (B, D) of [MM_CLS] -> scores (B, labels) of a fine-tuned model's classes, fp32."""
        hidden = F.dropout(self.class_norm(F.gelu(self.class_dense(first))), self.config.dropout, self.training)
        scores: Tensor = self.class_scores(hidden)
        return scores.float()

    def itm_logits(self, first: Tensor) -> Tensor:
        """States (B, D) of [MM_CLS] -> logits (B,) that the row's text and picture belong together, fp32."""
        return self.itm_head(first).squeeze(1).float()


def text_places(text: Layout, fused: Layout) -> Tensor:
    """(T,) packed places, in the fused stream, of the text's tokens: they follow [MM_CLS]."""
    starts = torch.repeat_interleave(fused.starts, sent(text.lengths, fused.starts.device), output_size=text.tokens)
    return starts + 1 + text.positions[: text.tokens]
