"""`pretrain doctor`: is everything here that a run needs? One table; every failure with its remedy."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pretrain.config import Config
from pretrain.doctor.finding import FAIL, Finding
from pretrain.doctor.inputs import data, earlier, evaluation, weights
from pretrain.doctor.machine import compilers, disk, machine
from pretrain.doctor.software import deepspeed_json, fused, launch, trackers, versions

ROOT = Path(__file__).resolve().parents[2]
CHECKS: dict[str, Callable[[Config], Iterator[Finding]]] = {
    'versions': versions, 'trackers': trackers, 'machine': machine, 'compilers': compilers, 'kernels': fused, 'launch': launch,
    'disk': disk, 'checkpoints': earlier, 'data': data, 'weights': weights, 'evaluation': evaluation,
}  # fmt: skip
WIDTH = 100  # columns of the table, but for words that are longer
NAMES = 26  # columns for names at most; a longer one has a line of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--config', metavar='YAML', default=str(ROOT / 'configs/paper.yaml'), help='the run to check for; default: configs/paper.yaml')
    add('--deepspeed', metavar='JSON', default=None, help='DeepSpeed configuration of that run (default: ds_configs/zero2.json)')
    add('--json', action='store_true', help='print the findings as JSON')
    add('settings', nargs='*', metavar='key=value', help='settings that replace those of the configuration')


def run(options: argparse.Namespace) -> int:
    """Print the table. Returns 1 when something fails."""
    from pretrain.config import load_config

    findings = diagnose(load_config(options.config, options.settings), options.deepspeed)
    if options.json:
        import json

        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(render(findings))
    return 1 if any(finding.state == FAIL for finding in findings) else 0


def diagnose(config: Config, ds_config: str | None = None) -> list[Finding]:
    """Every check, in the order of the table. A check that breaks is a failure of its own, not the end of the others."""
    findings: list[Finding] = []
    checks: dict[str, Callable[[Config], Iterator[Finding]]] = {**CHECKS, 'DeepSpeed': partial(deepspeed_json, path=ds_config)}
    for group, check in checks.items():
        try:
            findings += check(config)
        except Exception as error:
            said = ' '.join(f'{type(error).__name__}: {error}'.split())
            findings.append(Finding(group, 'check', FAIL, said, 'this check itself failed: please report it with this line'))
    return findings


def render(findings: list[Finding]) -> str:
    """The table, in WIDTH columns, and how many failed."""
    width = min(NAMES, max(len(finding.what) for finding in findings))
    lines: list[str] = []
    group = ''
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += ['', group] if lines else [group]
        name = f'  {finding.state:4s}  {finding.what:{width}s}  '
        if len(finding.what) > width:
            lines.append(name.rstrip())
            name = ''
        column = 8 + width + 2
        lines += _wrapped(finding.found, name.ljust(column), column)
        if finding.remedy:
            lines += _wrapped(finding.remedy, f'{"":8s}-> ', 11)
    failures = sum(finding.state == FAIL for finding in findings)
    lines += ['', f'{failures} of {len(findings)} checks failed' if failures else f'all {len(findings)} checks passed or are no obstacle']
    return '\n'.join(lines)


def _wrapped(text: str, first: str, column: int) -> list[str]:
    """A word is never divided: paths and commands stay what they are."""
    lines = textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=' ' * column, break_long_words=False, break_on_hyphens=False)
    return lines or [first.rstrip()]
