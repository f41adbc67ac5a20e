"""What a take-down asks for, and what of it the shards of a corpus hold."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.caption_store import NO_URL, key_hash
from data_pipeline.finish import PENDING
from data_pipeline.lines import aligned_lines, open_binary
from data_pipeline.readers.captions import is_url
from data_pipeline.records import PICTURE_KEY
from data_pipeline.references import Hashes, UrlSet
from data_pipeline.shard_urls import aliases_of, samples_of
from data_pipeline.work import facts
from shards.errors import UserError
from shards.hashes import file_sha256
from shards.storage import Location

FOUND = 'found.npy'  # below .build/CORPUS: hashes of all names of the pictures that were taken out

_IMAGE_ID = 16  # hex digits


@dataclass(frozen=True)
class Request:
    """A removal that is under way."""

    date: str
    digest: str  # SHA-256 of the list
    hashes: list[int]  # `key_hash` of its lines
    corpora: list[str]

    def told(self) -> dict[str, Any]:
        """What the manifests say of it."""
        return {'date': self.date, 'list': self.digest, 'urls': len(self.hashes)}

    def to_json(self) -> str:
        return json.dumps(asdict(self)) + '\n'


def read_request(work: Path) -> Request | None:
    """The removal that was interrupted below a work folder, if there is one."""
    path = work / PENDING
    return Request(**json.loads(path.read_text(encoding='utf8'))) if path.exists() else None


def read_list(path: Path) -> tuple[dict[int, str], str]:
    """{`key_hash` of a URL or image id: its line} of a file, and the file's SHA-256.

    Raises UserError for a line that is neither: a picture that must go is not to be passed over.
    """
    found: dict[int, str] = {}
    wanted = f'a URL or an image id of {_IMAGE_ID} hex digits'
    with open_binary(path) as handle:
        for row, line in enumerate(aligned_lines(handle, path), 1):
            try:
                text = line.decode('utf8').strip() if line is not None else None
            except UnicodeDecodeError as error:
                raise UserError(f'{path} row {row} is not UTF-8 ({error.reason}): {error.object[:60]!r}; nothing was removed') from None
            if text is None:
                raise UserError(f'{path} row {row} is too long for {wanted}; nothing was removed')
            if is_url(text):
                found.setdefault(key_hash(text), text)
            elif len(text) == _IMAGE_ID and set(text) <= set('0123456789abcdef'):
                found.setdefault(key_hash(PICTURE_KEY + text), text)
            elif text:
                raise UserError(f'{path} row {row} is not {wanted}: {text[:60]!r}; nothing was removed')
    if not found:
        raise UserError(f'{path} holds no URL; nothing was removed')
    return found, file_sha256(path)


class Search:
    """What of the hashes of URLs and image ids is in the shards of a corpus: it reads them all, but not the pictures.

    found          all names (URL, further URLs, image id) of the pictures that have one of the hashes; sorted
    units          names of the units that hold one of these
    knows_aliases  whether every unit has noted the further URLs of its pictures
    """

    def __init__(self, root: Location, work: Path, units: list[str], asked: UrlSet) -> None:
        names: set[int] = set()
        self.units: list[str] = []
        self.knows_aliases = True
        for unit in units:
            aliases = aliases_of(work, unit)
            self.knows_aliases &= aliases is not None
            own = _names(root, work, unit, asked, np.empty((0, 2), np.uint64) if aliases is None else aliases)
            if own:
                self.units.append(unit)
            names |= own
        self.found: Hashes = np.array(sorted(names), np.uint64)


def _names(root: Location, work: Path, unit: str, asked: UrlSet, aliases: Hashes) -> set[int]:
    by_alias = UrlSet(np.unique(aliases[asked.mask(aliases[:, 0]), 1]))
    names: set[int] = set()
    images: list[int] = []
    for stream, content in (facts(work, 'build', unit) or {})['streams'].items():
        for entry in content['shards']:
            for sample in samples_of(root / stream / unit, entry):
                url, image = sample.url_hash, sample.image_hash
                if url in asked or image in asked or image in by_alias:
                    names |= {url, image}
                    images.append(image)
    # That of no URL is no name: all pictures that came with their captions have it.
    return names.union(aliases[np.isin(aliases[:, 1], np.array(images, np.uint64)), 0].tolist()) - {NO_URL}
