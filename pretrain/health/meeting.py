"""The nodes' common part of the health check: who comes, whose clock is off, how fast they reduce together.

They meet at a TCPStore on the first node and not in a process group, so that one that does not come is named and not waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pretrain.engine.network import choose_gloo_interface
from pretrain.health.bandwidth import Measured, Pair, judge, measure
from pretrain.health.checks import Result
from pretrain.health.report import ANSWER, Report

MEGABYTES = {'cuda': 256, 'cpu': 4}
PARTING = 10.0  # seconds


class Meeting:
    """`results`: what this node found out alone; only its first task has some."""

    def __init__(self, options: argparse.Namespace, results: list[Result]):
        self.options, self.results = options, results
        self.names: list[str] = options.nodes.split(',')
        self.rank, self.world = int(os.environ.get('SLURM_PROCID', '0')), int(os.environ.get('SLURM_NTASKS', '1'))
        self.per_node = self.world // len(self.names)
        self.node, self.local = divmod(self.rank, self.per_node)
        self.host = os.environ.get('MASTER_ADDR', '127.0.0.1')
        self.timeout = timedelta(seconds=options.timeout)

    def hold(self) -> int:
        """Exit code: 0, 1 when a node is unfit, 2 when the same is wrong with all of them."""
        if any(one.check == 'gpu' and one.status == 'ok' for one in self.results) and not torch.cuda.is_available():
            self.results.append(Result('torch', 'bad', 'PyTorch cannot use the GPUs: a build for CPUs, or one newer than the driver'))
        host, port = self.host, int(os.environ.get('MASTER_PORT', '0'))
        try:
            # Nobody is waited for here: who does not come is found out one by one.
            self.store = dist.TCPStore(host, port, None, self.rank == 0, self.timeout, wait_for_workers=False)
            if self.rank == 0:
                return self._chair()
            self._attend()
            self.store.add('left', 1)
            return 0
        except dist.DistError as error:  # the first node does not come, or is gone
            if self.rank == 0:
                raise
            if self.local == 0:
                print(f'bad node {self.names[0]}: nothing answers at {host}:{port} ({str(error).splitlines()[0]})', flush=True)
            return 1

    def _attend(self) -> None:
        if self.local == 0:
            self._say('local', [result.as_dict() for result in self.results])
            self.store.wait([f'ask/{self.node}'], self._patience())
            self._say('time', time.time())
        self.store.wait(['measure'], self._patience())
        if self.store.get('measure') == b'yes':
            measured = self._measure()
            if self.local == 0:
                self._say('bandwidth', [measured.nodes, [[*pair, figure] for pair, figure in measured.pairs.items()]])

    def _chair(self) -> int:
        report = Report(self.names)
        report.add(self.names[0], self.results)
        deadline = time.monotonic() + self.options.timeout
        for node, name in enumerate(self.names[1:], 1):
            said = self._hear('local', node, max(deadline - time.monotonic(), 0.1))
            if said is None:
                report.add(name, [Result(ANSWER, 'bad', f'none within {self.options.timeout:g} s')])
            else:
                report.add(name, [*(Result(**one) for one in said), self._clock(node)])
        report.compare()
        self.store.set('measure', 'no' if report.unfit else 'yes')
        if not report.unfit and self.world > 1:
            nodes, pairs, everywhere = self._collect(self._measure())
            report.bandwidth(nodes, pairs, everywhere, judge(nodes, pairs, self.options.bandwidth))
        print(report.text(), flush=True)
        self._part(len(self.names) - len(report.silent))
        return 2 if report.shared else 1 if report.unfit else 0

    def _part(self, present: int) -> None:
        """The store ends with this process: let those who are here finish first."""
        deadline = time.monotonic() + PARTING
        while self.store.add('left', 0) < present * self.per_node - 1 and time.monotonic() < deadline:
            time.sleep(0.05)

    def _clock(self, node: int) -> Result:
        """A node's clock against that of the first, as exact as a message to it and back is short."""
        before = time.time()
        self.store.set(f'ask/{node}', '')
        said = self._hear('time', node, self.options.timeout)
        after = time.time()
        if said is None:
            return Result('clock', 'bad', 'the node stopped to answer')
        skew = max(before - said, said - after, 0.0)
        if skew > self.options.skew:
            return Result('clock', 'bad', f'{skew:.1f} s beside that of {self.names[0]}, {self.options.skew:g} s are allowed')
        return Result('clock', 'ok', f'within {skew + after - before:.3f} s of that of {self.names[0]}')

    def _measure(self) -> Measured:
        cuda = torch.cuda.is_available() and os.environ.get('DS_ACCELERATOR') != 'cpu'
        device = torch.device('cuda', self.local % torch.cuda.device_count()) if cuda else torch.device('cpu')
        if cuda:
            torch.cuda.set_device(device)
            os.environ['TORCH_NCCL_BLOCKING_WAIT'] = '1'  # a time-out is an exception here, and not the end of the process
        backend = 'nccl' if cuda else 'gloo'
        choose_gloo_interface(self.host)
        store = dist.PrefixStore('group', self.store)
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=self.timeout)
        return measure(self.names, self.per_node, device, self.options.megabytes or MEGABYTES[device.type], self.timeout)

    def _collect(self, own: Measured) -> tuple[dict[str, float | None], dict[Pair, float | None], float | None]:
        """The figures of all nodes. One that does not send them has failed; of the two sides of a pair the worse counts."""
        nodes, pairs = dict(own.nodes), dict(own.pairs)
        for node, name in enumerate(self.names[1:], 1):
            said = self._hear('bandwidth', node, 2 * self.options.timeout)
            within, between = said if said is not None else ({name: None}, [])
            nodes |= within
            for first, second, figure in between:
                known = pairs.get((first, second), figure)
                pairs[first, second] = None if known is None or figure is None else min(known, figure)
        return nodes, pairs, own.all

    def _say(self, what: str, content: Any) -> None:
        self.store.set(f'{what}/{self.node}', json.dumps(content))

    def _hear(self, what: str, node: int, seconds: float) -> Any:
        """What the first task of a node has said; None when it does not within so many seconds."""
        key = f'{what}/{node}'
        try:
            self.store.wait([key], timedelta(seconds=seconds))
        except dist.DistError:
            return None
        return json.loads(self.store.get(key))

    def _patience(self) -> timedelta:
        """The first node may wait for others before it speaks to this one."""
        return 3 * self.timeout
