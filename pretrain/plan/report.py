"""A plan as a table to read."""

from __future__ import annotations

from typing import Any

from pretrain.plan.largest import FIT_MOST
from pretrain.plan.memory import PARTS
from shards.tables import table


def render(plan: dict[str, Any]) -> str:
    cluster, memory, times, sent, read = plan['cluster'], plan['memory'], plan['time'], plan['communication'], plan['reading']
    lines = [
        f'{plan["parameters"]:,} parameters, vocabulary {plan["vocabulary"]:,}, {plan["precision"]}, {cluster["gpus"]} GPUs, '
        f'micro-batch {plan["micro"]}, recomputation {"on" if plan["recompute"] else "off"}',
        '',
        f'Memory of a GPU in GB, ZeRO-{plan["stage"]}, sequences of full length',
        *_indented(
            ['moment', *PARTS, 'sum'],
            [[row['moment'], *(f'{row[part] / 1e9:.2f}' for part in PARTS), f'{row["total"] / 1e9:.2f}'] for row in _moments(plan)],
        ),
        f'highest in {memory["moment"]}: {memory["total"] / 1e9:.1f} GB of {cluster["memory_gb"]:g}, of which {cluster["reserve"]:.0%} '
        f'are kept free: {"fits" if plan["fits"] else "DOES NOT FIT: lower batch.micro, or set model.recompute=true"}',
        '',
        'A step of one GPU by task: sequences of mean length; bytes that operations read and write if none is fused',
        *_indented(
            ['task', 'samples', 'TFLOP', 'GFLOP a sample', 'GB moved', 'ms', 'GB kept'],
            [
                [
                    task,
                    f'{row["samples_per_gpu"]}',
                    f'{row["flops"] / 1e12:.1f}',
                    f'{row["flops_per_sample"] / 1e9:.0f}',
                    f'{row["bytes"] / 1e9:.0f}',
                    f'{row["seconds"] * 1e3:.0f}',
                    f'{(row["activations"] + row["logits"]) / 1e9:.1f}',
                ]
                for task, row in plan['tasks'].items()
            ],
        ),
        '',
        f'Time at {cluster["utilisation"]:.0%} of {cluster["peak_tflops"]:g} TFLOP/s (assumed, not measured)',
        f'  arithmetic {times["arithmetic_seconds"]:.2f} s a step, communication {sent["seconds"]:.2f} s: {times["days"]:.1f} days, '
        f'{times["gpu_hours"]:,.0f} GPU hours; {times["days_hidden"]:.1f} days if communication hides entirely',
        f'Communication a step and GPU: {sent["reduce_bytes"] / 1e9:.1f} GB of gradients '
        f'({"fp32" if plan["sent"] == 4 else "16 bits"}, once a step), {sent["gather_bytes"] / 1e9:.1f} GB of weights'
        + (f', {sent["picture_bytes"] / 1e9:.1f} GB of pictures for hard negatives' if sent['picture_bytes'] else ''),
        f"  {sent['seconds_nvlink']:.2f} s at NVLink's {cluster['nvlink_gbs']:g} GB/s, {sent['seconds']:.2f} s at the slowest link "
        f'({sent["rate_gbs"]:g} GB/s), {sent["seconds_one_adapter"]:.2f} s with one InfiniBand HDR adapter a node (25 GB/s)',
        f'Reading: {read["samples_per_s"]:,.0f} samples/s, {read["pictures_per_s"]:,.0f} pictures/s to decode by '
        f'{read["loader_processes"]:.0f} loader processes in all, {read["loader_processes"] / cluster["gpus"]:.1f} a GPU',
        f'  {read["records_per_s"]:,.0f} records/s, {read["storage_mb_per_s"]:,.0f} MB/s from storage; and in the first epoch up to '
        f'{read["shards_mb_per_s"]:,.0f} MB/s more, as each node reads every shard whole, once, to verify it',
        f'Checkpoints: {plan["checkpoint_bytes"] / 1e9:.1f} GB each, {plan["checkpoints"]} in the run',
        '',
        'The largest micro-batch of full-length sequences that fits, every task having as many samples in one go',
        *_indented(
            ['GPU', 'recomputation', 'micro-batch', 'samples a task in one go'],
            [
                [
                    f'{row["memory_gb"]} GB',
                    'on' if row['recompute'] else 'off',
                    f'{row["micro"]}{" or more" if row["micro"] >= FIT_MOST else ""}',
                    f'{row["global"]:,}',
                ]
                for row in plan['largest_batch']
            ],
        ),
        '',
        'Assumed: ' + ', '.join(f'{name} {value:g}' for name, value in plan['assumed'].items()),
        'Counted on the model itself, without running it. Nothing of this was measured on a GPU.',
    ]
    if plan['drawn'] != 1:
        lines.append(
            f'Of each task {plan["drawn"]:.3g} global batches are drawn a step on average: so many times a row of the table by task.'
        )
    if plan['share_images']:
        lines.append(
            'Tasks of one size share pictures, as if every record had captions in two languages: in memory and time a picture is encoded '
            'once, in the table by task for each by itself, and reading counts a record for each.'
        )
    return '\n'.join(lines)


def _moments(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan['memory']] if plan['memory']['moment'] == 'reduction' else [plan['memory'], plan['memory_reduction']]


def _indented(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f'  {line.rstrip()}' for line in table(head, rows).splitlines()]
