"""What of streaming is imported, and that all of it is still there for whoever asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ('transformers', 'torchvision', 'torch._dynamo')
PARTS = 'from shards.streaming_parts import Reader, Stream, World, decompress, reader_from_json'


def printed(code: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, '-c', code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_what_a_loaders_fork_server_imports() -> None:
    """Its preload is named as multiprocessing takes it."""
    code = 'from pretrain.data.loader import _PRELOAD; import importlib, sys; [importlib.import_module(name) for name in _PRELOAD]; '
    assert printed(f'{code}print([name for name in {HEAVY} if name in sys.modules], "streaming.base.stream" in sys.modules)') == '[] True\n'


# Each in a process of its own, forked from one that has imported what streaming imports, but nothing of streaming: that takes seconds.
FORKING = f"""
import {', '.join(HEAVY)}, os, sys
for code in sys.argv[1:]:
    if (process := os.fork()) == 0:
        assert not any(name.partition('.')[0] in ('streaming', 'shards') for name in sys.modules)
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0, code
"""


def test_streaming_is_whole_for_others() -> None:
    """Imported before or after, and the classes are the same ones; what it does not have is said."""
    whole = [
        'from streaming import MDSWriter, StreamingDataset; from streaming.base import stream',
        'import streaming; from streaming.base import stream; streaming.MDSWriter, streaming.base.MDSWriter, streaming.text.StreamingC4',
        'import streaming.base.stream; from streaming.base import stream, StreamingDataLoader; from streaming.vision import StreamingCOCO',
    ]
    same = 'import sys; print(stream.Stream is Stream, sys.modules["streaming"].Stream is Stream)'
    codes = [f'{code}; {same}' for later in whole for code in (f'{PARTS}; {later}', f'{later}; {PARTS}')]
    lacking = f'{PARTS}\ntry:\n    from streaming import nothing\nexcept ImportError as error:\n    print(error)'
    *lines, said = printed(FORKING, *codes, lacking).splitlines()
    assert lines == ['True True'] * len(codes)
    assert said.startswith("cannot import name 'nothing' from 'streaming'")
