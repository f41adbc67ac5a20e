"""Streams of a shard folder, and random access to their records.

`mosaicml-streaming` decodes shards and fetches compressed ones into a local cache; its readers are used directly. (Its StreamingDataset
keeps state in shared memory, and hangs after a crash: streaming issues 573, 717, 767, 824.)
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrain.data.verified import has_sha256
from shards.errors import UserError
from shards.schema import KINDS, MANIFEST, MULTILINGUAL, Manifest, read_manifest
from shards.storage import Location, Remote, location
from shards.tokenizer import Tokenizer

if TYPE_CHECKING:
    from shards.streaming_parts import Reader, Stream

# Positions of the fields of a sample id: 3 bits corpus, 20 bits stream within the corpus, 40 bits record.
_RECORD_BITS, _STREAM_BITS = 40, 20


class RecordStream:
    """One stream: `len()` records in shards of `sizes`, read by index. Shards are opened on first use, in whichever process asks.

    `number` tells streams apart in sample ids; `languages` are the manifest's, in the order of the columns for bitext.
    """

    def __init__(self, folder: Location, corpus: str, split: str, number: int, cache: str | None = None) -> None:
        self.folder, self.corpus, self.split = folder, corpus, split
        self.name = '/'.join(folder.parts[-(2 if KINDS[corpus] == 'pictures' else 3) :])
        self.number = list(KINDS).index(corpus) << _STREAM_BITS | number
        self.manifest: Manifest = read_manifest(folder)
        self.digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        self.kind = KINDS[corpus]
        self.sizes = [int(shard['samples']) for shard in self.manifest.shards]
        self.starts = [0, *accumulate(self.sizes)]
        self.languages = self._languages()
        self._since = time.monotonic()  # in a loader process, of the reader that it is a copy of
        # What the processes of a machine share: decompressed and fetched shards, and what they have verified.
        self._local = Path(cache or f'{tempfile.gettempdir()}/ernie-unix2-{os.getuid()}') / self.digest[:16]
        self._stream: Stream | None = None
        self._readers: list[Reader] = []
        self._ready: set[int] = set()

    def __len__(self) -> int:
        return self.starts[-1]

    def __getstate__(self) -> dict[str, Any]:  # a loader process opens its own readers
        return {**self.__dict__, '_stream': None, '_readers': [], '_ready': set()}

    def sample_id(self, index: int) -> int:
        """int64 that no other record of any stream has."""
        return self.number << _RECORD_BITS | index

    def record(self, index: int) -> dict[str, Any]:
        """The columns of a record (`shards.schema.COLUMNS`). Raises UserError naming a shard that is missing, cut off or broken."""
        shard = bisect_right(self.starts, index) - 1
        if shard not in self._ready:
            self._prepare(shard)
        try:
            return self._readers[shard].get_item(index - self.starts[shard])
        except (OSError, ValueError, LookupError) as error:
            raise self._unreadable(self._file(shard), f'sample {index - self.starts[shard]}: {error or type(error).__name__}') from None

    def multilingual(self) -> NDArray[np.int64]:
        """Ascending indices of the records with two languages or more. Raises UserError when their file is missing or does not fit."""
        path = self.folder / MULTILINGUAL
        try:
            indices = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise self._unreadable(path, str(error)) from None
        if indices.dtype != np.int64 or indices.ndim != 1 or (np.diff(indices, prepend=-1, append=len(self)) <= 0).any():
            raise self._unreadable(path, f'it does not hold ascending indices below {len(self)}')
        return indices

    def _languages(self) -> tuple[str, ...]:
        """Languages of the manifest; for text and bitext they must be those of the folder's name (`en-zh-TW` has more than one dash)."""
        names = self.manifest.languages
        if self.kind == 'pictures':
            return tuple(names)
        for order in permutations(names):
            if '-'.join(order) == self.folder.name:
                return order
        path, named = self.folder / MANIFEST, ', '.join(names) or 'none'
        raise UserError(f'{path} names the languages {named}, its folder {self.folder.name}; build {self.corpus} again')

    def _prepare(self, shard: int) -> None:
        """Open the index on first use; decompress the shard if it is compressed; check that its file is whole."""
        if self._stream is None:
            self._open()
        assert self._stream is not None
        ((raw, zipped),) = self._readers[shard].file_pairs
        try:
            if zipped is not None or isinstance(self.folder, Remote):
                with _Lock(Path(self._stream.local) / 'lock'):  # ranks and loader processes of a machine share the cache
                    self._stream.prepare_shard(self._readers[shard])
            path, named = Path(self._stream.local) / raw.basename, raw.hashes.get('sha256')
            size = path.stat().st_size
            whole = size == raw.bytes and (not named or has_sha256(path, named, self._local / 'verified', self._since))
        except Exception as error:  # a damaged zstd frame raises whatever its library likes
            raise self._unreadable(self._file(shard), getattr(error, 'strerror', None) or str(error)) from None
        if size != raw.bytes:
            raise self._unreadable(self._file(shard), f'{size} bytes instead of {raw.bytes}')
        if not whole:
            raise self._unreadable(self._file(shard), 'its contents do not have the SHA-256 that index.json names')
        self._ready.add(shard)

    def _open(self) -> None:
        from shards.streaming_parts import Stream, World  # not for a process that reads no shards

        world = World(num_nodes=1, ranks_per_node=1, workers_per_rank=1, worker=0)  # given, so that it does not look for one
        remote: str | None = None
        if isinstance(self.folder, Path) and all(shard['file'].endswith('.mds') for shard in self.manifest.shards):
            local = self.folder
        else:
            remote, local = str(self.folder), self._local
        try:
            local.mkdir(parents=True, exist_ok=True)
            stream = Stream(remote=remote, local=str(local), download_retry=2, download_timeout=60, keep_zip=False)
            with _Lock(local / 'lock') if remote else nullcontext():
                self._readers = stream.get_shards(world, allow_unsafe_types=False)
        except (OSError, ValueError, LookupError, RuntimeError) as error:
            raise self._unreadable(self.folder / 'index.json', str(error)) from None
        if [reader.samples for reader in self._readers] != self.sizes:
            raise self._unreadable(self.folder / 'index.json', f'its shards are not those of {MANIFEST}')
        self._stream = stream

    def _file(self, shard: int) -> Location:
        return self.folder / str(self.manifest.shards[shard]['file'])

    def _unreadable(self, path: Location, why: str) -> UserError:
        command = f'data_pipeline verify {self.folder}'
        return UserError(f'{path} cannot be read ({" ".join(why.split())}); see what else is broken with `{command}`, and build it again')


class Catalog:
    """The streams of a shard folder, checked against the run's tokenizer; a corpus is read when first asked for."""

    def __init__(self, root: str | Path, tokenizer: Tokenizer, cache: str | None = None) -> None:
        self.root, self.tokenizer, self.cache = location(root), tokenizer, cache
        self._streams: dict[tuple[str, str], list[RecordStream]] = {}

    def streams(self, corpus: str, split: str) -> list[RecordStream]:
        """Streams of a corpus that hold samples, by name; empty when there are none. Raises UserError for one that does not fit the run."""
        key = corpus, split
        if key not in self._streams:
            found = [RecordStream(folder, corpus, split, number, self.cache) for number, folder in enumerate(self._folders(corpus, split))]
            for stream in found:
                self._check(stream)
            self._streams[key] = [stream for stream in found if len(stream)]
        return self._streams[key]

    def digests(self) -> dict[str, str]:
        """Stream name -> sha256 of its manifest, of every stream in use: tells a resumed run whether its data is still the same."""
        return {stream.name: stream.digest for streams in self._streams.values() for stream in streams}

    def amount(self) -> str:
        """How much the streams in use hold, in words."""
        used = [stream for streams in self._streams.values() for stream in streams]
        shards, samples = sum(len(stream.sizes) for stream in used), sum(map(len, used))
        return f'{len(used)} streams, {shards:,} shards, {samples:,} samples'

    def _folders(self, corpus: str, split: str) -> Sequence[Location]:
        folder = self.root / corpus / split
        if not folder.is_dir():
            return []
        if KINDS[corpus] == 'pictures':
            return [folder]
        return sorted((path for path in folder.iterdir() if path.is_dir() and path.name[0] not in '._'), key=str)

    def _check(self, stream: RecordStream) -> None:
        manifest, path = stream.manifest, stream.folder / MANIFEST
        if manifest.kind != stream.kind:
            raise UserError(f'{path} is of kind {manifest.kind!r}, {stream.corpus} holds {stream.kind}; build {stream.corpus} again')
        if manifest.tokenizer not in (None, self.tokenizer.fingerprint):
            raise UserError(
                f'{path} was built with tokenizer {manifest.tokenizer}, this run has {self.tokenizer.fingerprint}; '
                f'set data.tokenizer to the one the shards were built with, or build {stream.corpus} again with `--tokenizer`'
            )
        for language in stream.languages:
            self.tokenizer.language(language)


class _Lock:
    """Exclusive lock of a file between processes. The kernel gives it back when its holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.file = self.path.open('w')
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self.file.close()
