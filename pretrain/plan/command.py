"""`pretrain plan`: its arguments and what it prints."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from pretrain.config import Config, load_config
from shards.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--config', metavar='YAML', default=str(ROOT / 'configs/paper.yaml'), help="default: configs/paper.yaml, the paper's recipe")
    add('--deepspeed', metavar='JSON', default=None, help='DeepSpeed configuration (default: ds_configs/zero2.json)')
    add('--gpus', type=int, default=32, metavar='N', help='GPUs of the run (default: 32)')
    add('--gpus-per-node', type=int, default=8, metavar='N', help='of which so many share NVLink (default: 8)')
    add('--memory', type=float, default=80, metavar='GB', help='memory of a GPU (default: 80); a tenth of it is kept free')
    add('--peak', type=float, metavar='TFLOPS', help="peak of a GPU (default: an A100's, 312 in bf16, 19.5 in fp32)")
    add('--utilisation', type=float, default=0.4, metavar='SHARE', help='share of the peak that the run is assumed to reach (default: 0.4)')
    add('--nvlink', type=float, default=300, metavar='GB/S', help='out of a GPU, one direction (default: 300)')
    add('--internode', type=float, default=100, metavar='GB/S', help='out of a node, one direction (default: 100, four InfiniBand HDR)')
    add('--caption-tokens', type=int, metavar='N', help='mean length of captions (default: half of data.caption_tokens)')
    add('--text-tokens', type=int, metavar='N', help='mean length of texts (default: half of data.text_tokens)')
    add('--picture-bytes', type=int, default=30_000, metavar='N', help="mean size of a picture's file (default: 30000)")
    add('--decode-rate', type=float, default=500, metavar='N', help='pictures/s of one loader process, an assumption (default: 500)')
    add('--vocabulary', type=int, metavar='N', help="token ids (default: data.tokenizer's, or mBART's with our codes if there is none yet)")
    add('--json', action='store_true', help='print all figures as JSON')
    add('settings', nargs='*', metavar='key=value', help='settings that replace those of the configuration')


def run(options: argparse.Namespace) -> int:
    """Print the plan. Returns 0 when it fits the memory, else 1."""
    config = load_config(options.config, options.settings)
    from pretrain.plan.cluster import Cluster
    from pretrain.plan.kernels import PEAK_TFLOPS
    from pretrain.plan.plan import Assumptions, make_plan
    from pretrain.plan.report import render

    if options.peak is None:
        options.peak = PEAK_TFLOPS[config.precision]
    for name in ('gpus', 'gpus_per_node', 'memory', 'peak', 'utilisation', 'nvlink', 'internode', 'picture_bytes', 'decode_rate'):
        if not 0 < (value := getattr(options, name)) < math.inf:  # a NaN is neither
            raise UserError(f'--{name.replace("_", "-")} must be a number above 0, not {value:g}')
    if options.utilisation > 1:
        raise UserError(f'--utilisation is a share of the peak, from 0 to 1, not {options.utilisation:g}: for 40 % write 0.4')
    captions, texts = config.data.caption_tokens, config.data.text_tokens
    assumed = Assumptions(
        _mean(options.caption_tokens, captions, '--caption-tokens'), _mean(options.text_tokens, texts, '--text-tokens'),
        options.picture_bytes, decode_rate=options.decode_rate,
    )  # fmt: skip
    cluster = Cluster(
        options.gpus, options.gpus_per_node, options.memory, options.peak, options.utilisation, options.nvlink, options.internode
    )
    vocabulary = _vocabulary(options.vocabulary, config)

    def say(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    plan = make_plan(config, options.deepspeed, vocabulary, cluster, assumed, say)
    print(json.dumps(plan, indent=1) if options.json else render(plan))
    return 0 if plan['fits'] else 1


def vocabulary_of(config: Config) -> int:
    """Token ids of the run's tokenizer; where it is not there yet, those of mBART's with the appended codes."""
    from shards.languages import APPENDED
    from shards.tokenizer import MODEL, Tokenizer

    if (Path(config.data.tokenizer) / MODEL).is_file():
        return Tokenizer.load(Path(config.data.tokenizer), config.model.family).vocabulary
    return 250_027 + len(APPENDED)


def _vocabulary(given: int | None, config: Config) -> int:
    from shards.tokenizer import SPECIAL

    if given is None:
        return vocabulary_of(config)
    if given <= SPECIAL:
        raise UserError(f'--vocabulary must be more than {SPECIAL}, which special tokens and language codes take, not {given}')
    return given


def _mean(given: int | None, longest: int, flag: str) -> int:
    if given is None:
        return max(4, longest // 2)
    if not 4 <= given <= longest:
        raise UserError(f'{flag} must be between 4 and {longest}, the longest sequence of the configuration')
    return given
