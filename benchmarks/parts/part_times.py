"""How long each part of a step takes, its backward included: visual, text and cross encoder, decoder, heads, optimizer, communication, the
wait for data, and the rest. Every moment belongs to one part, so the parts add up to the step.

A part's forward is the call of its function. Its backward are the nodes of autograd's graph that the call has made: each of them says, when
it runs, whose it is. On a GPU the moments are CUDA events in the stream that computes, read once at the end: nothing waits in between.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from pretrain.engine import step
from pretrain.engine.contrasted import Contrasted
from pretrain.engine.zero import Engine
from pretrain.model.packed import Encoded

HEADS, OPTIMIZER, COMMUNICATION, WAIT, REST = 'heads', 'optimizer', 'communication', 'data wait', 'rest'
MODEL = {'encode_images': 'visual', 'encode_texts': 'text', 'join': 'cross', 'decode': 'decoder'}  # method of the model -> part
PARTS = (*MODEL.values(), HEADS, OPTIMIZER, COMMUNICATION, WAIT, REST)
COLLECTIVES = (
    'all_reduce', 'reduce', 'broadcast', 'all_gather', 'all_gather_single', 'all_gather_into_tensor', 'reduce_scatter',
    'reduce_scatter_single', 'reduce_scatter_tensor', 'barrier',
)  # fmt: skip
STEP = 'step'  # in place of a task: what the step does for all of them
Key = tuple[str, str]  # task, part


class PartTimes:
    """The moments at which another part begins."""

    def __init__(self, device: torch.device):
        self.device, self.running = device, False
        self.task, self.part = STEP, REST
        self._marks: list[tuple[Key | None, Any]] = []  # what begins, and when; None: what is not timed
        self._claimed: set[Any] = set()  # nodes of the graph: held, as another object would stand for the same node otherwise

    def switch(self, part: str) -> None:
        """`part` of the present task begins."""
        self.part = part
        key = self.task, part
        if self.running and (not self._marks or self._marks[-1][0] != key):
            self._marks.append((key, self._now()))

    def point(self, doing: str, alone: bool) -> bool:
        """For `train_step`, which says what comes next: a task, or the update."""
        self.task = doing if alone else STEP
        self.switch(REST if alone else OPTIMIZER)
        return False

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Only what runs inside counts."""
        self.running, self.task = True, STEP
        self.switch(REST)
        yield
        self._marks.append((None, self._now()))
        self.running = False

    def seconds(self) -> dict[Key, float]:
        """Of every part of every task, since the last call."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        found: dict[Key, float] = defaultdict(float)
        for (key, begin), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            if key is not None:
                found[key] += end - begin if self.device.type != 'cuda' else begin.elapsed_time(end) / 1000
        self._marks.clear()
        return dict(found)

    def _now(self) -> Any:
        if self.device.type != 'cuda':
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose time and whose result's backward belong to `part`."""

        def run(*given: Any, **named: Any) -> Any:
            before = self.part
            self.switch(part)
            out = function(*given, **named)
            if self.running:
                self._claim(part, out.states if isinstance(out, Encoded) else out)
            self.switch(before)
            return out

        return run

    def backward(self, function: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
        """The engine's `backward`. What no part has made of the graph are losses and heads."""

        def run(share: Tensor) -> None:
            before = self.part
            if self.running:
                self._claim(HEADS, share)
            self.switch(HEADS)
            function(share)
            self._claimed.clear()
            self.switch(before)

        return run

    def _claim(self, part: str, out: object) -> None:
        """The nodes behind a tensor that are no other part's: between its inputs, which are claimed, and itself."""

        def begins(gradients: tuple[Tensor, ...]) -> None:
            self.switch(part)

        waiting = [out.grad_fn] if isinstance(out, Tensor) else []
        while waiting:
            node = waiting.pop()
            if node is None or node in self._claimed or hasattr(node, 'variable'):  # the last: a parameter's, which several parts share
                continue
            self._claimed.add(node)
            node.register_prehook(begins)
            waiting += [above for above, _ in node.next_functions]


@contextmanager
def collectives(times: PartTimes) -> Iterator[None]:
    """Exchange between ranks is communication, waiting for the other ranks included. To be entered before DeepSpeed joins them: it
    remembers some of the functions."""
    with ExitStack() as replaced:
        for name in COLLECTIVES:
            if hasattr(torch.distributed, name):
                replaced.enter_context(wrapped(torch.distributed, name, lambda function: times.around(COMMUNICATION, function)))
        yield


@contextmanager
def parts(times: PartTimes, engine: Engine) -> Iterator[None]:
    """The engine's model and backward tell `times` what they do."""
    with ExitStack() as replaced:
        for name, part in MODEL.items():
            replaced.enter_context(wrapped(engine.module, name, lambda function, part=part: times.around(part, function)))
        for owner, name in ((step, 'run_forward'), (Contrasted, 'surrogate')):
            replaced.enter_context(wrapped(owner, name, lambda function: times.around(HEADS, function)))
        replaced.enter_context(wrapped(engine, 'backward', times.backward))
        yield


@contextmanager
def wrapped(owner: Any, name: str, wrap: Callable[..., Any]) -> Iterator[None]:
    """`owner.name` is `wrap(owner.name)` inside."""
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, wrap(before))
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
