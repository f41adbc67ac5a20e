"""Pictures that forwards have in common are encoded once, forth and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pretrain.data.batch import TaskBatch
from pretrain.engine.flops import Flops
from pretrain.engine.forwards import Forward, forwards, grouped
from pretrain.engine.shared_pictures import SharedPictures, numbered, shared_pictures
from pretrain.model.unix2 import UniX2
from pretrain.tasks.forward import forward
from tests.support.synthetic import VOCABULARY, micro_batches, task_batch, tiny_config, with_pictures_in_common

CPU = torch.device('cpu')
TASKS = ('cmcl', 'itm', 'mlm', 'vplm', 'mt')


@pytest.fixture
def model() -> UniX2:
    torch.manual_seed(0)
    return UniX2(tiny_config('x').model, VOCABULARY)


def data() -> dict[str, list[TaskBatch]]:
    out = {}
    for number, task in enumerate(TASKS):
        whole = task_batch(task)
        with_pictures_in_common(whole, number)
        out[task] = micro_batches(whole, 0, 1, 8)
    return out


def group_of(batches: dict[str, list[TaskBatch]]) -> list[Forward]:
    found: list[Forward] = grouped(forwards(batches, together=False), True)[0]
    return found


def test_numbers() -> None:
    batches = {task: group[0] for task, group in data().items()}
    rows, first = numbered(batches)
    assert list(rows) == ['cmcl', 'itm', 'mlm', 'vplm']
    images = torch.cat([batches[part].images[new] for part, new in first.items()])  # type: ignore[index]
    for part, places in rows.items():
        assert torch.equal(images[places], batches[part].images)  # type: ignore[arg-type]
    assert len({image.numpy().tobytes() for image in images}) == len(images)
    batches['vplm'].image_keys = None
    assert len(numbered(batches)[1]['vplm']) == 8, 'without keys all differ'


def test_the_visual_encoder_sees_a_picture_once(model: UniX2, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gets the gradient that it gets when every forward encodes its own."""
    calls: list[int] = []
    encode = model.encode_images

    def counted(images: Tensor) -> Tensor:
        calls.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, 'encode_images', counted)
    group = group_of(data())
    assert [each.name for each in group] == ['cmcl', 'itm', 'mlm', 'vplm']

    def total(each: Forward, pictures: SharedPictures | None) -> Tensor:
        outcome = forward(model, each.batches, shown=None if pictures is None else pictures.shown())
        weights = torch.linspace(-1, 1, 8)[:, None]
        return outcome.total + sum(((side * weights).sum() for pair in outcome.features.values() for side in pair), torch.zeros(()))

    def gradients() -> dict[str, Tensor]:
        found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        model.zero_grad()
        return found

    for each in group:
        total(each, None).backward()
    wanted = gradients()
    assert sum(calls) == 8 + 8 + 4 + 8
    calls.clear()
    (pictures,) = shared_pictures(model, [group], CPU).values()
    for each in group:
        total(each, pictures).backward()
    assert not any(name.startswith('visual_encoder') for name, value in model.named_parameters() if value.grad is not None)
    pictures.backward()
    got = gradients()
    shown = torch.cat([batch.images for each in group for batch in each.batches.values() if batch.images is not None])
    different = len({image.numpy().tobytes() for image in shown})
    assert calls == [different] and different == len(shown) - pictures.spared < 15
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, atol=1e-6, rtol=1e-4)


def test_a_group_without_a_picture(model: UniX2) -> None:
    group = group_of({'mlm': [TaskBatch('mlm', torch.arange(2), ['en'] * 2, task_batch('mt', 2).text)]})
    (pictures,) = shared_pictures(model, [group], CPU).values()
    assert pictures.shown() is None and pictures.encoded() is None and pictures.spared == 0
    pictures.backward()


def test_flops_of_a_picture_count_once(model: UniX2) -> None:
    flops, batch = Flops(model), task_batch('cmcl', 4)
    pictures = (flops.of([batch]) - flops.of([batch], 4)) // 4
    assert pictures == 3 * flops.picture + 2 * flops.pixels
