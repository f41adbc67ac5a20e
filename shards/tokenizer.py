"""The tokenizer: a sentencepiece model under mBART's id rule.

    0 <s>   1 <pad>   2 </s>   3 <unk>   every other id = sentencepiece id + 1, so that n pieces end at id n
    n+1 ... n+25 the codes of mBART-cc25   n+26 <mask>   n+27 ... every other language (`shards.languages.APPENDED`)

With mBART's own model (n = 250,000) these are mBART-cc25's ids. The `sentencepiece` package itself does the work: other loaders drop the
model's normaliser, after which full-width letters and ligatures are unknown.

The ids of texts (up to n) are the same in every family, so shards and fingerprints are too. What differs lies above them: mBART-50 has
27 further codes before its <mask>, which is n+53. XLM-R has no codes; its ids here are cc25's, and its <mask>, n+1, moves to n+26.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from shards.durable import replace
from shards.errors import UserError
from shards.languages import APPENDED, CC25, MBART50, canonical, token

Family = Literal['mbart-cc25', 'mbart-50', 'xlm-r']

MODEL = 'sentencepiece.bpe.model'
DESCRIPTION = 'tokenizer.json'
SPECIAL = 4 + len(CC25) + 1 + len(APPENDED)  # ids that are no pieces: <s> <pad> </s> <unk>, codes, <mask>
_REMEDY = 'make it with `data_pipeline tokenizer train` or `data_pipeline tokenizer import`'


class Tokenizer:
    """Text <-> ids. `appended` are the codes beyond cc25's, in the order of their ids; those that mBART-50 has not come after <mask>."""

    bos, pad, eos, unk = 0, 1, 2, 3

    def __init__(self, model: bytes, appended: Iterable[str] = APPENDED, family: Family = 'mbart-cc25') -> None:
        self.family = family
        self._sp = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._encode_with_eos = _batch_call(self._sp)
        self.appended = tuple(appended)
        self.pieces: int = self._sp.get_piece_size()
        before = CC25 + MBART50 if family == 'mbart-50' else CC25
        after = [code for code in self.appended if code not in before]
        self.mask = self.pieces + len(before) + 1
        self.vocabulary = self.mask + 1 + len(after)
        self.fingerprint = hashlib.sha256(model + '\n'.join(CC25 + self.appended).encode()).hexdigest()[:32]
        self.languages = {canonical(code): self.pieces + 1 + i for i, code in enumerate(before)}  # canonical code -> id
        self.languages |= {canonical(code): self.mask + 1 + i for i, code in enumerate(after)}

    @classmethod
    def load(cls, folder: str | Path, family: Family = 'mbart-cc25') -> Tokenizer:
        """Tokenizer of a folder with `sentencepiece.bpe.model` and `tokenizer.json`, with the codes and <mask> of a family.

        Raises UserError when one is missing, damaged or does not fit the other.
        """
        folder = Path(folder)
        try:
            description = json.loads((folder / DESCRIPTION).read_text(encoding='utf8'))
            model = (folder / MODEL).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(f'{error.filename} is missing: {folder} is no tokenizer folder; {_REMEDY}') from None
        except (ValueError, OSError) as error:
            raise UserError(f'{folder / DESCRIPTION} cannot be read ({error}); {_REMEDY}') from None
        if (
            not isinstance(description, dict)
            or description.get('type') != 'sentencepiece'
            or not isinstance(description.get('appended'), list)
        ):
            raise UserError(f'{folder / DESCRIPTION} does not describe a tokenizer; {_REMEDY}')
        tokenizer = cls(checked_model(model, folder / MODEL), description['appended'], family)
        if tokenizer.fingerprint != description.get('fingerprint'):
            raise UserError(
                f'{folder / MODEL} has the fingerprint {tokenizer.fingerprint}, {DESCRIPTION} beside it says '
                f'{description.get("fingerprint")}: one of the two was replaced or damaged; {_REMEDY}'
            )
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens or language code."""
        return [piece + 1 if piece else self.unk for piece in self._sp.encode(text)]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """`encode` of every text."""
        return [[piece + 1 if piece else self.unk for piece in pieces] for pieces in self._sp.encode(texts, num_threads=1)]

    def encode_arrays(self, texts: list[str]) -> list[NDArray[np.int32]]:
        """`encode` of every text, as int32 arrays."""
        ids, ends = self.encode_flat(texts)
        return [ids[begin:end] for begin, end in pairwise([0, *ends.tolist()])]

    def encode_flat(self, texts: list[str] | list[bytes]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """`encode` of every text (bytes: UTF-8): the ids (int32) of all of them after each other, and the end of each."""
        ids = np.frombuffer(b''.join(self._encode_with_eos(texts)), np.int32)
        inner = ids != self._sp.eos_id()  # which no text contains: it is a control symbol
        ends = np.flatnonzero(~inner)
        ids = ids[inner]
        ids += 1
        unknown = ids == 1
        if unknown.any():
            ids[unknown] = self.unk
        return ids, ends - np.arange(len(ends))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; special tokens, <mask> and language codes are skipped."""
        decoded: str = self._sp.decode([int(i) - 1 for i in ids if self.unk < i <= self.pieces])
        return decoded

    def piece(self, token: int) -> str:
        """The sentencepiece piece of an id, `▁` being its space; empty for special tokens, <mask> and language codes."""
        return str(self._sp.id_to_piece(token - 1)) if self.unk < token <= self.pieces else ''

    def piece_list(self) -> list[str]:
        """Every piece, in the order of their ids."""
        return [self._sp.id_to_piece(piece) for piece in range(self.pieces)]

    def language(self, code: str) -> int:
        """Id of the code of a language, in any spelling. Raises UserError for a language that this tokenizer has no code for."""
        try:
            return self.languages[canonical(code)]
        except KeyError:
            raise UserError(f'this tokenizer has no code for language {code!r} ({token(code)}); {_REMEDY} with this version') from None


def _batch_call(sp: Any) -> Callable[[list[str] | list[bytes]], Any]:
    """Encodes texts, each with </s> behind it, into buffers of int32.

    sentencepiece's public call makes an array of each text's ids, which takes a quarter of the time of encoding it. The call below it is
    used where it does the same.
    """

    probe = ['a', 'zwei Katzen', '']
    try:
        if b''.join(_direct(sp, probe)) == b''.join(_public(sp, probe)):
            return partial(_direct, sp)
    except (AttributeError, TypeError):  # another version
        pass
    return partial(_public, sp)


def _public(sp: Any, texts: list[str] | list[bytes]) -> Any:
    return sp.encode(texts, num_threads=1, return_type='numpy', add_eos=True)


def _direct(sp: Any, texts: list[str] | list[bytes]) -> Any:
    return sp._processor._EncodeAsBufferBatch(texts, 1, None, False, -1, 0.1, False, True, False)


def checked_model(model: bytes, name: str | Path) -> bytes:
    """The bytes of a sentencepiece model whose first pieces are <unk> <s> </s>, as the id rule needs.

    Raises UserError naming the file otherwise.
    """
    try:
        sp = sentencepiece.SentencePieceProcessor(model_proto=model)
        first = [sp.id_to_piece(i) for i in range(3)]
    except (RuntimeError, IndexError):
        raise UserError(f'{name} is not a sentencepiece model; {_REMEDY}') from None
    if first != ['<unk>', '<s>', '</s>']:
        raise UserError(
            f"{name} starts with the pieces {' '.join(first)} instead of <unk> <s> </s>; only models with mBART's layout fit its id rule"
        )
    return model


def save_tokenizer(folder: str | Path, model: bytes, origin: dict[str, Any]) -> Tokenizer:
    """Write a tokenizer folder; `origin` (how the model came about) is kept in its description.

    Raises UserError when the model does not fit the id rule.
    """
    folder = Path(folder)
    tokenizer = Tokenizer(checked_model(model, 'the model'))
    description = {
        'type': 'sentencepiece',
        'pieces': tokenizer.pieces,
        'vocabulary': tokenizer.vocabulary,
        'mask': tokenizer.mask,
        'fingerprint': tokenizer.fingerprint,
        'appended': tokenizer.appended,
        'origin': origin,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model)
    # The description comes last and by rename: a folder that has one is complete.
    replace(folder / DESCRIPTION, [(json.dumps(description, ensure_ascii=False, indent=1) + '\n').encode()])
    return tokenizer
