"""When a run must go back and cannot; tests/fault has runs that can."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain import checkpointing
from pretrain.checkpointing import Checkpointing
from pretrain.config import Recovery as Options
from pretrain.engine.recovery import Recovery
from pretrain.engine.resume import Found
from pretrain.journal import Journal
from shards.errors import UserError
from tests.support.synthetic import tiny_config


def run_of(folder: Path, monkeypatch: pytest.MonkeyPatch, found: Path | None, rollbacks: int) -> Checkpointing:
    """After step 12, of which the last three updates were skipped; no engine, no ranks."""

    def find(where: Path, up_to: int | None = None) -> Found:
        assert up_to == 9, 'a checkpoint of skipped updates is none to go back to'
        return Found(found, [])

    monkeypatch.setattr(checkpointing, 'find_checkpoint', find)
    monkeypatch.setattr(Checkpointing, 'finish', lambda self: None)
    run = Checkpointing.__new__(Checkpointing)
    run.config, run.folder = tiny_config(str(folder), recovery=Options(rollbacks=2)), folder / 'checkpoints'
    run.recovery = Recovery(run.config.recovery)
    run.recovery.streak, run.recovery.rollbacks = 3, rollbacks
    return run


def test_without_a_checkpoint_before_them_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r'3 updates in a row were skipped, .* and there is no checkpoint before them; lower'):
        run_of(tmp_path, monkeypatch, None, 0).go_back(12)


def test_going_back_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'step-0000004'
    with pytest.raises(UserError, match=f'the last at step 12, after going back 2 times to {path}; lower optimizer.lr'):
        run_of(tmp_path, monkeypatch, path, 2).go_back(12)
    run = run_of(tmp_path, monkeypatch, path, 1)
    monkeypatch.setattr(checkpointing, 'load_checkpoint', lambda engine, path: (_ for _ in ()).throw(InterruptedError))
    run.engine = None  # type: ignore[assignment]
    with pytest.raises(InterruptedError):  # once more it may
        run.go_back(12)
    assert run.recovery.rollbacks == 2


def test_what_is_saved_is_what_it_went_back_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a stop's checkpoint of the skipped updates: the run would take that step for saved when it comes to it again."""
    run = run_of(tmp_path, monkeypatch, tmp_path / 'step-0000004', 0)
    run.saved = 11
    monkeypatch.setattr(checkpointing, 'load_checkpoint', lambda engine, path: {})
    for name in ('go_back', 'event', 'say'):
        monkeypatch.setattr(Journal, name, lambda self, *arguments, **details: None)
    run.journal = Journal.__new__(Journal)
    run.engine = None  # type: ignore[assignment]
    assert run.go_back(12) == run.saved == 4
