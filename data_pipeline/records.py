"""What readers yield."""

from __future__ import annotations

from typing import NamedTuple

PICTURE_KEY = 'picture:'


class Caption(NamedTuple):
    """One caption of a picture.

    `key` names the picture: its URL, or `picture:<image id>` where the caption came with the picture's bytes.
    """

    key: str
    language: str  # canonical
    text: str


class Picture(NamedTuple):
    """A picture as found.

    `caption` is the one that img2dataset keeps beside it ('' if none): used when the corpus's own file has none for the URL.
    `place` is where in its file the image begins, if it stands there as it is; else -1.
    """

    url: str
    image: bytes
    caption: str
    licence: str
    place: int = -1


class Pair(NamedTuple):
    """Two texts that are translations of each other, in the order of the stream's (alphabetical) languages."""

    first: str
    second: str
