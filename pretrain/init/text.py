"""Text weights from mBART (both encoders, decoder, embedding) or XLM-R (layers split over the two encoders, embedding, MLM head).

Everything is a table, ours <- theirs, that is checked against shapes before a run starts anything, and copied after.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from pretrain.config import Model
from pretrain.init.tokens import published_codes, token_rows
from pretrain.init.weights import Weights
from pretrain.model.transformer import POSITION_OFFSET
from shards.tokenizer import MODEL, Tokenizer, checked_model

log = logging.getLogger(__name__)
Table = dict[str, tuple[str, ...]]  # our parameter -> theirs, joined along the first dimension

_MBART_LAYER = {
    'self_attn.qkv_proj': ('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'),
    'self_attn.out_proj': ('self_attn.out_proj',),
    'self_attn_layer_norm': ('self_attn_layer_norm',),
    'fc1': ('fc1',),
    'fc2': ('fc2',),
    'final_layer_norm': ('final_layer_norm',),
}
_MBART_DECODER_LAYER = _MBART_LAYER | {
    'encoder_attn.q_proj': ('encoder_attn.q_proj',),
    'encoder_attn.kv_proj': ('encoder_attn.k_proj', 'encoder_attn.v_proj'),
    'encoder_attn.out_proj': ('encoder_attn.out_proj',),
    'encoder_attn_layer_norm': ('encoder_attn_layer_norm',),
}
_XLMR_LAYER = {
    'self_attn.qkv_proj': ('attention.self.query', 'attention.self.key', 'attention.self.value'),
    'self_attn.out_proj': ('attention.output.dense',),
    'self_attn_layer_norm': ('attention.output.LayerNorm',),
    'fc1': ('intermediate.dense',),
    'fc2': ('output.dense',),
    'final_layer_norm': ('output.LayerNorm',),
}


class TextStart:
    """Checked weights for a model's text parts. Raises UserError naming the setting that does not fit, and what fits."""

    def __init__(self, weights: Weights, config: Model, tokenizer: Tokenizer):
        self.weights, self.config, self.tokenizer = weights, config, tokenizer
        self.xlmr = config.family == 'xlm-r'
        self._check_settings()
        self.prefix = next((p for p in ('', 'model.', 'roberta.') if any(f'{p}{name}' in weights.shapes for name in self._embeddings)), '')
        self.embedding = next((n for name in self._embeddings if (n := self.prefix + name) in weights.shapes), None)
        if self.embedding is None:
            raise weights.error(f'it has no tensor {self._embeddings[0]}; these are no weights of {"XLM-R" if self.xlmr else "mBART"}')
        self._check_vocabulary()
        self.table = self._table()

    @property
    def _embeddings(self) -> tuple[str, ...]:
        """Names under which the token embedding may stand: of tied ones, one is stored."""
        if self.xlmr:
            return ('embeddings.word_embeddings.weight',)
        return 'shared.weight', 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'

    def check(self, model: nn.Module) -> None:
        """Compare every shape with the model's (which may be without memory)."""
        parameters = dict(model.named_parameters())
        for name, theirs in self._positions().items():
            shape = self.weights.shapes.get(theirs, (0, 0))
            if len(shape) != 2 or shape[0] < len(parameters[name]) or shape[1] != self.config.dim:
                described = f'{theirs} has {_sizes(shape)}, {name} needs {_sizes(parameters[name].shape)}'
                raise self.weights.error(f'{described}: the weights do not fit their own config.json')
        for name, ours in parameters.items():
            if name in self.table:
                shapes = [self.weights.shapes.get(theirs) for theirs in self.table[name]]
                missing = [theirs for theirs, shape in zip(self.table[name], shapes, strict=True) if shape is None]
                if missing:
                    raise self.weights.error(f'it has no tensor {missing[0]}')
                total = (sum(shape[0] for shape in shapes if shape), *(shapes[0] or ())[1:])
                if total != tuple(ours.shape):
                    described = f'{self.table[name][0]} has {_sizes(total)}, {name} needs {_sizes(ours.shape)}'
                    raise self.weights.error(f'{described}: the weights do not fit their own config.json')

    @torch.no_grad()
    def load(self, model: nn.Module) -> None:
        """Copy the weights into the model; what they do not have keeps its random values."""
        if self.weights.find(MODEL) is None and not (dist.is_initialized() and dist.get_rank()):
            log.warning('%s has no %s: whether it was trained with data.tokenizer cannot be checked', self.weights.where, MODEL)
        parameters = dict(model.named_parameters())
        for name, parts in self.table.items():
            parameters[name].copy_(torch.cat([self.weights[part] for part in parts]))
        assert self.embedding is not None
        parameters['embed_tokens'].copy_(token_rows(self.weights[self.embedding], parameters['embed_tokens'], self.tokenizer))
        for name, theirs in self._positions().items():
            positions = self.weights[theirs][: len(parameters[name])]
            if self.xlmr:  # which adds the vector of its only segment to every token
                positions = positions + self.weights[f'{self.prefix}embeddings.token_type_embeddings.weight'][0]
            parameters[name].copy_(positions)
        if 'mlm_dense.weight' in self.table:
            parameters['mlm_bias'].copy_(token_rows(self.weights['lm_head.bias'], torch.zeros_like(parameters['mlm_bias']), self.tokenizer))

    # ---- checks ----------------------------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        """config.json against the configuration: kind of model, sizes, and what shapes do not show."""
        theirs, ours = self.weights.config, self.config
        kind = 'xlm-roberta' if self.xlmr else 'mbart'
        if theirs.get('model_type') != kind:
            families = {'mbart': 'mbart-cc25 or mbart-50', 'xlm-roberta': 'xlm-r'}
            fits = families.get(str(theirs.get('model_type')))
            remedy = f'set model.family={fits}' if fits else f'model.family={ours.family} starts from model_type {kind!r}'
            raise self.weights.error(f'its model_type is {theirs.get("model_type")!r}, model.family is {ours.family}; {remedy}')
        if self.xlmr:
            fixed = {'hidden_act': 'gelu', 'layer_norm_eps': 1e-5}
            sizes = {'dim': 'hidden_size', 'heads': 'num_attention_heads', 'ffn': 'intermediate_size'}
            layers = theirs.get('num_hidden_layers')
            if ours.text_layers + ours.cross_layers != layers:
                asked = f'model.text_layers + model.cross_layers is {ours.text_layers} + {ours.cross_layers}'
                raise self.weights.error(f'{asked}, these weights have {layers} layers for both')
        else:
            fixed = {'activation_function': 'gelu', 'scale_embedding': True}
            sizes = {
                'dim': 'd_model', 'heads': 'encoder_attention_heads', 'ffn': 'encoder_ffn_dim', 'text_layers': 'encoder_layers',
                'cross_layers': 'encoder_layers', 'decoder_layers': 'decoder_layers',
            }  # fmt: skip
            for name in ('attention_heads', 'ffn_dim'):
                if theirs.get(f'encoder_{name}') != theirs.get(f'decoder_{name}'):
                    raise self.weights.error(f'encoder_{name} and decoder_{name} differ; here they are one setting')
        wrong = {f'model.{key}': theirs.get(name) for key, name in sizes.items() if getattr(ours, key) != theirs.get(name)}
        if wrong:
            asked = ', '.join(f'{key} is {getattr(ours, key.removeprefix("model."))}' for key in wrong)
            raise self.weights.error(f'{asked}, these weights fit {" ".join(f"{key}={value}" for key, value in wrong.items())}')
        for name, value in fixed.items():
            if theirs.get(name) != value:
                raise self.weights.error(f'{name} is {theirs.get(name)!r}, the model here has {value!r}')
        longest = int(theirs.get('max_position_embeddings', 0)) - (POSITION_OFFSET if self.xlmr else 0)
        if ours.max_positions > longest:
            raise self.weights.error(f'model.max_positions is {ours.max_positions}, these weights have {longest}; lower it')

    def _check_vocabulary(self) -> None:
        assert self.embedding is not None
        tokens, tokenizer = self.weights.shapes[self.embedding][0], self.tokenizer
        codes = published_codes(tokens, tokenizer)
        if codes is None or (len(codes) == 0) != self.xlmr:
            raise self.weights.error(
                f"it has {tokens} token ids, which do not fit the {tokenizer.pieces} pieces of data.tokenizer; take over the weights' own "
                f'{MODEL} with `data_pipeline tokenizer import`, and build text shards with it'
            )
        if 'final_logits_bias' in self.weights.shapes and self.weights['final_logits_bias'].any():
            raise self.weights.error('its final_logits_bias is not zero, and the output layer here has no bias')
        if self.weights.shapes.get('lm_head.bias', (tokens,)) != (tokens,):
            raise self.weights.error(f'lm_head.bias does not have the {tokens} entries of the embedding')
        path = self.weights.find(MODEL)
        if path is None:
            return
        published = Tokenizer(checked_model(path.read_bytes(), path))
        if published.piece_list() != tokenizer.piece_list():
            raise self.weights.error(
                f'its {MODEL} has other pieces than data.tokenizer, so ids would mean other tokens; take it over with '
                '`data_pipeline tokenizer import`, and build text shards with it'
            )

    # ---- tables ----------------------------------------------------------------------------------------------------------------------

    def _table(self) -> Table:
        model, prefix = self.config, self.prefix
        if self.xlmr:
            split = model.text_layers
            pairs = [
                *_layers('text_encoder', f'{prefix}encoder.layer', range(split), _XLMR_LAYER),
                *_layers('cross_encoder', f'{prefix}encoder.layer', range(split, split + model.cross_layers), _XLMR_LAYER),
                *_pair('text_encoder.layernorm_embedding', (f'{prefix}embeddings.LayerNorm',)),
            ]
            if 'lm_head.dense.weight' in self.weights.shapes:
                pairs += [*_pair('mlm_dense', ('lm_head.dense',)), *_pair('mlm_norm', ('lm_head.layer_norm',))]
            return dict(pairs)
        pairs = []
        stacks: list[tuple[str, str, int, dict[str, Any]]] = [
            ('text_encoder', 'encoder', model.text_layers, _MBART_LAYER),
            ('cross_encoder', 'encoder', model.cross_layers, _MBART_LAYER),
            ('decoder', 'decoder', model.decoder_layers, _MBART_DECODER_LAYER),
        ]
        for ours, theirs, layers, names in stacks:
            pairs += _layers(ours, f'{prefix}{theirs}.layers', range(layers), names)
            for norm in ('layernorm_embedding', 'layer_norm'):
                pairs += _pair(f'{ours}.{norm}', (f'{prefix}{theirs}.{norm}',))
        return dict(pairs)

    def _positions(self) -> dict[str, str]:
        """Learned positions, ours <- theirs. Both kinds of model leave the first two rows unused."""
        if self.xlmr:
            return {'text_positions.weight': f'{self.prefix}embeddings.position_embeddings.weight'}
        return {
            f'{ours}_positions.weight': f'{self.prefix}{theirs}.embed_positions.weight'
            for ours, theirs in (('text', 'encoder'), ('decoder', 'decoder'))
        }


def _layers(ours: str, theirs: str, numbers: range, names: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for place, number in enumerate(numbers):
        for mine, parts in names.items():
            yield from _pair(f'{ours}.layers.{place}.{mine}', tuple(f'{theirs}.{number}.{part}' for part in parts))


def _pair(ours: str, theirs: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind in ('weight', 'bias'):
        yield f'{ours}.{kind}', tuple(f'{part}.{kind}' for part in theirs)


def _sizes(shape: tuple[int, ...] | torch.Size) -> str:
    return 'x'.join(map(str, shape))
