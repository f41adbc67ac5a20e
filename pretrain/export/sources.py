"""The code that an export carries: pretrain/hf and every module that it imports, each as one file beside the weights.

transformers' loader of such code knows no folders, and of a folder on this machine it copies the files that the loaded one names itself,
not those that they name. So `pretrain/model/unix2.py` becomes `pretrain_model_unix2.py`, imports become relative to that, and the
classes' own files name all that they need. Nothing else is changed: what transformers runs is what the model was trained with.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ('pretrain', 'shards')
HF = 'pretrain.hf'
CLASSES = tuple(f'{HF}.{name}' for name in ('configuration_unix2', 'modeling_unix2', 'processing_unix2'))
HEAD = '# Written by `pretrain export`: {path} of the ERNIE-UniX2 repository (Apache License 2.0), with other imports.\n'


def sources() -> dict[str, str]:
    """File name -> text, of all that the classes need."""
    needed = {module: closure(module) for module in CLASSES}
    modules = set(CLASSES).union(*needed.values())
    return {f'{flat(module)}.py': copied(module, needed.get(module, set())) for module in sorted(modules)}


def closure(module: str) -> set[str]:
    """Modules of this repository that `module` imports, and those that they import."""
    found: set[str] = set()
    todo = [module]
    while todo:
        new = {name for node in own_imports(todo.pop()) for name, _, _ in targets(node)} - found
        found |= new
        todo += new
    return found - {module}


def copied(module: str, all_needed: Iterable[str]) -> str:
    """The module's text, with imports as an export has them, and a list of all that it needs."""
    lines = path_of(module).read_text(encoding='utf8').splitlines()
    imports = own_imports(module)
    for node in sorted(imports, key=lambda node: -node.lineno):
        assert node.end_lineno is not None
        lines[node.lineno - 1 : node.end_lineno] = [' ' * node.col_offset + line for line in _relative(node)]
    direct = {name for node in imports for name, attribute, _ in targets(node) if attribute}
    listed = [f'    from .{flat(name)} import __doc__' for name in sorted(set(all_needed) - direct)]
    if listed:
        lines += ['', '', 'if False:  # never run: transformers looks here for the files that it must copy', *listed]
    return HEAD.format(path=path_of(module).relative_to(ROOT)) + '\n'.join(lines) + '\n'


def flat(module: str) -> str:
    """The name that a module has in an export."""
    return module.removeprefix(f'{HF}.').replace('.', '_')


@cache
def path_of(module: str) -> Path:
    """The file of a module, or of a package."""
    path = ROOT.joinpath(*module.split('.'))
    return path / '__init__.py' if path.is_dir() else path.with_suffix('.py')


def own_imports(module: str) -> list[ast.ImportFrom]:
    """Statements that import from this repository, at the head of a module or inside its functions."""
    return _imports(path_of(module))


@cache
def _imports(path: Path) -> list[ast.ImportFrom]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf8'))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split('.')[0] in ROOMS:
            found.append(node)
        assert not (isinstance(node, ast.Import) and node.names[0].name.split('.')[0] in ROOMS), f'{path}: write `from … import`'
    return found


def targets(node: ast.ImportFrom) -> list[tuple[str, str | None, str]]:
    """(module, name in it or None for the module itself, name here) of everything that a statement imports."""
    assert node.module is not None
    return [(*_definition(node.module, alias.name), alias.asname or alias.name) for alias in node.names]


def _definition(module: str, name: str) -> tuple[str, str | None]:
    """Where a name comes from; a package's `__init__` that only passes it on would bring all else that it imports."""
    if path_of(f'{module}.{name}').is_file():
        return f'{module}.{name}', None
    if path_of(module).name == '__init__.py':
        for node in own_imports(module):
            for alias in node.names:
                if name == (alias.asname or alias.name) and node.module is not None:
                    return _definition(node.module, alias.name)
    return module, name


def _relative(node: ast.ImportFrom) -> list[str]:
    lines = []
    names: dict[str, list[str]] = {}
    for module, attribute, name in targets(node):
        if attribute is None:
            lines.append(f'from . import {flat(module)} as {name}')
        else:
            names.setdefault(module, []).append(name if name == attribute else f'{attribute} as {name}')
    return lines + [f'from .{flat(module)} import {", ".join(found)}' for module, found in names.items()]
