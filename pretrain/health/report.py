"""The result of a health check: a line a check and node, which nodes are unfit, and what is no node's own fault."""

from __future__ import annotations

import time

from pretrain.health.bandwidth import Pair
from pretrain.health.checks import Result

ANSWER = 'answer'  # the check that a node fails which does not come at all


class Report:
    """`unfit`: {node: the first reason}. slurm/pretrain.sh looks for the lines `bad node NAME: reason`.

    `shared`: {check: its result}, of those that are bad on every one of several nodes: the run's disk, the environment, an option of the
    check. Excluding nodes would not help, and would end with the cluster: so nobody is named, and the user is told. Of a node that is alone
    it is what all nodes share by their nature.
    """

    def __init__(self, names: list[str]):
        self.results: dict[str, list[Result]] = {name: [] for name in names}
        self.unfit: dict[str, str] = {}
        self.shared: dict[str, str] = {}
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
        """When all nodes have spoken. A check of GPUs that only some can make is bad on the others: they have lost their driver."""
        have = [name for name, results in self.results.items() if any(one.check == 'gpu' and one.status == 'ok' for one in results)]
        for name, results in self.results.items():
            if have and any(one.check == 'gpu' and one.status == 'skipped' for one in results):
                self.add(name, [Result('gpu', 'bad', f'no nvidia-smi, which {have[0]} has')])
        if len(self.results) > 1:
            bad = [{one.check: one.text for one in results if one.status == 'bad'} for results in self.results.values()]
            self.shared = {check: text for check, text in bad[0].items() if all(check in other for other in bad)}
        else:
            (results,) = self.results.values()
            self.shared = {one.check: one.text for one in results if one.status == 'bad' and one.shared}

    def bandwidth(
        self, nodes: dict[str, float | None], pairs: dict[Pair, float | None], everywhere: float | None, unfit: dict[str, str]
    ) -> None:
        """Figures in GB/s, and whom they make unfit."""
        figures = [*nodes.items(), *((f'{first} with {second}', figure) for (first, second), figure in pairs.items())]
        figures += [('all', everywhere)] if len(self.results) > 2 else []
        self._figures = [f'{name:<12} all-reduce {"failed" if figure is None else f"{figure:.2f} GB/s"}' for name, figure in figures]
        for name, reason in unfit.items():
            self.unfit.setdefault(name, reason)
        if len(unfit) == len(self.results) > 1:
            self.shared['bandwidth'] = next(iter(unfit.values()))

    def text(self) -> str:
        """All of it, to print."""
        lines = [f'{name:<12} {one.status:<8}{one.check}: {one.text}' for name, results in self.results.items() for one in results]
        lines += self._figures
        if not self._figures:
            lines.append('all-reduce not measured: ' + ('a node is unfit' if self.unfit else 'one process only'))
        if not self.shared:
            lines += [f'bad node {name}: {reason}' for name, reason in self.unfit.items()]
        where = f'on all {len(self.results)} nodes, so it is what they share'
        remedy = 'mend that, or change the options of the check (HEALTHCHECK)'
        if len(self.results) == 1:
            (name,) = self.results
            where = f'on {name}, and nodes share that folder'
            remedy += f', or, if other nodes can write there, leave this one out: --exclude={name}'
        lines += [f'error: {check}: {text} {where}; {remedy}' for check, text in self.shared.items()]
        fit = len(self.results) - len(self.unfit)
        lines.append(f'health check: {fit} of {len(self.results)} nodes fit, {time.monotonic() - self._began:.1f} s')
        return '\n'.join(lines)
