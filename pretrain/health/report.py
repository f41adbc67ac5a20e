"""The result of a health check: a line a check and node, and which nodes are unfit."""
from __future__ import annotations

import time

from pretrain.health.bandwidth import Pair
from pretrain.health.checks import Result

ANSWER = 'answer'  # the check that a node fails which does not come at all


class Report:
    """`unfit`: {node: the first reason}. slurm/pretrain.sh looks for the lines `bad node NAME: reason`."""

    def __init__(self, names: list[str]):
        self.results: dict[str, list[Result]] = {name: [] for name in names}
        self.unfit: dict[str, str] = {}
        self._figures: list[str] = []
        self._began = time.monotonic()

    @property
    def silent(self) -> list[str]:
        """Nodes that did not come."""
        return [name for name, results in self.results.items() if any(one.check == ANSWER for one in results)]

    def add(self, name: str, results: list[Result]) -> None:
        """Results of a node."""
        self.results[name] += results
        for result in results:
            if result.status == 'bad':
                self.unfit.setdefault(name, f'{result.check}: {result.text}')

    def compare(self) -> None:
        """A check of GPUs that only some nodes can make is bad on the others: they have lost their driver."""
        have = [name for name, results in self.results.items() if any(one.check == 'gpu' and one.status == 'ok' for one in results)]
        for name, results in self.results.items():
            if have and any(one.check == 'gpu' and one.status == 'skipped' for one in results):
                self.add(name, [Result('gpu', 'bad', f'no nvidia-smi, which {have[0]} has')])

    def bandwidth(
        self, nodes: dict[str, float | None], pairs: dict[Pair, float | None], everywhere: float | None, unfit: dict[str, str]
    ) -> None:
        """Figures in GB/s, and whom they make unfit."""
        figures = [*nodes.items(), *((f'{first} with {second}', figure) for (first, second), figure in pairs.items())]
        figures += [('all', everywhere)] if len(self.results) > 2 else []
        self._figures = [f'{name:<12} all-reduce {"failed" if figure is None else f"{figure:.2f} GB/s"}' for name, figure in figures]
        for name, reason in unfit.items():
            self.unfit.setdefault(name, reason)

    def text(self) -> str:
        """All of it, to print."""
        lines = [f'{name:<12} {one.status:<8}{one.check}: {one.text}' for name, results in self.results.items() for one in results]
        lines += self._figures
        if not self._figures:
            lines.append('all-reduce not measured: ' + ('a node is unfit' if self.unfit else 'one process only'))
        lines += [f'bad node {name}: {reason}' for name, reason in self.unfit.items()]
        fit = len(self.results) - len(self.unfit)
        lines.append(f'health check: {fit} of {len(self.results)} nodes fit, {time.monotonic() - self._began:.1f} s')
        return '\n'.join(lines)
