"""The setting that is meant by an unknown one."""

from __future__ import annotations

import difflib
import re

from pretrain.config.root import Config
from pretrain.config.section import keys

LEAST = 0.8  # what is less like it is no suggestion
BESIDE = 0.15  # how much more likely one of the same section is meant
_PASSES = 'steps (of a fine-tuning: finetune.epochs)'
# What others call it: torch, Transformers, DeepSpeed, Megatron, open_clip.
ELSEWHERE = {
    'activation_checkpointing': 'model.recompute', 'batch_size': 'batch.global', 'bf16': 'precision', 'dtype': 'precision',
    'epochs': _PASSES, 'eval_steps': 'eval.every', 'fp16': 'precision', 'global_batch_size': 'batch.global', 'grad_clip': 'optimizer.clip',
    'gradient_checkpointing': 'model.recompute', 'gradient_clipping': 'optimizer.clip', 'hidden_size': 'model.dim', 'iterations': 'steps',
    'learning_rate': 'optimizer.lr', 'logging_steps': 'log.every', 'max_grad_norm': 'optimizer.clip', 'max_steps': 'steps',
    'micro_batch_size': 'batch.micro', 'num_attention_heads': 'model.heads', 'num_epochs': _PASSES, 'num_layers': 'model.text_layers',
    'output_dir': 'out', 'per_device_train_batch_size': 'batch.micro', 'save_steps': 'checkpoint.every', 'save_every': 'checkpoint.every',
    'save_total_limit': 'checkpoint.keep', 'train_batch_size': 'batch.global', 'train_micro_batch_size_per_gpu': 'batch.micro',
    'warmup_steps': 'optimizer.warmup', 'wd': 'optimizer.weight_decay',
}  # fmt: skip


def nearest(key: str) -> str | None:
    """What to suggest for a dotted key that is no setting: what others call so, else the setting whose own name is most like the key's, by
    spelling or by its words. None when nothing is near enough.
    """
    section, _, name = key.rpartition('.')
    if called := {key.replace('.', '_'), name} & ELSEWHERE.keys():
        return ELSEWHERE[max(called)]
    scores = {other: _spelt(name, other) for other in ELSEWHERE}
    for other in keys(Config):
        above, _, last = other.rpartition('.')
        scores[other] = max(_spelt(name, last) + BESIDE * (above == section), _in_words(name, last))
    among = [other for other in scores if scores[other] == max(scores.values()) >= LEAST]
    # Of equals the one whose whole key is most like the one that was given, and one of fine-tuning last.
    best = max(among, key=lambda other: (not other.startswith('finetune.'), _spelt(key, other)), default=None)
    return best and ELSEWHERE.get(best, best)


def _spelt(name: str, other: str) -> float:
    """From 0, no letter in common, to 1; letters that changed places are a small mistake."""
    return 0.9 if name != other and sorted(name) == sorted(other) else difflib.SequenceMatcher(None, name, other).ratio()


def _in_words(name: str, other: str) -> float:
    """From 0.6 to 1: LEAST where half of all their words are in both, as of `max_lr` and `lr`."""
    words, others = set(re.split('[_-]', name.lower())), set(other.split('_'))
    return 0.6 + 0.4 * len(words & others) / len(words | others)
