"""Every backend of every operation against plain PyTorch, wherever it can run; the reasons of skipped ones are in pytest's summary."""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pretrain.config import Optimizer
from pretrain.engine import optimizers
from pretrain.kernels import OPERATIONS
from pretrain.kernels.registry import Backend, Place
from pretrain.kernels.token_loss import BACKENDS as TOKEN_LOSSES
from pretrain.model.packed import Layout

ROOT = Path(__file__).parents[3]
DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def backend(operation: str, name: str, precision: str = 'fp32') -> Backend:
    """The backend; skips the test where it cannot run."""
    found = next(backend for backend in (*OPERATIONS.get(operation, ()), *optimizers.BACKENDS) if backend.name == name)
    lacking = found.lacks(Place(DEVICE, precision, 16))
    if lacking:
        pytest.skip(f'{operation} by {name}: {lacking}')
    return found


@pytest.mark.parametrize('name', ['apex', 'torch'])
@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16])
def test_norm(name: str, precision: torch.dtype) -> None:
    norm = backend('norm', name).load()
    x = torch.randn(7, 48, device=DEVICE).requires_grad_()
    weight, bias = ((torch.randn(48, device=DEVICE) * 0.2 + 1).to(precision).requires_grad_() for _ in range(2))
    ours = norm(x, weight, bias, 1e-5)
    double = [leaf.detach().double().requires_grad_() for leaf in (x, weight, bias)]
    centred = double[0] - double[0].mean(1, keepdim=True)
    theirs = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * double[1] + double[2]
    assert ours.dtype == precision
    gradient = torch.randn(7, 48, device=DEVICE).to(precision)
    by_ours = torch.autograd.grad(ours, (x, weight, bias), gradient)
    by_theirs = torch.autograd.grad(theirs, double, gradient.double())
    pairs = [(ours, theirs), *zip(by_ours, by_theirs, strict=True)]
    for got, want in pairs:
        tolerance = 1e-5 if got.dtype == torch.float32 and precision == torch.float32 else 2e-2
        torch.testing.assert_close(got.double(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.filterwarnings('ignore:flex_attention called without torch.compile')  # as it is where there is no CUDA
@pytest.mark.parametrize('name', ['flash', 'varlen', 'flex', 'cpu', 'cpu, bf16', 'cpu, each row alone', 'torch'])
@pytest.mark.parametrize('kind', ['self', 'causal', 'cross'])
def test_attention(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == 'cpu, each row alone':
        name = 'cpu'
        monkeypatch.setattr('pretrain.kernels.buckets.WASTED', -1)
        monkeypatch.setattr('pretrain.kernels.buckets.WASTED_SHARE', -1)
    precision = 'bf16' if name in ('flash', 'varlen', 'cpu, bf16') else 'fp32'
    name = name.removesuffix(', bf16')  # as the demo runs it
    if name == 'flex' and DEVICE.type == 'cpu':  # not chosen there, but its forward runs: the mask is ours to get right
        found = next(backend for backend in OPERATIONS['attention'] if backend.name == name)
    else:
        found = backend('attention', name, precision)
    dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
    forward_only = name == 'flex' and DEVICE.type == 'cpu'
    heads, dim = 2, 32
    layout, memory_layout = Layout.of(torch.tensor([5, 1, 9]), DEVICE), Layout.of(torch.tensor([3, 8, 2]), DEVICE)
    wide = dim if kind == 'cross' else 3 * dim
    projected = torch.randn(layout.total, wide, device=DEVICE, dtype=dtype).requires_grad_(not forward_only)
    memory = torch.randn(memory_layout.total, 2 * dim, device=DEVICE, dtype=dtype).requires_grad_(not forward_only)
    arguments = (memory, memory_layout) if kind == 'cross' else ()
    ours = found.load()(projected, heads, layout, kind == 'causal', *arguments)
    assert ours.shape == (layout.total, dim) and not ours[layout.tokens :].any()

    rows = []
    sides = ((projected.float(), layout), (memory.float(), memory_layout))  # the reference is fp32, of the same inputs
    for own, other in zip(*(x[: where.tokens].split(where.lengths.tolist()) for x, where in sides), strict=True):
        q, k, v = own.chunk(3, 1) if kind != 'cross' else (own, *other.chunk(2, 1))
        per_head = []
        for part in range(heads):
            at = slice(part * dim // heads, (part + 1) * dim // heads)
            scores = q[:, at] @ k[:, at].T / (dim // heads) ** 0.5
            if kind == 'causal':
                scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float('-inf'))
            per_head.append(scores.softmax(1) @ v[:, at])
        rows.append(torch.cat(per_head, 1))
    theirs = torch.cat(rows)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(ours[: layout.tokens].float(), theirs, atol=tolerance, rtol=tolerance)
    if forward_only:
        return
    leaves = [projected, memory] if kind == 'cross' else [projected]
    gradient = torch.randn_like(theirs).to(dtype)
    got = torch.autograd.grad(ours[: layout.tokens], leaves, gradient)
    want = torch.autograd.grad(theirs, leaves, gradient.float())
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


INTERPRETED = {
    found.name: found.lacks(Place(torch.device('cuda'), 'fp32', 64)) for found in TOKEN_LOSSES if found.name in ('triton', 'liger')
}


@pytest.fixture(scope='module')
def interpreted() -> dict[str, str]:
    """Backend -> what went wrong: of all in one process, which imports for seconds."""
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    names = [name for name, lacking in INTERPRETED.items() if not lacking]
    command = [sys.executable, '-m', 'tests.pretrain.kernels.interpreted', *names]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    problems: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return dict.fromkeys(names, '') | problems


@pytest.mark.parametrize('name', ['triton', 'liger'])
def test_token_loss_interpreted(name: str, request: pytest.FixtureRequest) -> None:
    """On a CPU the real kernels, interpreted. (Plain PyTorch's: tests/pretrain/model/test_transformer.py.)"""
    if INTERPRETED[name]:
        pytest.skip(f'token_loss by {name}: {INTERPRETED[name]}')
    problem = request.getfixturevalue('interpreted')[name]
    assert not problem, problem


@pytest.mark.parametrize('name', ['triton', 'liger'])
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_token_loss_on_a_gpu(name: str, precision: str) -> None:
    """The kernels as a run compiles them: the interpreter above proves nothing of what a compiler makes."""
    if DEVICE.type != 'cuda':
        pytest.skip(f'token_loss by {name}, compiled: it needs an NVIDIA GPU, this process runs on {DEVICE.type}')
    backend('token_loss', name, precision)
    token_losses = importlib.import_module('tests.pretrain.kernels.token_losses')  # needs triton
    token_losses.check(name, DEVICE, precision, 5_000)
    if name == 'triton' and precision == 'bf16':
        token_losses.check_held_gradient(DEVICE)


@pytest.mark.parametrize('name', ['apex', 'torch'])
def test_gradient_norm(name: str) -> None:
    norm = backend('gradient_norm', name).load()
    gradients = [torch.randn(*shape, device=DEVICE) for shape in ((3, 5), (70_001,), (1,))]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(norm(gradients).double(), joined.double().square().sum().sqrt(), atol=0, rtol=1e-6)
    gradients[1][7] = float('nan')
    assert not torch.isfinite(norm(gradients))


def adamw(parameter: Tensor, gradients: list[Tensor], options: Optimizer, decay: float) -> Tensor:
    """AdamW as its paper writes it (Loshchilov and Hutter 2019, algorithm 2), in double precision."""
    theta = parameter.double()
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, gradient in enumerate(gradients, 1):
        g = gradient.double()
        m, v = options.betas[0] * m + (1 - options.betas[0]) * g, options.betas[1] * v + (1 - options.betas[1]) * g * g
        m_hat, v_hat = m / (1 - options.betas[0] ** t), v / (1 - options.betas[1] ** t)
        theta = theta - options.lr * (m_hat / (v_hat.sqrt() + options.eps) + decay * theta)
    return theta


# In place of torch/extension.h. Sources of a DeepSpeed that needs more are compiled with that.
FEW_HEADERS = """\
#pragma once
#include <torch/csrc/utils/pybind.h>
namespace torch { using namespace at; constexpr auto kFloat32 = kFloat; }
"""
COMPILER = """\
#!/bin/sh
g++ -I "${0%/*}/few" "$@" -O0 -g0 2>/dev/null || exec g++ "$@" -O0 -g0
"""


@pytest.fixture
def compiled(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What DeepSpeed's optimizer is compiled to is kept for the next time, as it takes ten seconds of a processor: even without the
    optimisations of a run, and with few of PyTorch's headers, most of which its sources include and never use. With all of them it takes
    half a minute, and twice that with both. ninja compiles again what is not whole, older than its source, or of another command.
    """
    if name != 'deepspeed' or DEVICE.type != 'cpu':
        yield
        return
    monkeypatch.setenv('DS_ACCELERATOR', os.environ.get('DS_ACCELERATOR', 'cpu'))
    compiler = subprocess.run(['g++', '--version'], capture_output=True, text=True, check=False).stdout
    cpu = re.findall(r'(?m)^(?:flags|Features).*', Path('/proc/cpuinfo').read_text())[:1]  # it is compiled for this processor
    versions = [sys.version, torch.__version__, version('deepspeed'), compiler, cpu, FEW_HEADERS, COMPILER]
    folder = ROOT / 'build/tests' / hashlib.sha256(repr(versions).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'one.at.a.time').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.rglob('lock'):  # PyTorch's own, of a process that was killed: it would be waited for without end
            stale.unlink()
        (folder / 'few/torch').mkdir(parents=True, exist_ok=True)
        few = folder / 'few/torch/extension.h'
        if not few.is_file() or few.read_text() != FEW_HEADERS:  # else ninja would take it for newer than what is compiled
            few.write_text(FEW_HEADERS)
        wrapper = folder / 'g++'
        wrapper.write_text(COMPILER)
        wrapper.chmod(0o755)
        monkeypatch.setenv('CXX', str(wrapper))
        monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(folder / 'extensions'))
        yield


@pytest.mark.parametrize('name', ['apex', 'torch', 'deepspeed'])
@pytest.mark.usefixtures('compiled')
def test_optimizer(name: str) -> None:
    """Three updates, the last by a new optimizer that took over the state of the first, as a resumed run does."""
    build, options = backend('optimizer', name).load(), Optimizer(lr=1e-2)
    start, gradients = torch.randn(300, device=DEVICE), [torch.randn(300, device=DEVICE) for _ in range(3)]

    def update(optimizer: torch.optim.Optimizer, parameter: Tensor, gradient: Tensor) -> None:
        parameter.grad = gradient.clone()
        optimizer.step()

    parameter = nn.Parameter(start.clone())
    first = build([{'params': [parameter], 'weight_decay': 0.1}], options)
    for count, gradient in enumerate(gradients[:2]):
        assert optimizers.updates(first) == count
        update(first, parameter, gradient)
    continued = nn.Parameter(parameter.detach().clone())
    second = build([{'params': [continued], 'weight_decay': 0.1}], options)
    optimizers.set_updates(second, continued, optimizers.updates(first))
    for moment in ('exp_avg', 'exp_avg_sq'):
        second.state[continued][moment] = first.state[parameter][moment].clone()
    update(second, continued, gradients[2])
    assert optimizers.updates(second) == 3
    expected = adamw(start, gradients, options, 0.1)
    torch.testing.assert_close(continued.detach().double(), expected, atol=1e-6, rtol=1e-5)


def test_the_reference_is_adamw() -> None:
    parameter = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, betas=(0.9, 0.999), weight_decay=0.1, foreach=False)
    parameter.grad = torch.full((1,), 0.5, dtype=torch.float64)
    optimizer.step()
    torch.testing.assert_close(adamw(torch.ones(1), [torch.tensor([0.5])], Optimizer(lr=0.1), 0.1), parameter.detach())
