"""The paper's eight tasks, UC2's VTLM and those of fine-tuning, one file each, and their registry."""

from __future__ import annotations

from pretrain.tasks.answering import Answering
from pretrain.tasks.base import ContrastiveTask, SumTask, Task
from pretrain.tasks.captioning import Captioning
from pretrain.tasks.clcl import CLCL
from pretrain.tasks.cmcl import CMCL
from pretrain.tasks.entailment import Entailment
from pretrain.tasks.itm import ITM
from pretrain.tasks.mlm import MLM
from pretrain.tasks.mmmt import MMMT
from pretrain.tasks.mt import MT
from pretrain.tasks.plm import PLM
from pretrain.tasks.translation import Translation
from pretrain.tasks.vplm import VPLM
from pretrain.tasks.vtlm import VTLM

REGISTRY: dict[str, Task] = {
    task.name: task
    for task in (
        CMCL(), CLCL(), ITM(), MLM(), PLM(), VPLM(), MT(), MMMT(), VTLM(), Entailment(), Answering(), Translation(), Captioning(),
    )
}  # fmt: skip
CONTRASTIVE = {name: task for name, task in REGISTRY.items() if isinstance(task, ContrastiveTask)}
SUMMED = {name: task for name, task in REGISTRY.items() if isinstance(task, SumTask)}

__all__ = ['CONTRASTIVE', 'REGISTRY', 'SUMMED', 'ContrastiveTask', 'SumTask', 'Task']
