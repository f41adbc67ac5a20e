"""Lines on disk between two stages, lightly compressed, in frames small enough that none of them matters in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import zstd

FRAME = 1 << 20  # bytes of text


def append_frame(path: Path, lines: list[bytes]) -> None:
    """Add lines, in which there is no line end, to a file."""
    data = zstd.compress(b'\n'.join(lines), 1)
    with open(path, 'ab') as file:
        file.write(len(data).to_bytes(4, 'little') + data)


def frame_lines(path: Path) -> Iterator[str]:
    """The lines of a file of frames."""
    with open(path, 'rb') as file:
        while size := file.read(4):
            yield from zstd.decompress(file.read(int.from_bytes(size, 'little'))).decode().split('\n')
