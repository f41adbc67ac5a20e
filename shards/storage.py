"""Where shards are: a local folder, or a prefix of an object store behind the few methods of `pathlib.Path` that shards need.

`location('s3://bucket/prefix')` is a `Remote`, anything else a `Path`. Arrow's file systems do the work (s3 is tried in
the tests; gs and abfs go the same way). Credentials and region come from where AWS's own tools take them, the endpoint of
another store than Amazon's from S3_ENDPOINT_URL, as for streaming, or AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from shards.errors import UserError

SCHEMES = ('s3', 'gs', 'abfs', 'abfss')


@dataclass(frozen=True, order=True)
class Remote:
    """An object, or all objects below a prefix. Reading what is not there raises FileNotFoundError, as with a Path."""

    scheme: str
    key: str  # bucket/prefix/name

    def __str__(self) -> str:
        return f'{self.scheme}://{self.key}'

    def __truediv__(self, name: str | PurePosixPath) -> Remote:
        return Remote(self.scheme, f'{self.key}/{name}')

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.key).parts

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> Remote:
        return Remote(self.scheme, str(PurePosixPath(self.key).parent))

    def relative_to(self, other: Remote) -> PurePosixPath:
        return PurePosixPath(self.key).relative_to(other.key)

    def is_dir(self) -> bool:
        """Whether there is any object below. Raises UserError when the store cannot be reached or refuses."""
        return next(self._below(False), None) is not None

    def iterdir(self) -> Iterator[Remote]:
        return (Remote(self.scheme, info.path) for info in self._below(False))

    def rglob(self, pattern: str) -> Iterator[Remote]:
        """Objects below that have this very name, `*`: all of them."""
        return (found for found, _ in self.sizes() if pattern in ('*', found.name))

    def sizes(self) -> Iterator[tuple[Remote, int]]:
        """Every object below, with its bytes."""
        return ((Remote(self.scheme, info.path), info.size) for info in self._below(True) if info.is_file)

    def is_file(self) -> bool:
        return bool(_file_system(self.scheme, os.getpid()).get_file_info(self.key).is_file)

    def read_bytes(self) -> bytes:
        with _file_system(self.scheme, os.getpid()).open_input_stream(self.key) as file:
            content: bytes = file.read()
        return content

    def read_text(self, encoding: str = 'utf8') -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Write an object: it is there as a whole or not at all."""
        with _file_system(self.scheme, os.getpid()).open_output_stream(self.key) as file:
            file.write(content)

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok or self.is_file():
            _file_system(self.scheme, os.getpid()).delete_file(self.key)

    def _below(self, recursive: bool) -> Iterator[Any]:
        from pyarrow import fs

        everything = fs.FileSelector(self.key, recursive=recursive, allow_not_found=True)
        try:
            found = _file_system(self.scheme, os.getpid()).get_file_info(everything)
        except OSError as error:
            reason = ' '.join(str(error).split())
            raise UserError(f'{self} cannot be listed ({reason}); check the address, the credentials and S3_ENDPOINT_URL') from None
        return iter(sorted(found, key=lambda info: str(info.path)))


Location = Path | Remote


def location(place: str | Path) -> Location:
    """A Path, or a Remote for `s3://bucket/prefix` and the like. Raises UserError for an unknown scheme or without a bucket."""
    text = str(place)
    scheme, mark, key = text.partition('://')
    if isinstance(place, Path) or not mark:
        return Path(text)
    key = key.strip('/')
    if scheme not in SCHEMES or not key:
        raise UserError(f'{text} is neither a folder nor {"://…, ".join(SCHEMES)}://bucket/prefix')
    return Remote(scheme, key)


@cache
def _file_system(scheme: str, process: int) -> Any:
    """Arrow's file system; one a process, since its threads do not survive a fork."""
    from pyarrow import fs

    if scheme != 's3':
        return fs.FileSystem.from_uri(f'{scheme}://x/y')[0]
    endpoint = os.environ.get('S3_ENDPOINT_URL') or os.environ.get('AWS_ENDPOINT_URL_S3') or os.environ.get('AWS_ENDPOINT_URL')
    region = os.environ.get('AWS_REGION') or os.environ.get('AWS_DEFAULT_REGION')
    return fs.S3FileSystem(endpoint_override=endpoint, region=region, connect_timeout=10, request_timeout=60)
