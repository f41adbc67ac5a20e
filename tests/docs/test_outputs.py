"""What the documents show as printed is printed: of docs/data.md by its own commands on the sample, of docs/train.md by the plan."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.cli import main
from data_pipeline.shard_urls import shard_urls
from pretrain.cli import run
from tests.docs.commands import ROOT, blocks

BLOCKS = [block.lines for block in blocks((ROOT / 'docs/data.md').read_text(encoding='utf8'))]


def test_build_verify_and_stats_print_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'sample').symlink_to(ROOT / 'sample')
    monkeypatch.chdir(tmp_path)

    def printed(command: str) -> list[str]:
        assert main(shlex.split(command)[1:]) == 0
        return capsys.readouterr().out.splitlines()

    build = next(line for lines in BLOCKS for line in lines if line.startswith('data_pipeline build cc3m '))
    summary = next(lines for lines in BLOCKS if lines[0].startswith('cc3m: '))
    seconds = re.compile(r'\d+ s$')
    assert [seconds.sub('', line) for line in printed(build)] == [seconds.sub('', line) for line in summary]

    shown = next(lines for lines in BLOCKS if lines[0].startswith('$ data_pipeline verify'))
    commands = [line.removeprefix('$ ') for line in shown if line.startswith('$ ')]
    assert len(commands) == 2
    assert [line for command in commands for line in (f'$ {command}', *printed(command))] == shown

    first, *told = next(lines for lines in BLOCKS if lines[0].startswith('$ data_pipeline remove'))
    url = next(shard_urls(Path('data/shards/cc3m')))
    Path('urls.txt').write_text(f'{url}\n{told[-1]}\n')
    assert printed(first.removeprefix('$ ')) == told


def cells(plan: dict[str, Any]) -> dict[str, str]:
    """The table of `pretrain plan` in docs/train.md: first cell -> second."""
    memory, times, sent, read = plan['memory'], plan['time'], plan['communication'], plan['reading']
    parts = ', '.join(f'{part} {memory[part] / 1e9:.1f}' for part in ('weights', 'optimizer', 'gradients', 'activations', 'logits'))
    micro = {(row['memory_gb'], row['recompute']): row['micro'] for row in plan['largest_batch']}
    assert plan['fits'] and not plan['recompute'] and plan['cluster']['utilisation'] == 0.4
    return {
        'memory of a GPU': f'{memory["total"] / 1e9:.1f} GB: {parts}; fits {plan["cluster"]["memory_gb"]:g} GB without recomputation',
        **{f'largest micro-batch, {gb} GB': f'{micro[gb, False]}, with recomputation {micro[gb, True]}' for gb in (40, 80)},
        'arithmetic': f"{plan['flops_per_gpu'] / 1e12:.0f} TFLOP a step and GPU; at an assumed 40 % of an A100's peak "
        f'{times["arithmetic_seconds"]:.1f} s',
        'communication a step and GPU': f'{sent["reduce_bytes"] / 1e9:.1f} GB of gradients, {sent["gather_bytes"] / 1e9:.1f} GB of '
        f'weights: {sent["seconds_nvlink"]:.2f} s over NVLink, {sent["seconds"]:.2f} s between nodes at {sent["rate_gbs"]:g} GB/s, '
        f'{sent["seconds_one_adapter"]:.2f} s at 25 GB/s',
        'the run': f'{times["days"]:.1f} days at that utilisation, {times["gpu_hours"]:,.0f} GPU hours',
        'reading': f'{round(read["samples_per_s"], -2):,.0f} samples/s, {round(read["pictures_per_s"], -2):,.0f} decoded pictures/s, '
        f'{round(read["records_per_s"], -2):,.0f} records/s, {round(read["storage_mb_per_s"], -1):.0f} MB/s, in the first epoch up to '
        f'{round(read["shards_mb_per_s"], -1):.0f} MB/s more',
    }


@pytest.mark.slow
def test_the_plan_says_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / 'docs/train.md').read_text(encoding='utf8').partition('## Planning a run')[2].partition('\n## ')[0]
    command = next(block.lines[0] for block in blocks(page))
    monkeypatch.chdir(tmp_path)  # without a tokenizer
    assert run([*shlex.split(command)[1:], '--json']) == 0
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in page.splitlines() if line.startswith('| ')]
    assert {first: second for first, second in rows if first} == cells(json.loads(capsys.readouterr().out))
