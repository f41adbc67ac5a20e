"""Real optimizer steps of configs/paper.yaml at full size, all eight tasks: peak memory, beside what the state alone needs.

The model, engine and step are those of a run; weights are random and the few samples of each task are made up, with pictures of 224 px and
texts of the paper's lengths. One process, so ZeRO-2 shards nothing: 32 ranks keep a 32nd part each of optimizer state and gradients.

    python benchmarks/full_size_step.py [--samples 2] [--steps 2] [key.sub=value ...]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain.config import TASKS, Config, load_config
from pretrain.data.batch import Example, TaskBatch, collate
from pretrain.engine.distributed import init_distributed
from pretrain.engine.host import attention_kernel
from pretrain.engine.step import train_step
from pretrain.engine.zero import Engine
from pretrain.model.unix2 import UniX2
from shards.arguments import Parser
from shards.errors import run_command
from shards.languages import APPENDED

ROOT = Path(__file__).parents[1]
PIECES, CODES, MASK = 250_000, 25, 250_026  # mBART-cc25's
VOCABULARY = MASK + 1 + len(APPENDED)
STATE = {'bf16 weights': 2, 'fp32 weights': 4, 'AdamW moments': 8, 'fp32 gradients': 4}  # bytes a parameter
GIB = 1024**3


class Samples:
    """Made-up samples of every task, in cc25's sequences."""

    def __init__(self, config: Config, seed: int = 0):
        self.config, self.generator = config, np.random.default_rng(seed)

    def batch(self, task: str, count: int) -> TaskBatch:
        return collate(task, [getattr(self, f'_{task}')(number) for number in range(count)])

    def _ids(self, longest: int) -> NDArray[np.int64]:
        return self.generator.integers(4, PIECES + 1, int(self.generator.integers(longest // 2, max(longest - 2, longest // 2 + 1))))

    def _encoded(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([[0], ids, [2, self._code()]])

    def _code(self) -> int:
        return PIECES + 1 + int(self.generator.integers(CODES))

    def _image(self) -> torch.Tensor:
        size = self.config.model.visual.image_size
        return torch.from_numpy(self.generator.integers(0, 256, (3, size, size), np.uint8))

    def _sample(self, number: int, longest: int, **parts: Any) -> Example:
        parts.setdefault('text', self._encoded(self._ids(longest)))
        return Example(number, 'en', **parts)

    def _written(self, longest: int) -> dict[str, Any]:
        ids, code = self._ids(longest), self._code()
        return {'decoder_input': np.concatenate([[code], ids, [2]]), 'labels': np.concatenate([ids, [2, code]])}

    def _masked(self, longest: int) -> dict[str, Any]:
        text = self._encoded(self._ids(longest))
        places = np.arange(1, len(text) - 2, 7)
        labels = text[places]
        text[places] = MASK
        return {'text': text, 'masked': places, 'masked_labels': labels}

    def _cmcl(self, number: int) -> Example:
        return self._sample(number, self.config.data.caption_tokens, image=self._image(), image_id=number, text_id=number)

    def _clcl(self, number: int) -> Example:
        longest = self.config.data.text_tokens
        return self._sample(number, longest, other=self._encoded(self._ids(longest)), text_id=number, other_id=number)

    def _itm(self, number: int) -> Example:
        return self._sample(number, self.config.data.caption_tokens, image=self._image(), match=number % 2 == 0)

    def _mlm(self, number: int) -> Example:
        longest = self.config.data.caption_tokens if number % 2 else self.config.data.text_tokens
        return self._sample(number, longest, **self._masked(longest), image=self._image() if number % 2 else None)

    def _plm(self, number: int) -> Example:
        return self._sample(number, self.config.data.text_tokens // 4, **self._written(self.config.data.text_tokens))

    def _vplm(self, number: int) -> Example:
        longest = self.config.data.caption_tokens
        return self._sample(number, longest // 4, **self._written(longest), image=self._image())

    def _mt(self, number: int) -> Example:
        return self._sample(number, self.config.data.text_tokens, **self._written(self.config.data.text_tokens))

    def _mmmt(self, number: int) -> Example:
        longest = self.config.data.caption_tokens
        return self._sample(number, longest, **self._masked(longest), **self._written(longest), image=self._image())


def measure(config: Config, samples: int, steps: int) -> dict[str, Any]:
    """Build, then `steps` updates on `samples` samples of every task; prints what each takes, returns the figures."""
    began = time.perf_counter()
    init_distributed()
    torch.manual_seed(config.seed)
    model = UniX2(config.model, VOCABULARY)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f'{parameters:,} parameters built', began)
    engine = Engine(model, config, None)
    before = engine.slices()[0].master[:1000].clone()  # not all: another 3 GB would not fit
    say(f'engine of {config.precision} started', began)
    made, losses = Samples(config), []
    with attention_kernel(engine.device):
        for step in range(steps):
            result = train_step(engine, config, {task: [made.batch(task, samples)] for task in config.tasks}, step, config.optimizer.lr)
            if result is None or result.skipped or not np.isfinite(result.total):
                raise SystemExit(f'step {step}: no update, or a loss that is not finite ({result})')
            losses.append(result.total)
            shown = '  '.join(f'{task} {loss:.3f}' for task, loss in result.losses.items())
            say(f'step {step}: {shown}  gradient norm {result.grad_norm:.2f}', began)
    if torch.equal(engine.slices()[0].master[:1000], before):
        raise SystemExit('the weights have not changed')
    floor = parameters * sum(STATE.values())
    return {
        'parameters': parameters, 'samples_per_task': samples, 'losses': losses,
        'ratio': round(peak() / floor, 3), 'ours': round(peak() / GIB, 2), 'peer': round(floor / GIB, 2),
        'of': f'peak memory of the process in GiB; the peer is {", ".join(STATE)} by arithmetic, {sum(STATE.values())} bytes a parameter',
    }  # fmt: skip


def peak() -> int:
    """Bytes: the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def say(message: str, began: float) -> None:
    print(f'{time.perf_counter() - began:6.1f} s  {peak() / GIB:5.2f} GiB at most  {message}', file=sys.stderr, flush=True)


def main() -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=2, help='of each task and step (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=2, help='default: %(default)s')
    parser.add_argument('settings', nargs='*', metavar='key=value', help='settings that replace those of configs/paper.yaml')
    options = parser.parse_intermixed_args()
    fixed = ['init.text=null', 'init.visual=null', f'tasks=[{", ".join(TASKS)}]', f'batch={{global: {options.samples}, tasks: {{}}}}']
    config = load_config(ROOT / 'configs/paper.yaml', [*fixed, *options.settings])
    print(json.dumps(measure(config, options.samples, options.steps)))
    return 0


if __name__ == '__main__':
    sys.exit(run_command(main))
