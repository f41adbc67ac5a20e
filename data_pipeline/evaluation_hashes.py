"""When is a text or a picture the same as one of an evaluation set?

Texts: when they are equal after normalisation. Pictures: when their perceptual hashes (imagehash's pHash: the low frequencies of the grey
picture, 64 bits) differ in few bits *and* a thumbnail has nearly the same colours: of flat drawings many have the same low frequencies.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_pipeline.dedupe import hash64
from data_pipeline.pictures import BadPicture
from data_pipeline.strips import shrunk
from shards.pictures import open_picture, orientation

_SIDE = 16  # pixels of a thumbnail
THUMBNAIL = 3 * _SIDE * _SIDE  # values of one
_COLOUR = 10  # of 255: mean difference of two thumbnails of the same picture, at most
_LARGEST = 100_000_000  # pixels of an evaluation picture, as of one of a corpus

Thumbnail = npt.NDArray[np.uint8]


def text_hash(text: str) -> int:
    """Hash of the letters and digits of a text, without case, accents' spelling, punctuation and white space."""
    plain = unicodedata.normalize('NFKC', text).casefold()
    return hash64(''.join(char for char in unicodedata.normalize('NFKC', plain) if unicodedata.category(char)[0] in 'LMN'))


NO_TEXT = text_hash('')


def picture_hash(image: bytes) -> tuple[int, Thumbnail]:
    """Perceptual hash and thumbnail (RGB, flat) of a picture. Raises BadPicture when it cannot be decoded."""
    import imagehash  # scipy takes a second: only where pictures are compared

    try:
        with open_picture(image) as opened:
            if opened.width * opened.height > _LARGEST:
                raise BadPicture('picture_too_large')
            opened.draft('RGB', (128, 128))
            opened.load()
            picture = shrunk(opened, orientation(opened), max(opened.size))
        picture = picture if picture.mode == 'RGB' else picture.convert('RGB')
        bits = imagehash.phash(picture).hash
        thumbnail = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.uint8).reshape(-1)
    except BadPicture:
        raise
    except Exception:  # Pillow's parsers raise whatever they stumble over
        raise BadPicture('picture_not_decodable') from None
    return int.from_bytes(np.packbits(bits).tobytes(), 'big'), thumbnail


def same_colours(thumbnails: npt.NDArray[np.uint8], thumbnail: Thumbnail) -> npt.NDArray[np.bool_]:
    """Which of the thumbnails (N, 768) differ little from one."""
    differences = np.abs(thumbnails.astype(np.int16) - thumbnail.astype(np.int16)).mean(1)
    return np.asarray(differences <= _COLOUR)
