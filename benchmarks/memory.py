"""Peak memory of builds whose input memory could not hold: `python benchmarks/memory.py --dir DIR`.

It repeats the rows of sample/raw with new sentences, URLs and pictures, builds cc100, opus or wit from them under `prlimit --as` (every
process, its libraries' address space included), and prints the largest resident size of any process of the build. The peer is the bound of
1 GiB a worker. Everything is below DIR, and removed afterwards unless --keep is given.
"""

from __future__ import annotations

import argparse
import base64
import csv
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shards.arguments import Parser
from shards.errors import run_command

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / 'sample/raw'
BOUND = 1 << 30  # bytes a worker (issue 3)
CORPORA = ('cc100', 'opus', 'wit')
LANGUAGES = ('en', 'de', 'ru', 'zh-Hans', 'th')


def generate_cc100(folder: Path, size: int) -> int:
    """Five languages, as much of English as of the four others; the number of bytes of text."""
    written = 0
    for language in LANGUAGES:
        documents = lzma.decompress((SAMPLE / f'cc100/{language}.txt.xz').read_bytes()).decode().strip('\n').split('\n\n')
        mine = size // 2 if language == 'en' else size // 8
        left, number = mine, 0
        with lzma.open(folder / f'{language}.txt.xz', 'wb', preset=0) as out:
            while left > 0:
                parts = []
                for document in documents:
                    number += 1
                    parts.append(document.replace('\n', f' {number}\n') + f' {number}\n')
                block = '\n'.join(parts).encode() + b'\n'
                out.write(block)
                left -= len(block)
        written += mine - left
    return written


def generate_opus(folder: Path, size: int, begin: int = 0) -> int:
    """One scored file of one pair, whose sentences are numbered from `begin`; the number of bytes of text."""
    rows = gzip.decompress((SAMPLE / 'opus/WikiMatrix/WikiMatrix.de-en.tsv.gz').read_bytes()).decode().strip('\n').split('\n')
    left, number = size, begin
    with gzip.open(folder / 'WikiMatrix.de-en.tsv.gz', 'wb', compresslevel=1) as out:
        while left > 0:
            number += 1
            block = ''.join(row.replace('\t', f'\t{number} ') + '\n' for row in rows).encode()
            out.write(block)
            left -= len(block)
    return size - left


def generate_opus_files(folder: Path, size: int) -> int:
    """Four such files, so that several workers have something to scan."""
    written = 0
    for i in range(4):
        (folder / str(i)).mkdir()
        written += generate_opus(folder / str(i), size // 4, i * 10**7)
    return written


def generate_wit(folder: Path, rows: int, repetitions: int = 20) -> int:
    """Ten TSV files that the rows of a picture are spread over, and pixels in files of Kaggle's layout; the bytes of both.

    A file of pixels has those of the sample `repetitions` times.
    """
    header, *sample = _wit_rows()
    pixels = [
        line.rstrip(b'\n').split(b'\t')
        for path in sorted((SAMPLE / 'wit').rglob('*.csv.gz'))
        for line in gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    ]
    (folder / 'image_data_train/image_pixels').mkdir(parents=True)
    tables = [  # closed below
        gzip.open(folder / f'wit_v1.train.all-{i:05}-of-00010.tsv.gz', 'wt', 1, encoding='utf8', newline='')  # noqa: SIM115
        for i in range(10)
    ]
    writers = [csv.writer(table, delimiter='\t', lineterminator='\n') for table in tables]
    size = 0
    for writer in writers:
        writer.writerow(header)
    for repetition in range(-(-rows // len(sample))):
        place = folder / f'image_data_train/image_pixels/train_image_pixels_part-{repetition // repetitions:05}.csv.gz'
        for number, row in enumerate(sample):
            copy = list(row)
            copy[2] += f'?{repetition}'
            copy[6] += f' {repetition}' if copy[6] else ''
            writers[number % 10].writerow(copy)
            size += sum(map(len, copy)) + len(copy)
        with gzip.open(place, 'ab', 1) as out:
            for url, encoded in pixels:
                # Bytes behind the end of a picture change its hash alone.
                data = base64.b64encode(base64.b64decode(encoded) + repetition.to_bytes(4, 'big'))
                size += out.write(b'%s?%d\t%s\n' % (url, repetition, data))
    for table in tables:
        table.close()
    return size


def _wit_rows() -> Iterator[list[str]]:
    csv.field_size_limit(1 << 26)
    for number, path in enumerate(sorted((SAMPLE / 'wit').glob('*.tsv.gz'))):
        with gzip.open(path, 'rt', encoding='utf8', newline='') as handle:
            rows = csv.reader(handle, delimiter='\t')
            header = next(rows)
            if number == 0:
                yield header
            yield from rows


def peak(command: list[str], limit: int) -> tuple[int, float]:
    """Run a build under a limit of address space; the largest resident size of any of its processes in bytes, and the seconds it took."""
    start = time.monotonic()
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
    process = subprocess.Popen(['prlimit', f'--as={limit}', *command], cwd=ROOT, env=environment, start_new_session=True)
    largest = 0
    try:
        while process.poll() is None:
            largest = max([largest, *(_high_water(path) for path in Path('/proc').glob('[0-9]*') if _session(path) == process.pid)])
            time.sleep(0.2)
    except BaseException:
        process.terminate()
        raise
    if process.returncode:
        raise SystemExit(f'{" ".join(command)} failed with exit code {process.returncode}')
    return largest, time.monotonic() - start


def _session(path: Path) -> int:
    try:
        return int((path / 'stat').read_text().rpartition(')')[2].split()[3])
    except (OSError, ValueError, IndexError):
        return -1  # it has ended


def _high_water(path: Path) -> int:
    try:
        return next((int(line.split()[1]) << 10 for line in (path / 'status').read_text().splitlines() if line.startswith('VmHWM')), 0)
    except OSError:
        return 0


def measure(corpus: str, options: argparse.Namespace) -> dict[str, Any]:
    """Generate, build, tell."""
    raw, out, told = options.dir / 'raw' / corpus, options.dir / 'shards', options.dir / f'{corpus}.size'
    if not told.exists():
        shutil.rmtree(raw, ignore_errors=True)
        raw.mkdir(parents=True)
        amount = options.wit_rows if corpus == 'wit' else int(options.text_gib * 2**30)
        start = time.monotonic()
        generators: dict[str, Callable[[Path, int], int]] = {'cc100': generate_cc100, 'opus': generate_opus_files, 'wit': generate_wit}
        size = generators[corpus](raw, amount)
        told.write_text(str(size))
        print(f'{corpus}: {size / 2**30:.2f} GiB generated in {time.monotonic() - start:.0f} s', flush=True)
    size = int(told.read_text())
    build = [sys.executable, '-m', 'data_pipeline', 'build', corpus, f'--raw={raw}', f'--out={out}', f'--workers={options.workers}']
    if corpus != 'wit':
        build += [f'--tokenizer={options.tokenizer or options.dir / "tokenizer"}', '--task=0', f'--tasks={options.tasks}']
    if corpus == 'opus' and options.without:
        build += [f'--without={options.without}']
    largest, seconds = peak(build, options.limit)
    share = f', building one unit in {options.tasks}' if corpus != 'wit' and options.tasks > 1 else ''
    print(f'{corpus}: {size / 2**30:.2f} GiB of input{share}, peak {largest / 2**20:.0f} MiB a process, {seconds:.0f} s', flush=True)
    if not options.keep:
        told.unlink()
        shutil.rmtree(raw)
        shutil.rmtree(out)
    return {'input_bytes': size, 'peak_rss_bytes': largest, 'seconds': round(seconds)}


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dir', type=Path, required=True, help='a folder with room for the input and what is built of it')
    parser.add_argument('--corpora', nargs='+', choices=CORPORA, default=list(CORPORA))
    parser.add_argument('--text-gib', type=float, default=20, help='GiB of text for cc100, and for opus')
    parser.add_argument('--wit-rows', type=int, default=2_000_000)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--limit', type=int, default=BOUND, help='bytes of address space of each process')
    parser.add_argument('--tasks', type=int, default=1, help='of the texts, build only one unit in so many; all are scanned and compared')
    parser.add_argument('--without', default='', help='rules that are not applied to opus: its language identification takes hours')
    parser.add_argument('--tokenizer', type=Path, metavar='DIR', help='one that is there already (default: train one of 8,000 pieces)')
    parser.add_argument('--keep', action='store_true', help='leave the input and the shards there')
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    if options.tokenizer is None and not (options.dir / 'tokenizer').exists():
        train = ['tokenizer', 'train', f'--raw={SAMPLE}', f'--out={options.dir / "tokenizer"}', '--pieces=8000']
        subprocess.run([sys.executable, '-m', 'data_pipeline', *train], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found = {corpus: measure(corpus, options) for corpus in options.corpora}
    largest = max(one['peak_rss_bytes'] for one in found.values())
    print(
        json.dumps(
            {
                'benchmark': 'memory',
                'ratio': round(largest / BOUND, 3),
                'ours': largest,
                'peer': BOUND,
                'what': 'peak resident bytes of a process, against the bound of 1 GiB a worker',
                'address_space_limit': options.limit,
                'corpora': found,
            }
        )
    )


if __name__ == '__main__':
    sys.exit(run_command(main))
