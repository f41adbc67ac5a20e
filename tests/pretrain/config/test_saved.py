"""Settings that another version saved."""

from __future__ import annotations

from typing import Any

import pytest

from pretrain.config import Config, load_config, read_saved

FINETUNE = {'benchmark': 'coco', 'model': 'm', 'data': 'd'}


def saved(config: Config) -> dict[str, Any]:
    return config.model_dump(by_alias=True, mode='json')


def test_the_same_version_has_them_all() -> None:
    config = load_config(None, ['task_weights.mt=2', 'optimizer.betas=[0.8,0.9]', 'model.visual.options.depth=3', 'batch.global=8'])
    tuned = Config.model_validate({'finetune': FINETUNE})
    for settings in (saved(Config()), saved(config), saved(tuned)):
        assert read_saved(settings) == (settings, {})


def test_what_an_earlier_one_did_not_have_is_at_its_default() -> None:
    now = saved(Config.model_validate({'batch': {'global': 8}, 'finetune': FINETUNE}))
    then = saved(Config.model_validate({'batch': {'global': 8}, 'finetune': FINETUNE}))
    del then['seed'], then['watchdog'], then['optimizer']['betas'], then['eval']['retrieval']['split'], then['finetune']['languages']
    assert read_saved(then) == (now, {})
    assert read_saved({}) == (saved(Config()), {})
    del then['finetune']['benchmark']  # which has no default
    assert 'benchmark' not in read_saved(then)[0]['finetune']


@pytest.mark.parametrize(
    ('more', 'gone'),
    [
        ({'old': 0}, {'old': 0}),
        ({'old': {'one': False, 'two': None, 'three': {'four': [1]}}}, {'old.one': False, 'old.three.four': [1]}),
        ({'old': None, 'older': {}}, {}),
        ({'batch': {'old': 1}}, {'batch.old': 1}),
        ({'eval': {'retrieval': {'old': 1}}}, {'eval.retrieval.old': 1}),
        ({'finetune': {**FINETUNE, 'old': 1}}, {'finetune.old': 1}),
        ({'task_weights': {'old': 1}}, {}),  # no setting, but the value of one
    ],
)
def test_what_this_one_does_not_have_is_told_apart(more: dict[str, Any], gone: dict[str, Any]) -> None:
    settings, found = read_saved(more)
    assert found == gone
    assert settings.keys() == saved(Config()).keys() and settings['batch'] == saved(Config())['batch']
