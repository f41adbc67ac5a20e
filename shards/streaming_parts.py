"""What is used of mosaicml-streaming to read shards: this is the one module that imports it.

Its packages import, for data sets and a loader that nothing here uses, all of transformers, torchvision and torch's compiler: 2.3 of the
4.4 seconds of a processor that a loader's fork server took to start. So they are entered here without running their own code, which runs
when something of theirs is asked for.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Unentered(ModuleType):
    """A package whose own code has not run: modules below it can be imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # its own code imports from itself
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _enter(package: str) -> None:
    """Let `package` be in sys.modules, unless it is already."""
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f'no module named {package}', name=package)
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Unentered
    sys.modules[package] = module
    parent, _, name = package.rpartition('.')
    if parent:
        setattr(sys.modules[parent], name, module)


for _package in ('streaming', 'streaming.base'):
    _enter(_package)

from streaming.base.compression import decompress  # noqa: E402
from streaming.base.format import Reader, reader_from_json  # noqa: E402
from streaming.base.stream import Stream  # noqa: E402
from streaming.base.world import World  # noqa: E402

__all__ = ['Reader', 'Stream', 'World', 'decompress', 'reader_from_json']
