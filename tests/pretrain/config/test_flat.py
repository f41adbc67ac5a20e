"""Settings by dotted key, and what differs between two runs."""

from __future__ import annotations

from typing import Any

import pytest

from pretrain.config import Config, differences, flat, load_config


def test_given_back_as_arguments_they_make_the_same_settings() -> None:
    asked = ['steps=7', 'tasks=[cmcl,mt]', 'task_weights.mt=2', 'model.visual.options.depth=3', 'optimizer.betas=[0.8,0.9]']
    settings = flat(load_config(None, asked).model_dump(by_alias=True, mode='json'))
    assert (settings['tasks'], settings['task_weights.mt'], settings['model.visual.options.depth']) == (['cmcl', 'mt'], 2.0, 3)
    assert load_config(None, [f'{key}={"null" if value is None else value}' for key, value in settings.items()]) == load_config(None, asked)


def test_an_empty_mapping_is_not_lost() -> None:
    assert flat({'a': {'b': {}, 'c': {'d': None}}, 'e': [{'f': 1}]}) == {'a.b': {}, 'a.c.d': None, 'e': [{'f': 1}]}
    assert flat(Config().model_dump(by_alias=True))['task_weights'] == {}


@pytest.mark.parametrize(
    ('now', 'then', 'found'),
    [
        ({'a': 1, 'b': {'c': [1]}}, {'b': {'c': [1]}, 'a': 1}, {}),
        ({'b': {'c': 2}, 'a': 3}, {'a': 1, 'b': {'c': 1}}, {'b.c': (2, 1), 'a': (3, 1)}),  # in the order of the first
        ({'new': 0}, {'old': 0}, {'new': (0, None), 'old': (None, 0)}),
        ({'weights': {}}, {'weights': {'mt': 2}}, {'weights.mt': (None, 2)}),
        ({'weights': {'mt': 2}}, {'weights': {}}, {'weights.mt': (2, None)}),
        ({'weights': {}}, {}, {}),
        ({'part': None}, {'part': {'a': 1}}, {'part.a': (None, 1)}),
    ],
)
def test_what_differs(now: dict[str, Any], then: dict[str, Any], found: dict[str, tuple[Any, Any]]) -> None:
    assert differences(now, then) == found and list(differences(now, then)) == list(found)
