"""The code in an export: whole, free of this repository, and in the form that transformers' loader copies."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_relative_import_files, get_relative_imports

from pretrain.export.sources import CLASSES, closure, copied, flat, sources


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('code')
    for name, text in sources().items():
        (folder / name).write_text(text)
    return folder


def test_files_import_each_other_and_nothing_else_of_the_repository(folder: Path) -> None:
    names = {path.stem for path in folder.iterdir()}
    for path in folder.iterdir():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                wanted = [node.module] if node.module else [alias.name for alias in node.names]
                assert set(wanted) <= names, path.name
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or '').split('.')[0] not in ('pretrain', 'shards'), path.name


@pytest.mark.parametrize('module', CLASSES)
def test_transformers_copies_all_that_a_class_needs(folder: Path, module: str) -> None:
    """Of a folder on this machine it copies what the file itself names; the Hub is searched recursively, and needs the same."""
    file = folder / f'{flat(module)}.py'
    named = set(get_relative_imports(file))
    assert named == {Path(path).stem for path in get_relative_import_files(file)} == {flat(name) for name in closure(module)}


def test_a_package_brings_only_what_is_taken_from_it() -> None:
    assert {'pretrain.config.model', 'pretrain.config.section'} <= closure('pretrain.hf.modeling_unix2')
    assert not {'pretrain.config.root', 'pretrain.config.files', 'pretrain.generation.write'} & closure('pretrain.hf.modeling_unix2')


def test_all_but_imports_is_as_it_was() -> None:
    ours = Path('pretrain/model/unix2.py')
    root = Path(__file__).parents[3]
    theirs = ast.parse(copied('pretrain.model.unix2', set()))
    mine = ast.parse((root / ours).read_text())
    kept = [[ast.dump(node) for node in tree.body if not isinstance(node, ast.ImportFrom)] for tree in (mine, theirs)]
    assert kept[0] == kept[1] and len(kept[0]) > 5
