"""How close the pipeline is to the work that cannot be avoided: `python -m benchmarks.data [--only text pass resize workers]`.

text     cc100 with one worker, against xz decompression and sentencepiece's fastest public call on the same text
pass     pictures that pass through untouched, one worker, against a bare MDSWriter that is given the same records from memory
resize   large JPEGs, one worker, against bare decode + resize + encode by the fastest of five ways; and against img2dataset's own
         resizer on the same files, if --img2dataset names a Python that has it
workers  two workers against one, on every corpus; and two builds of one worker each at once, which no number of workers can surpass

Inputs are made from sample/raw, long enough that start-up is a small part. Every pair is timed in turn, --rounds times; the best of each
counts. It needs pyvips (with pyvips-binary) for `resize`; libraries that are not there are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.memory import generate_cc100, generate_opus, generate_wit
from benchmarks.parts.photographs import SAMPLE, photographs, tars
from benchmarks.parts.resizers import SIDE, resizers
from benchmarks.parts.spliced import generate_spliced
from data_pipeline.build import build
from data_pipeline.job import Job
from data_pipeline.settings import Settings
from data_pipeline.tokenizer_settings import TrainingSettings
from data_pipeline.tokenizer_training import train
from shards.arguments import Parser
from shards.errors import UserError, run_command
from shards.schema import COLUMNS
from shards.tokenizer import MODEL

ROOT = Path(__file__).parents[1]
SMALLEST = 0.01  # scale: four pictures to shrink


clock: Callable[[], float] = time.perf_counter


def timed(run: Callable[[], object]) -> float:
    start = clock()
    run()
    return clock() - start


def in_turn(rounds: int, **runs: Callable[[], object]) -> dict[str, float]:
    """Best seconds of each; all of them are timed once a round, so that a change of the machine's speed hits all."""
    best = dict.fromkeys(runs, float('inf'))
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = min(best[name], timed(run))
    return best


def build_once(corpus: str, raw: Path, folder: Path, workers: int = 1, **settings: Any) -> None:
    """A build from nothing; with one worker in this process, so that no start of an interpreter is counted."""
    build(Job(corpus, raw, unused(folder), Settings(**settings), tokenizer=folder / 'tokenizer'), workers, 0, 1)


# --- text


def text(folder: Path, rounds: int, size: int) -> dict[str, Any]:
    """cc100 against its unavoidable work."""
    import sentencepiece

    raw = fresh(folder / 'cc100')
    size = generate_spliced(raw, size)
    model: Any = sentencepiece.SentencePieceProcessor(model_file=str(folder / 'tokenizer' / MODEL))

    def peer(encode: Callable[[list[bytes]], object]) -> None:
        for path in sorted(raw.glob('*.xz')):
            with lzma.open(path, 'rb') as file:
                while lines := file.readlines(1 << 20):
                    encode(lines)

    def texts(lines: list[bytes]) -> list[str]:
        return [line.decode() for line in lines]

    best = in_turn(
        rounds,
        ours=lambda: build_once('cc100', raw, folder),
        ids=lambda: peer(lambda lines: model.encode(texts(lines), num_threads=1)),
        arrays=lambda: peer(lambda lines: model.encode(texts(lines), num_threads=1, return_type='numpy')),
        bytes=lambda: peer(lambda lines: model.encode(lines, num_threads=1)),
        # The private call that the pipeline itself takes (shards/tokenizer.py), with bytes.
        private=lambda: peer(lambda lines: model._processor._EncodeAsBufferBatch(lines, 1, None, False, -1, 0.1, False, True, False)),
    )
    call = min(('ids', 'arrays', 'bytes', 'private'), key=best.__getitem__)
    public = min(('ids', 'arrays', 'bytes'), key=best.__getitem__)
    print(f'text: {best[public] / best["ours"]:.3f} of the fastest public call ({public})')
    peer_name = f'xz decompression + sentencepiece of batches of lines ({call}), alone'
    return result('text', size / 1e6, best['ours'], best[call], 'MB/s', peer_name)


# --- pictures that pass through


def pass_through(folder: Path, rounds: int, number: int) -> dict[str, Any]:
    """Pictures that need no work against a bare MDSWriter."""
    from streaming import MDSWriter

    raw = fresh(folder / 'cc3m')
    (raw / 'images').mkdir()
    samples = tars(raw / 'images', list(photographs(30, 256, 256, 95)), number, 4)
    size = sum(len(sample['image']) for sample in samples)

    def peer() -> None:
        with MDSWriter(columns=COLUMNS['pictures'], out=str(unused(folder)), hashes=['sha256']) as writer:
            for sample in samples:
                writer.write(sample)

    best = in_turn(rounds, ours=lambda: build_once('cc3m', raw, folder), peer=peer)
    name = f'a bare MDSWriter with SHA-256, given the same {number:,} records of {size / number / 1024:.0f} KiB from memory'
    return result('pass-through pictures', number, best['ours'], best['peer'], 'pictures/s', name)


# --- pictures that are shrunk


def resize(folder: Path, rounds: int, number: int, img2dataset: Path | None) -> list[dict[str, Any]]:
    """Large pictures against bare decode + resize + encode, and against img2dataset's resizer."""
    raw = fresh(folder / 'cc3m')
    (raw / 'images').mkdir()
    pictures = list(photographs(12, 1600, 1200, 90))
    samples = tars(raw / 'images', pictures, number, 2)
    images = [sample['image'] for sample in samples]
    runs: dict[str, Callable[[], object]] = {'ours': lambda: build_once('cc3m', raw, folder, image_side=SIDE)}
    for name, run in resizers().items():
        runs[name] = lambda run=run: [run(image) for image in images]  # type: ignore[misc]
    if img2dataset:
        (folder / 'large').mkdir(exist_ok=True)
        for i, image in enumerate(images):
            (folder / 'large' / f'{i:06}.jpg').write_bytes(image)
    best = in_turn(rounds, **runs)
    ours = best.pop('ours')
    for name, seconds in sorted(best.items(), key=lambda item: item[1]):
        print(f'  {name}: {number / seconds:.1f} pictures/s', flush=True)
    fastest = min(best, key=best.__getitem__)
    found = [result('resized pictures', number, ours, best[fastest], 'pictures/s', f'bare decode + resize + encode by {fastest}')]
    if img2dataset:
        script = ROOT / 'benchmarks/parts/resize_img2dataset.py'
        command = [str(img2dataset), str(script), str(folder / 'large'), str(SIDE), str(rounds), clock.__name__]
        environment = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
        seconds = float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()[-1])
        found.append(result('resized pictures', number, ours, seconds, 'pictures/s', "img2dataset's Resizer, keep_ratio_largest"))
    return found


# --- two workers against one


def workers(folder: Path, rounds: int, scale: float) -> list[dict[str, Any]]:
    """Two workers against one, each as a command of its own, on every corpus; and what the machine gives to two builds that have nothing to
    do with each other, which is less than twice as cores share caches, memory and disk."""
    found = []
    for corpus in ('cc3m', 'cc12m', 'wit', 'cc100', 'opus'):
        raw = fresh(folder / corpus)
        _many_units(corpus, raw, scale)

        def builds(*numbers: int, corpus: str = corpus, raw: Path = raw) -> None:
            """As many builds at once, of so many workers each."""
            running = []
            for number in numbers:
                flags = [f'--raw={raw}', f'--out={unused(folder)}', f'--workers={number}', f'--tokenizer={folder / "tokenizer"}']
                flags += ['--chunk-bytes=2000000'] if corpus in ('cc100', 'opus') else []
                command = [sys.executable, '-m', 'data_pipeline', 'build', corpus, *flags]
                running.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            codes = [process.wait() for process in running]  # of all, before any is judged
            if any(codes):
                raise UserError(f'a build of {corpus} failed: {shlex.join(command)}')

        best = in_turn(rounds, two=lambda: builds(2), one=lambda: builds(1), apart=lambda: builds(1, 1))
        found.append(result(f'{corpus}, two workers', 1, best['two'], best['one'], 'builds/s', 'one worker'))
        found[-1]['apart'] = round(2 * best['one'] / best['apart'], 3)
        print(f'{corpus}, two builds of one worker each at once: {found[-1]["apart"]} times the rate of one', flush=True)
    return found


def _many_units(corpus: str, raw: Path, scale: float) -> None:
    if corpus == 'cc100':
        generate_cc100(raw, int(scale * 120e6))
    elif corpus == 'opus':
        for i in range(4):
            (raw / str(i)).mkdir()
            generate_opus(raw / str(i), int(scale * 8e6))
            path = raw / str(i) / 'WikiMatrix.de-en.tsv.gz'
            rows = gzip.decompress(path.read_bytes()).decode().split('\n')
            path.write_bytes(gzip.compress('\n'.join(f'{row} {i}' for row in rows if row).encode(), 1))
    elif corpus == 'wit':
        generate_wit(raw, int(scale * 150_000), 4)  # the real ones come in many files, too
    else:
        (raw / 'images').mkdir()
        tars(raw / 'images', list(photographs(20, 900, 700, 90)), int(scale * 3000), 12)


def unused(folder: Path) -> Path:
    """A folder for a build's output: to remove that of the build before would take time that is none of a build's."""
    return Path(tempfile.mkdtemp(prefix='out-', dir=folder)) / 'out'


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def result(what: str, number: float, ours: float, peer: float, unit: str, name: str) -> dict[str, Any]:
    """Ratio of the two rates; also printed as a line."""
    print(f'{what}: {number / ours:,.4g} {unit}, {peer / ours:.3f} of {number / peer:,.4g} {unit} ({name})', flush=True)
    rates = {'ours': float(f'{number / ours:.4g}'), 'peer': float(f'{number / peer:.4g}')}
    return {'ratio': round(peer / ours, 3), **rates, 'unit': unit, 'what': f'{what}, against {name}'}


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ('text', 'pass', 'resize', 'workers')
    parser.add_argument('--only', nargs='+', choices=parts, default=list(parts))
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--scale', type=float, default=1, help='multiplies the size of every input')
    parser.add_argument('--img2dataset', type=Path, metavar='PYTHON', help='a Python interpreter that has img2dataset')
    parser.add_argument('--tokenizer', type=Path, metavar='DIR', help='one that is there already (default: train one of 8,000 pieces)')
    parser.add_argument('--cpu', action='store_true', help='CPU seconds of this process, for a machine that others use; not for `workers`')
    options = parser.parse_args()
    if options.cpu:
        global clock
        clock = time.process_time
        if 'workers' in options.only:
            parser.error('--cpu tells nothing about workers: give --only without it')
    if options.scale < SMALLEST:
        parser.error(f'--scale below {SMALLEST} would leave inputs empty')
    random.seed(0)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.tokenizer:
            shutil.copytree(options.tokenizer, folder / 'tokenizer')
        else:
            train(SAMPLE, folder / 'tokenizer', TrainingSettings(pieces=8000))
        if 'text' in options.only:
            found.append(text(folder, options.rounds, int(options.scale * 40e6)))
        if 'pass' in options.only:
            found.append(pass_through(folder, options.rounds, int(options.scale * 16_000)))
        if 'resize' in options.only:
            found += resize(folder, options.rounds, int(options.scale * 400), options.img2dataset)
        if 'workers' in options.only:
            found += workers(folder, options.rounds, options.scale)
    worst = min(found, key=lambda one: one['ratio'])
    print(json.dumps({'benchmark': 'data', **worst, 'all': found}))


if __name__ == '__main__':
    sys.exit(run_command(main))
