"""Times on a cluster, from counted FLOPs and bytes and from stated rates. Nothing here is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cluster:
    """Rates of the hardware, as its vendor states them; the defaults are those of A100s."""

    gpus: int = 32
    gpus_per_node: int = 8
    memory_gb: float = 80  # of a GPU
    peak_tflops: float = 312  # A100, bf16, dense
    utilisation: float = 0.4  # assumed share of the peak that the run reaches
    nvlink_gbs: float = 300  # GB/s out of a GPU, one direction (A100: 600 both)
    internode_gbs: float = 100  # GB/s out of a node, one direction: four InfiniBand HDR adapters
    reserve: float = 0.1  # share of the memory kept for the driver, NCCL and fragmentation

    @property
    def usable_bytes(self) -> float:
        return self.memory_gb * 1e9 * (1 - self.reserve)


def communication(parameters: int, width: int, cluster: Cluster) -> dict[str, float]:
    """Of one step: bytes out of each GPU and seconds, none of them hidden behind arithmetic.

    Gradients are reduced once a step, in fp32, by all-reduce, which is how DeepSpeed fills the parts of several ranks from one bucket; a
    ring sends 2 (W - 1) / W of the data. The new weights are gathered in their own precision, (W - 1) / W. Contrastive features are
    thousands of times fewer.
    """
    share = (cluster.gpus - 1) / cluster.gpus
    reduced, gathered = 2 * share * 4 * parameters, share * width * parameters
    # A ring through all nodes is as fast as its slowest link: a node's adapters carry what one GPU sends over NVLink inside it.
    rate = cluster.nvlink_gbs if cluster.gpus <= cluster.gpus_per_node else min(cluster.nvlink_gbs, cluster.internode_gbs)
    return {
        'reduce_bytes': reduced, 'gather_bytes': gathered, 'rate_gbs': rate, 'seconds': (reduced + gathered) / rate / 1e9,
        'seconds_nvlink': (reduced + gathered) / cluster.nvlink_gbs / 1e9, 'seconds_one_adapter': (reduced + gathered) / 25e9,
    }  # fmt: skip


def timing(flops: int, communication_seconds: float, steps: int, cluster: Cluster) -> dict[str, float]:
    """Seconds of a step, and days of the run, with communication after arithmetic and with all of it hidden."""
    arithmetic = flops / (cluster.peak_tflops * 1e12 * cluster.utilisation)
    step = arithmetic + communication_seconds
    return {
        'arithmetic_seconds': arithmetic, 'step_seconds': step, 'days': step * steps / 86_400, 'days_hidden': arithmetic * steps / 86_400,
        'gpu_hours': step * steps / 3600 * cluster.gpus,
    }  # fmt: skip


def reading(samples: int, pictures: float, step_seconds: float, picture_bytes: int, text_bytes: int, decode_rate: float) -> dict[str, Any]:
    """Rates that loader and storage must reach, over all ranks. `pictures` and `samples` are of one step."""
    return {
        'samples_per_s': samples / step_seconds, 'pictures_per_s': pictures / step_seconds,
        'storage_mb_per_s': (pictures * picture_bytes + samples * text_bytes) / step_seconds / 1e6,
        'loader_processes': pictures / step_seconds / decode_rate,
    }  # fmt: skip
