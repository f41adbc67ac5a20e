"""Our weights into transformers' mBART."""
from __future__ import annotations

from typing import Any


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
