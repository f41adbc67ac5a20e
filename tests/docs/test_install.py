"""docs/install.md: lines of pip, as they stand, with stand-ins for the CPU builds of PyTorch's own index and for what GPUs need."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from functools import partial
from pathlib import Path

from tests.docs.commands import ROOT, blocks
from tests.support.internet import Files, internet
from tests.support.launch import BIN

PAGE = (ROOT / 'docs/install.md').read_text(encoding='utf8')
SECTION = PAGE.partition('## Without CUDA')[2].partition('\n## ')[0]
LOCK = (ROOT / 'requirements.lock').read_text(encoding='utf8')
ROOMS = ('shards', 'data_pipeline', 'pretrain', 'downstream')
INDEX = 'https://download.pytorch.org/whl/cpu'


def offer(files: Files, package: str, code: str) -> None:
    """A CPU build of a package: in the version of the lock, and named as PyTorch's index names them."""
    locked = re.search(f'(?m)^{package}==([0-9.]+)', LOCK)
    assert locked
    build = f'{package}-{locked[1]}+cpu'
    info = f'{build}.dist-info'
    with zipfile.ZipFile(files.place(f'{INDEX}/{package}/{build}-py3-none-any.whl'), 'w') as wheel:
        wheel.writestr(f'{package}/__init__.py', code)
        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {package}\nVersion: {locked[1]}+cpu\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', ''.join(f'{path},,\n' for path in (*wheel.namelist(), f'{info}/RECORD')))


def link_packages(site: Path) -> None:
    """What `make setup` would else download: all packages of this environment but pip, torch, CUDA and the project itself."""
    for path in [*site.glob('setuptools*'), *site.glob('*distutils*')]:  # Python 3.11 puts an old one into a new environment
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in Path(sysconfig.get_path('purelib')).iterdir():
        if not re.match(r'torch|functorch|nvidia|cuda|triton|ernie|__|pip(-|$)', path.name):
            (site / path.name).symlink_to(path)


def test_without_cuda(tmp_path: Path) -> None:
    """In an environment whose making was interrupted before pip was there: `make setup` puts that right, and refuses without the builds."""
    tree, settings, files = tmp_path / 'tree', tmp_path / 'settings', Files(tmp_path / 'files')
    for folder in (tree, settings):
        folder.mkdir()
    for name in ('Makefile', 'pyproject.toml', 'requirements.lock', 'README.md', 'LICENSE', 'sample', *ROOMS):
        (tree / name).symlink_to(ROOT / name)
    offer(files, 'torch', 'import types\nversion = types.SimpleNamespace(cuda=None)\n')
    offer(files, 'torchvision', '')
    make_venv, install, make_setup = next(block.lines for block in blocks(SECTION))
    assert make_venv == 'python3 -m venv .venv'
    subprocess.run([sys.executable, *make_venv.split()[1:], '--without-pip'], cwd=tree, check=True)

    with internet(files, settings) as environment:
        environment['PATH'] = f'{BIN}:{environment["PATH"]}'
        run = partial(subprocess.run, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        refused = run(shlex.split(make_setup))
        assert refused.returncode != 0 and 'error: CPU_ONLY=1 needs a CPU build of torch in .venv first' in refused.stderr
        whole, kept = ((tree / name).read_text(encoding='utf8') for name in ('requirements.lock', '.venv/cpu.lock'))
        assert 'nvidia-' in whole and 'triton' in whole and not re.search('^(nvidia|cuda|triton)', kept, re.M)
        assert 'torch==' in kept and 'deepspeed==' in kept and kept.count('--hash') > 500

        installed = run(shlex.split(install))
        assert installed.returncode == 0, installed.stderr
        site = next(tree.glob('.venv/lib/python3*/site-packages'))
        link_packages(site)
        done = run(shlex.split(make_setup))
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(list(site.glob(f'{name}-*+cpu.dist-info')) for name in ('torch', 'torchvision'))
    found = subprocess.run(['bash', '-ec', 'source .venv/bin/activate; type -p pretrain'], cwd=tree, capture_output=True, check=True)
    assert found.stdout.decode() == f'{tree}/.venv/bin/pretrain\n'


# Notes the environment in which it is built, as a module of its own.
SETUP = """
import os
from setuptools import setup
name = 'built_{name}'
with open(name + '.py', 'w') as file:
    file.write(repr(dict(os.environ)))
setup(name='{name}', version='{version}', py_modules=[name])
"""


def test_what_is_built_for_gpus(tmp_path: Path) -> None:
    """pip takes DeepSpeed's source from its index, and apex's from where it lies, and hands them what they are told. (What they do with it
    takes nvcc and minutes: .ci/compile builds DeepSpeed's operation where there is nvcc.)
    """
    tree, settings, files = tmp_path / 'tree', tmp_path / 'settings', Files(tmp_path / 'files')
    for folder in (tree, settings):
        folder.mkdir()
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', '.venv'], cwd=tree, check=True)
    site = next(tree.glob('.venv/lib/python3*/site-packages'))
    for path in Path(sysconfig.get_path('purelib')).iterdir():
        if re.match('pip(-|$)|setuptools|pkg_resources|_distutils|distutils', path.name):
            (site / path.name).symlink_to(path)
    pip = tree / '.venv/bin/pip'
    pip.write_text(f'#!/bin/sh\nexec {tree}/.venv/bin/python -m pip "$@"\n')
    pip.chmod(0o755)
    deepspeed, apex = (line for block in blocks(PAGE) for line in block.lines if line.startswith(('DS_BUILD_OPS', 'APEX')))
    version = deepspeed.rpartition('==')[2]
    source = tmp_path / 'source'
    for place, name in ((source, 'deepspeed'), (tree / 'apex', 'apex')):
        place.mkdir()
        (place / 'setup.py').write_text(SETUP.format(name=name, version=version))
    with tarfile.open(files.place(f'https://pypi.org/simple/deepspeed/deepspeed-{version}.tar.gz'), 'w:gz') as sdist:
        sdist.add(source, f'deepspeed-{version}')
    with internet(files, settings) as environment:
        run = partial(subprocess.run, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=300)
        for line in (deepspeed, apex):
            done = run(['bash', '-ec', line])
            assert done.returncode == 0, done.stderr
    for line, name in ((deepspeed, 'deepspeed'), (apex, 'apex')):
        built = ast.literal_eval((site / f'built_{name}.py').read_text(encoding='utf8'))
        asked = dict(word.split('=', 1) for word in shlex.split(line.partition(' .venv/')[0]))
        assert len(asked) >= 3 and asked.items() <= built.items()
