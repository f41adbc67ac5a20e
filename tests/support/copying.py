"""Our weights into transformers' mBART."""

from __future__ import annotations

from typing import Any

from transformers import MBartConfig, MBartForConditionalGeneration

from pretrain.model.unix2 import UniX2

PAD = 1


def mbart_of(model: UniX2) -> Any:
    """transformers' mBART with our text encoder, decoder and embeddings, without dropout."""
    sizes, vocabulary = model.config, len(model.embed_tokens)
    config = MBartConfig(
        vocab_size=vocabulary, d_model=sizes.dim, encoder_layers=sizes.text_layers, decoder_layers=sizes.decoder_layers,
        encoder_attention_heads=sizes.heads, decoder_attention_heads=sizes.heads, encoder_ffn_dim=sizes.ffn, decoder_ffn_dim=sizes.ffn,
        max_position_embeddings=sizes.max_positions, scale_embedding=True, dropout=0.0, pad_token_id=PAD,
    )  # fmt: skip
    mbart: Any = MBartForConditionalGeneration(config).eval()
    mbart.model.shared.weight.data.copy_(model.embed_tokens.data)
    encoder = (mbart.model.encoder, model.text_encoder, model.text_positions)
    decoder = (mbart.model.decoder, model.decoder, model.decoder_positions)
    for theirs, ours, positions in (encoder, decoder):
        theirs.embed_positions.weight.data.copy_(positions.weight.data)
        copy_stack(theirs, ours)
    return mbart


def copy_stack(theirs: Any, ours: Any) -> None:
    theirs.layernorm_embedding.load_state_dict(ours.layernorm_embedding.state_dict())
    theirs.layer_norm.load_state_dict(ours.layer_norm.state_dict())
    for their_layer, our_layer in zip(theirs.layers, ours.layers, strict=True):
        for name in ('self_attn_layer_norm', 'final_layer_norm', 'fc1', 'fc2', *(['encoder_attn_layer_norm'] if our_layer.decoder else [])):
            getattr(their_layer, name).load_state_dict(getattr(our_layer, name).state_dict())
        copy_attention(their_layer.self_attn, our_layer.self_attn)
        if our_layer.decoder:
            copy_attention(their_layer.encoder_attn, our_layer.encoder_attn)


def copy_attention(theirs: Any, ours: Any) -> None:
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    if ours.cross:
        theirs.q_proj.load_state_dict(ours.q_proj.state_dict())
        fused, names = ours.kv_proj, ['k_proj', 'v_proj']
    else:
        fused, names = ours.qkv_proj, ['q_proj', 'k_proj', 'v_proj']
    for name, weight, bias in zip(names, fused.weight.chunk(len(names)), fused.bias.chunk(len(names)), strict=True):
        getattr(theirs, name).weight.data.copy_(weight)
        getattr(theirs, name).bias.data.copy_(bias)
