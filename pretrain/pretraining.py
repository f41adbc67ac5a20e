"""Pre-training as a workload: shards, the eight tasks, held-out losses and the zero-shot retrieval curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from pretrain.config import Config
from pretrain.data.batch import TaskBatch
from pretrain.data.heldout import HeldOut
from pretrain.data.images import read_picture
from pretrain.data.loader import TrainLoader
from pretrain.data.sources import check_data
from pretrain.data.streams import Catalog
from pretrain.engine.control import Control
from pretrain.engine.removals import check_same_shards
from pretrain.engine.zero import Engine
from pretrain.evaluation.curve import rank_split, retrieval_curve, retrieval_split
from pretrain.evaluation.heldout import Report, heldout_losses
from pretrain.init import Start
from pretrain.tasks.contrastive import Contrast
from pretrain.workload import Evaluation, Workload
from shards.errors import UserError
from shards.tokenizer import Tokenizer

PICTURES_TRIED = 32  # of the retrieval set, by a dry run


class Pretraining(Workload):
    """What `pretrain/run.py` trains. Raises UserError for a configuration of a fine-tuning, and a tokenizer that is not there."""

    def __init__(self, config: Config):
        if config.finetune is not None:
            benchmark = config.finetune.benchmark
            raise UserError(f'this configuration is of a fine-tuning; `downstream {benchmark} finetune` runs it')
        super().__init__(config, Tokenizer.load(Path(config.data.tokenizer), config.model.family))
        self._catalog = Catalog(config.data.shards, self.tokenizer, config.data.cache)
        self._held_out: HeldOut | None = None

    def check(self) -> dict[str, str]:
        manifests = check_data(self.config, self.tokenizer, self._catalog)
        split = retrieval_split(self.config)
        for language in split.captions if split else ():
            try:
                self.tokenizer.language(language)
            except UserError as error:
                raise UserError(f'eval.retrieval.languages: {error}') from None
        return manifests

    def check_same_data(self, saved: dict[str, str], present: dict[str, str], checkpoint: Path) -> str | None:
        return check_same_shards(self.config, saved, present, checkpoint)

    def weights(self) -> Start:
        return Start(self.config, self.tokenizer)

    def loader(self, rank: int, world: int, start_step: int, skip: Sequence[Sequence[int]], tell: Callable[[str], object]) -> TrainLoader:
        return TrainLoader(self.config, self.tokenizer, rank, world, start_step, skip, tell)

    def evaluate(self, engine: Engine, control: Control) -> Evaluation | None:
        held_out = self._samples(engine.rank)
        losses: Report = {}
        for task in self.config.eval_tasks:
            doing = f'the held-out loss of {task}'
            if control.point(doing):
                return None
            pool = _beating(control, held_out.batches(task, engine.rank, engine.world), doing)
            losses |= heldout_losses(engine, {task: pool}, Contrast.of(self.config))
        if control.point('the retrieval curve'):
            return None
        curve = retrieval_curve(engine, self.config, self.tokenizer, control.tell)
        control.point('the retrieval curve', False)  # what was told is heard now, also after the last step
        return {'heldout': losses, 'retrieval': curve}

    def amount(self, manifests: dict[str, str]) -> str:
        return self._catalog.amount()

    def open_evaluation(self, rank: int, world: int) -> str:
        held_out, split = self._samples(rank), retrieval_split(self.config)
        for task in self.config.eval_tasks:
            for _ in held_out.batches(task, rank, world):
                pass
        size, paths = self.config.model.visual.image_size, split.paths if split else []
        for path in paths[rank::world]:
            read_picture(path, size)
        languages = ' '.join(f'{task} {len(held_out.pools(task))}' for task in self.config.eval_tasks)
        return f'languages with held-out samples: {languages}; pictures of the retrieval set: {len(paths)}'

    def try_evaluation(self, engine: Engine, control: Control) -> str:
        """The held-out loss of one micro-batch of each task a rank, and the retrieval of the set's first pictures."""
        held_out, split = self._samples(engine.rank), retrieval_split(self.config)
        losses: Report = {}
        for task in self.config.eval_tasks:
            control.beat(f'the held-out loss of {task}')
            pools = islice(held_out.batches(task, engine.rank, engine.world), 1)
            losses |= heldout_losses(engine, {task: [(language, batches[:1]) for language, batches in pools]}, Contrast.of(self.config))
        told = [f'held-out losses of a batch: {_means(losses)}']
        if split is not None:
            control.beat('the retrieval curve')
            few = split.first(PICTURES_TRIED)
            ranked = rank_split(engine, self.config, self.tokenizer, few, control.tell)
            told.append(f'retrieval of {len(few.names)} pictures in {len(ranked)} languages')
        return '; '.join(told)

    def said(self, evaluation: Evaluation) -> list[str]:
        losses, retrieval = evaluation['heldout'], evaluation['retrieval']
        lines = [f'held-out loss at step {evaluation["step"]}: {_means(losses)}']
        right = {task: report['accuracy'] for task, report in losses.items() if report.get('accuracy') is not None}
        if right:
            lines[0] += '  accuracy: ' + '  '.join(f'{task} {share:.3f}' for task, share in right.items())
        if retrieval:
            recalls = '  '.join(f'{language} {recall["text_to_image"][2]:.2f}' for language, recall in retrieval.items())
            lines.append(f'zero-shot text->image R@10: {recalls}')
        return lines

    def _samples(self, rank: int) -> HeldOut:
        """The same for all evaluations of a run: which records serve which language is looked up once."""
        if self._held_out is None:
            self._held_out = HeldOut(self.config, self.tokenizer, speaks=rank == 0)
        return self._held_out


def _means(losses: Report) -> str:
    told = '  '.join(f'{task} {report["mean"]:.3f}' for task, report in losses.items() if report['mean'] is not None)
    return told or 'no task has samples'


def _beating(control: Control, pool: Iterable[tuple[str, list[TaskBatch]]], doing: str) -> Iterator[tuple[str, list[TaskBatch]]]:
    for item in pool:
        control.beat(doing)
        yield item
