"""What of streaming is imported, and that all of it is still there for whoever asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ('transformers', 'torchvision', 'torch._dynamo')
PARTS = 'from shards.streaming_parts import Reader, Stream, World, decompress, reader_from_json'


def printed(code: str) -> str:
    return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_what_a_loaders_fork_server_imports() -> None:
    """Its preload is named as multiprocessing takes it."""
    code = 'from pretrain.data.loader import _PRELOAD; import importlib, sys; [importlib.import_module(name) for name in _PRELOAD]; '
    assert printed(f'{code}print([name for name in {HEAVY} if name in sys.modules], "streaming.base.stream" in sys.modules)') == '[] True\n'


@pytest.mark.parametrize(
    'later',
    [
        'from streaming import MDSWriter, StreamingDataset; from streaming.base import stream',
        'import streaming; from streaming.base import stream; streaming.MDSWriter, streaming.base.MDSWriter, streaming.text.StreamingC4',
        'import streaming.base.stream; from streaming.base import stream, StreamingDataLoader; from streaming.vision import StreamingCOCO',
    ],
)
def test_streaming_is_whole_for_others(later: str) -> None:
    """Imported before or after, and the classes are the same ones."""
    for code in (f'{PARTS}; {later}', f'{later}; {PARTS}'):
        assert printed(f'{code}; import sys; print(stream.Stream is Stream, sys.modules["streaming"].Stream is Stream)') == 'True True\n'


def test_what_it_does_not_have_is_said() -> None:
    code = f'{PARTS}\ntry:\n    from streaming import nothing\nexcept ImportError as error:\n    print(error)'
    assert printed(code).startswith("cannot import name 'nothing' from 'streaming'")
