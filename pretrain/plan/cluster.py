"""Times on a cluster, from counted FLOPs and bytes and from stated rates. Nothing here is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pretrain.plan.kernels import PEAK_TFLOPS


@dataclass(frozen=True)
class Cluster:
    """Rates of the hardware, as its vendor states them; the defaults are those of A100s."""

    gpus: int = 32
    gpus_per_node: int = 8
    memory_gb: float = 80  # of a GPU
    peak_tflops: float = PEAK_TFLOPS['bf16']
    utilisation: float = 0.4  # assumed share of the peak that the run reaches
    nvlink_gbs: float = 300  # GB/s out of a GPU, one direction (A100: 600 both)
    internode_gbs: float = 100  # GB/s out of a node, one direction: four InfiniBand HDR adapters
    reserve: float = 0.1  # share of the memory kept for the driver, NCCL and fragmentation

    @property
    def nodes(self) -> int:
        return -(-self.gpus // self.gpus_per_node)

    @property
    def usable_bytes(self) -> float:
        return self.memory_gb * 1e9 * (1 - self.reserve)


def communication(parameters: int, width: int, cluster: Cluster, sent: int = 4, pictures: int = 0) -> dict[str, float]:
    """Of one step: bytes out of each GPU and seconds, none of them hidden behind arithmetic.

    Gradients are reduced once a step, `sent` bytes an element, by all-reduce, which is how DeepSpeed fills the parts of several ranks from
    one bucket; a ring sends 2 (W - 1) / W of the data. The new weights are gathered in their own precision, (W - 1) / W. pictures: bytes
    that are broadcast for ITM's hard negatives, every rank's to all others. Contrastive features are thousands of times fewer.
    """
    share = (cluster.gpus - 1) / cluster.gpus
    reduced, gathered, shown = 2 * share * sent * parameters, share * width * parameters, share * pictures
    # A ring through all nodes is as fast as its slowest link: a node's adapters carry what one GPU sends over NVLink inside it.
    rate = cluster.nvlink_gbs if cluster.gpus <= cluster.gpus_per_node else min(cluster.nvlink_gbs, cluster.internode_gbs)
    total = reduced + gathered + shown
    return {
        'reduce_bytes': reduced, 'gather_bytes': gathered, 'picture_bytes': shown, 'rate_gbs': rate, 'seconds': total / rate / 1e9,
        'seconds_nvlink': total / cluster.nvlink_gbs / 1e9, 'seconds_one_adapter': total / 25e9,
    }  # fmt: skip


def timing(flops: int, communication_seconds: float, steps: int, cluster: Cluster) -> dict[str, float]:
    """Seconds of a step, and days of the run, with communication after arithmetic and with all of it hidden."""
    arithmetic = flops / (cluster.peak_tflops * 1e12 * cluster.utilisation)
    step = arithmetic + communication_seconds
    return {
        'arithmetic_seconds': arithmetic, 'step_seconds': step, 'days': step * steps / 86_400, 'days_hidden': arithmetic * steps / 86_400,
        'gpu_hours': step * steps / 3600 * cluster.gpus,
    }  # fmt: skip


@dataclass(frozen=True)
class Records:
    """What a step reads, over all ranks."""

    samples: float
    pictured: float  # records with a picture
    decoded: float  # pictures of these that are decoded
    redrawn: float  # of `pictured`: other records of the same global batch, which are in shards that are open already
    texts: float  # records without a picture


def reading(records: Records, step_seconds: float, picture_bytes: int, text_bytes: int, decode_rate: float, nodes: int) -> dict[str, Any]:
    """Rates that loader and storage must reach, over all ranks.

    A node reads a shard whole before its first record of it, to compare its SHA-256, and its ranks' records are in the shards that all
    ranks read. So until it has met all shards, which takes an epoch at most, each node reads up to as much as all ranks draw.
    """
    drawn = (records.pictured - records.redrawn) * picture_bytes + records.texts * text_bytes
    read = records.pictured * picture_bytes + records.texts * text_bytes
    return {
        'samples_per_s': records.samples / step_seconds, 'pictures_per_s': records.decoded / step_seconds,
        'records_per_s': (records.pictured + records.texts) / step_seconds, 'storage_mb_per_s': read / step_seconds / 1e6,
        'shards_mb_per_s': drawn * nodes / step_seconds / 1e6, 'loader_processes': records.decoded / step_seconds / decode_rate,
    }  # fmt: skip
