"""A published checkpoint, from a folder or the hub: its config.json and its tensors, read when they are asked for.

safetensors is preferred. Where only pytorch_model.bin was published (mBART-cc25), it is read with `weights_only=True`, which builds tensors
and plain containers and refuses everything else: a hostile file executes nothing.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shards.errors import UserError

NAMES = ('model.safetensors', 'pytorch_model.bin')  # in the order of preference; each may be split, with an index beside it
Finder = Callable[[str], Path | None]


class Weights:
    """Tensors by name. `where` is what the user named, for messages; `key` the setting in which it stands."""

    def __init__(self, key: str, where: str, find: Finder):
        self.key, self.where, self.find = key, where, find
        self.config: dict[str, Any] = self._config()
        self._open: dict[str, Callable[[], Tensor]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        files = self._files()
        for path in files:
            (self._open_safetensors if path.suffix == '.safetensors' else self._open_pickle)(path)
        self.format = files[0].suffix.removeprefix('.')

    def __getitem__(self, name: str) -> Tensor:
        """A tensor, fp32, on the CPU."""
        return self._open[name]().float()

    def error(self, problem: str) -> UserError:
        """A UserError that names the setting and the checkpoint."""
        return UserError(f'{self.key} = {self.where}: {problem}')

    def _config(self) -> dict[str, Any]:
        path = self.find('config.json')
        if path is None:
            raise self.error('it has no config.json, which says what the weights are; name a folder in the published layout')
        try:
            config = json.loads(path.read_text(encoding='utf8'))
        except (OSError, ValueError) as error:
            raise self.error(f'config.json cannot be read ({error})') from None
        if not isinstance(config, dict):
            raise self.error('config.json is not a mapping')
        return config

    def _files(self) -> list[Path]:
        for name in NAMES:
            if path := self.find(name):
                return [path]
            if index := self.find(f'{name}.index.json'):
                try:
                    names = sorted(set(json.loads(index.read_text(encoding='utf8'))['weight_map'].values()))
                except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    raise self.error(f'{index.name} cannot be read ({error!r})') from None
                return [self._part(name, index.name) for name in names]
        raise self.error(f'it has neither {NAMES[0]} nor {NAMES[1]}')

    def _part(self, name: object, index: str) -> Path:
        if not isinstance(name, str) or not re.fullmatch(r'[\w.-]+\.(safetensors|bin)', name):
            raise self.error(f'{index} names the file {name!r}, which is no file of weights')
        path = self.find(name)
        if path is None:
            raise self.error(f'{name}, which {index} names, is missing')
        return path

    def _open_safetensors(self, path: Path) -> None:
        try:
            file = safe_open(path, framework='pt')
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                self.shapes[name] = tuple(file.get_slice(name).get_shape())
                self._open[name] = lambda file=file, name=name: file.get_tensor(name)  # type: ignore[misc]
        except (SafetensorError, OSError) as error:
            raise self.error(f'{path.name} cannot be read ({" ".join(str(error).split())}); it is damaged or not whole') from None

    def _open_pickle(self, path: Path) -> None:
        try:
            loaded = torch.load(path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
        except Exception as error:  # of many kinds: the restricted unpickler's refusal, a damaged archive, a disk
            reason = ' '.join(str(error).split())[:200]
            remedy = 'nothing in it was executed; convert it to safetensors where you trust it, or fetch it again'
            raise self.error(f'{path.name} cannot be read as plain tensors ({reason}); {remedy}') from None
        if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
            raise self.error(f'{path.name} is not a mapping of names to tensors')
        for name, tensor in loaded.items():
            self.shapes[name] = tuple(tensor.shape)
            self._open[name] = lambda tensor=tensor: tensor  # type: ignore[misc]


def open_weights(key: str, where: str) -> Weights:
    """The checkpoint that setting `key` names. Raises UserError when it is not there, cannot be reached, or is damaged."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        return Weights(key, where, lambda name: path if (path := folder / name).is_file() else None)
    if not re.fullmatch(r'[\w.-]+(/[\w.-]+)?', where) or folder.is_file():
        raise UserError(f'{key} = {where}: there is no such folder')
    from pretrain.init.hub import hub_finder

    return Weights(key, where, hub_finder(key, where))
