"""What a run may change when it continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pretrain.config import Config
from pretrain.engine.checkpoint import STATE
from pretrain.engine.resume import changed_settings, check_resumable, check_same_run
from shards.errors import UserError

HERE = Path('run/checkpoints/step-0000100')


def saved(**changes: Any) -> dict[str, Any]:
    return {**Config().model_dump(by_alias=True, mode='json'), **changes}


def test_the_same_run_and_free_settings_continue() -> None:
    check_same_run(Config(), saved(), HERE)
    check_same_run(Config(steps=5, out='elsewhere'), saved(), HERE)
    batch = saved()['batch']
    check_same_run(Config(), saved(batch={**batch, 'micro': 7}), HERE)


@pytest.mark.parametrize(
    ('changes', 'key'),
    [
        ({'seed': 1}, 'seed'),
        ({'tasks': ['cmcl']}, 'tasks'),
        ({'batch': {**saved()['batch'], 'global': 8}}, 'batch.global'),
        ({'batch': {**saved()['batch'], 'tasks': {'cmcl': 8}}}, 'batch.tasks.cmcl'),
        ({'model': {**saved()['model'], 'heads': 8}}, 'model.heads'),
        ({'task': {**saved()['task'], 'mask_ratio': 0.4}}, 'task.mask_ratio'),
        ({'data': {**saved()['data'], 'language_alpha': 0.3}}, 'data.language_alpha'),
    ],
)
def test_another_run_is_refused_by_the_name_of_the_setting(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key.replace('.', r'\.') + ' = '):
        check_same_run(Config(), saved(**changes), HERE)


def without(section: str, name: str) -> dict[str, Any]:
    """Settings of before there was this one."""
    return saved(**{section: {key: value for key, value in saved()[section].items() if key != name}})


def more(section: str, **settings: Any) -> dict[str, Any]:
    return saved(**{section: {**saved()[section], **settings}})


def test_a_setting_that_the_checkpoint_is_older_than_was_at_its_default() -> None:
    check_same_run(Config(), without('mixture', 'share_images'), HERE)
    check_same_run(Config(), without('task', 'code_switch'), HERE)
    check_same_run(Config(), {key: value for key, value in saved().items() if key != 'mixture'}, HERE)
    switching = Config.model_validate({'task': {'code_switch': 0.2}})
    with pytest.raises(UserError, match=r'was trained with task\.code_switch = 0\.0, this run asks for 0\.2'):
        check_same_run(switching, without('task', 'code_switch'), HERE)
    check_same_run(switching, more('task', code_switch=0.2), HERE)


def test_a_setting_that_this_version_does_not_have() -> None:
    """Nobody can tell what it did, unless it is of those that may change."""
    with pytest.raises(UserError, match=r'was trained with task\.old = 0\.5, a setting that this version does not have; go on with the'):
        check_same_run(Config(), more('task', old=0.5), HERE)
    check_same_run(Config(), more('task', old=None), HERE)
    check_same_run(Config(), more('log', old=True), HERE)


@pytest.mark.parametrize(('had', 'refused'), [({}, False), ({'tokenizer': 'ours'}, False), ({'tokenizer': 'theirs'}, True)])
def test_a_run_goes_on_with_its_own_tokenizer(had: dict[str, str], refused: bool, tmp_path: Path) -> None:
    """A run of pictures alone has no shards that name it."""
    (tmp_path / STATE).write_text(json.dumps({'step': 4, 'config': saved(), 'manifests': {'m': 'h'}, 'groups': [], 'files': {}, **had}))
    if refused:
        with pytest.raises(UserError, match=r'was trained with tokenizer theirs, data/tokenizer is ours; set data\.tokenizer to the one'):
            check_resumable(Config(), tmp_path, 'ours')
    else:
        assert check_resumable(Config(), tmp_path, 'ours') == {'m': 'h'}


def test_what_has_changed_since_a_checkpoint(tmp_path: Path) -> None:
    then = saved(steps=10, task_weights={'mt': 2.0}, batch={**saved()['batch'], 'micro': 7})
    (tmp_path / STATE).write_text(json.dumps({'step': 4, 'config': then, 'manifests': {}, 'groups': [], 'files': {}}))
    micro = Config().batch.micro
    assert changed_settings(Config(steps=12), {'zero': 2}, tmp_path) == {'steps': 12, 'task_weights.mt': None, 'batch.micro': micro}
    other = {**without('task', 'code_switch'), 'log': more('log', old=True)['log']}
    (tmp_path / STATE).write_text(json.dumps({'step': 4, 'config': other, 'manifests': {}, 'groups': [], 'files': {}}))
    assert changed_settings(Config(), {}, tmp_path) == {'log.old': None}
