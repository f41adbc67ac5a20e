"""What a checkpoint says to shards that pictures were taken out of."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pretrain.config import Config
from pretrain.engine.removals import check_same_shards
from pretrain.engine.resume import check_same_run
from shards.errors import UserError
from shards.schema import Manifest

HERE = Path('run/checkpoints/step-0000100')
REMOVED = [{'date': '2026-11-24', 'pictures': 3, 'urls': 4, 'list': 'ab'}, {'date': '2026-11-25', 'pictures': 2, 'urls': 2, 'list': 'cd'}]


def write(root: Path, removed: list[dict[str, Any]], samples: int = 10) -> dict[str, str]:
    """Manifests of two streams, of which cc3m has removals; {stream: sha256}."""
    digests = {}
    for corpus in ('cc3m', 'cc12m'):
        own = removed if corpus == 'cc3m' else []
        manifest = Manifest(corpus, 'train', 'pictures', samples if corpus == 'cc3m' else 5, {}, {}, None, [], removed=own)
        path = root / corpus / 'train/manifest.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest.to_json())
        digests[f'{corpus}/train'] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def test_same_and_other_shards(tmp_path: Path) -> None:
    config = Config(data={'shards': str(tmp_path)})
    before = write(tmp_path, [])
    assert check_same_shards(config, before, before, HERE) is None
    after = write(tmp_path, [], 11)
    with pytest.raises(UserError, match='was trained on other shards: cc3m/train has changed'):
        check_same_shards(config, before, after, HERE)
    with pytest.raises(UserError, match='was trained on other shards: cc12m/train has changed'):
        check_same_shards(config, before, {'cc3m/train': before['cc3m/train']}, HERE)


def test_a_take_down_is_named_and_can_be_accepted(tmp_path: Path) -> None:
    before = write(tmp_path, [])
    after = write(tmp_path, REMOVED, 5)
    config = Config(data={'shards': str(tmp_path)})
    with pytest.raises(UserError, match=r'of 5 pictures from cc3m/train \(last on 2026-11-25\).*set data\.accept_removals=true'):
        check_same_shards(config, before, after, HERE)
    accepting = Config(data={'shards': str(tmp_path), 'accept_removals': True})
    check_same_run(accepting, config.model_dump(by_alias=True, mode='json'), HERE)
    told = check_same_shards(accepting, before, after, HERE)
    assert told is not None
    assert 'accept_removals' not in told
    with pytest.raises(UserError, match='was trained on other shards: cc12m/train'):  # a take-down excuses no other change
        check_same_shards(accepting, {**before, 'cc12m/train': 'other'}, after, HERE)
