"""What a shard folder holds. A *stream* is a folder with `manifest.json` and streaming's `index.json`:

    OUT/cc3m/train/                  pictures (also cc12m, wit); OUT/<corpus>/val/ is the held-out part
    OUT/cc100/train/<lang>/          text, one stream a language
    OUT/opus/train/<l1>-<l2>/        bitext, one stream a pair (codes alphabetical)

No column is pickled: opening a shard never executes anything.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shards.errors import UserError
from shards.storage import Location

SCHEMA_VERSION = 1  # docs/data.md says what a change of it asks of whoever has shards

Kind = Literal['pictures', 'text', 'bitext']

# A corpus's place is in the ids of its samples: never reorder, add at the end only.
KINDS: dict[str, Kind] = {'cc3m': 'pictures', 'cc12m': 'pictures', 'wit': 'pictures', 'cc100': 'text', 'opus': 'bitext'}

COLUMNS: dict[Kind, dict[str, str]] = {
    # image: JPEG, PNG or WebP bytes. captions: {canonical language: [text, ...]}. image_id: hex hash of the pixels' bytes, the same picture
    # has the same id.
    'pictures': {'image': 'bytes', 'captions': 'json', 'url': 'str', 'licence': 'str', 'image_id': 'str'},
    # ids: token ids without any special token or language code (added at batch time), at most `max_tokens` of the build settings.
    'text': {'ids': 'ndarray:int32'},
    # source is the first language of the pair, target the second; both as `ids` above.
    'bitext': {'source_ids': 'ndarray:int32', 'target_ids': 'ndarray:int32'},
}

SPECIAL_TOKENS = 3  # that a text gets at batch time: <s>, </s> and the language code

MANIFEST = 'manifest.json'
INDEX = 'index.json'  # streaming's
MULTILINGUAL = 'multilingual.npy'  # pictures only: int64 indices, in the stream, of the records with two languages or more (mMMT)


@dataclass
class Manifest:
    """A stream's manifest. `languages` counts captions (pictures), sequences (text) or pairs (bitext: both sides have the same count)."""

    corpus: str
    split: str
    kind: Kind
    samples: int
    languages: dict[str, int]
    tokens: dict[str, int]  # per language; empty for pictures
    tokenizer: str | None  # fingerprint; None for pictures, which fit any tokenizer
    shards: list[dict[str, Any]]  # {'file': path below the stream, 'bytes': n, 'sha256': hex, 'samples': n}
    sources: list[dict[str, Any]] = field(default_factory=list)  # {'path', 'bytes', 'sha256'}
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> count
    examples: dict[str, list[str]] = field(default_factory=dict)  # reason -> the first few, shortened
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)  # damage that the user was told about, such as a truncated tar
    # CC100, the same for all languages: {'alpha', 'languages': {language: weight}}, weights proportional to tokens^alpha, sum 1
    sampling: dict[str, Any] | None = None
    removed: list[dict[str, Any]] = field(default_factory=list)  # take-downs after the build: {'date', 'pictures', 'urls', 'list'}
    # --licence, or as the readers know it of the originals -> samples; empty in older builds
    licences: dict[str, int] = field(default_factory=dict)
    rewritten: dict[str, int] = field(default_factory=dict)  # rule -> texts that it changed; empty in older builds
    files: dict[str, str] = field(default_factory=dict)  # of INDEX and MULTILINGUAL: name -> SHA-256; empty in older builds
    digest: str | None = ''  # of the manifest itself, which `to_json` writes; None in older builds
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Canonical JSON. Its `digest` is the SHA-256 of the same without `digest`."""
        content = asdict(self)
        del content['digest']
        # Older builds had none of these: such a one, finished once more, is the same to the byte, as checkpoints have its hash.
        for name in ('licences', 'rewritten', 'files'):
            if not content[name]:
                del content[name]
        if self.digest is not None:
            content['digest'] = hashlib.sha256(_canonical(content).encode()).hexdigest()
        return _canonical(content)


def is_intact(manifest: bytes) -> bool | None:
    """Whether a manifest is to the bit what `to_json` wrote, by its digest; None when it is of an older build, which has none."""
    try:
        content = json.loads(manifest)
        digest = content.pop('digest', None)
        if digest is None:
            return None
        told = hashlib.sha256(_canonical(content).encode()).hexdigest()
        return bool(told == digest and _canonical(content | {'digest': digest}).encode() == manifest)
    except (ValueError, AttributeError, TypeError):
        return False


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + '\n'


def read_manifest(stream: Location) -> Manifest:
    """Manifest of the stream folder. Raises UserError when it is missing, unreadable or of another schema version."""
    path = stream / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding='utf8'))
    except FileNotFoundError:
        raise UserError(f'{path} is missing; build it with `data_pipeline build`, or finish it with `data_pipeline finish`') from None
    except (ValueError, OSError) as error:
        raise UserError(f'{path} cannot be read ({error}); run `data_pipeline finish`, or build this stream again') from None
    version = raw.get('schema_version') if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(f'{path} has schema version {version}, this program reads {SCHEMA_VERSION}; build them again (docs/data.md)')
    try:
        return Manifest(**{'digest': None} | raw)
    except TypeError as error:
        raise UserError(f'{path} is not a manifest ({error}); run `data_pipeline finish`, or build this stream again') from None
