"""What DeepSpeed's ZeRO 1 and 2 hold while a step's gradients are reduced: the events of its stage_1_and_2.py, without their arithmetic.

All gradients are there in fp32 at first (pretrain/engine/zero.py). One parameter's after the other is copied into a bucket, and the
original goes; when the next does not fit, the bucket is reduced. A parameter that is larger than a bucket is reduced where it is, and goes
then. Of what is reduced a rank keeps its own part. Compared with measured peaks in benchmarks/plan_memory.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pretrain.engine.ds_keys import zero_settings

_KEYS = ('stage', 'contiguous_gradients', 'overlap_comm', 'reduce_scatter', 'reduce_bucket_size')


@dataclass(frozen=True)
class Settings:
    """How DeepSpeed reduces."""

    stage: int
    bucket: int  # its elements
    overlapping: bool  # of two buckets one is filled while the other is reduced
    contiguous: bool  # gradients are copied into buckets; else they stay where they are until they are reduced
    scattered: bool  # a bucket is cut by the ranks that own its parts, and the pieces are copied into one tensor
    width: int  # bytes of a weight
    element: int  # bytes of an element of a bucket
    sent: int  # bytes of an element on the network

    @staticmethod
    def of(ds_config: dict[str, Any], width: int) -> Settings:
        """Of a resolved JSON, with DeepSpeed's own defaults for what it leaves out. `width`: bytes of a weight."""
        zero = ds_config['zero_optimization']
        if not all(isinstance(zero.get(key), int) for key in _KEYS):  # else DeepSpeed, which takes seconds to import, is not asked
            settings = zero_settings(zero, 'zero_optimization')
            zero = {key: getattr(settings, key) for key in _KEYS}
        element = _bytes(ds_config.get('data_types', {}).get('grad_accum_dtype'), width)
        sent = _bytes(ds_config.get('communication_data_type'), width)
        stage, contiguous, overlapping, scattered, bucket = (zero[key] for key in _KEYS)
        return Settings(int(stage), int(bucket), overlapping, contiguous, scattered, width, element, sent)

    @property
    def flat(self) -> bool:
        """Whether a rank's own part is a tensor of its own, in fp32; else it is the parameters that have a part there, whole."""
        return self.width < self.element


def held(groups: Sequence[Sequence[int]], world: int, settings: Settings) -> tuple[int, int]:
    """Bytes of gradients, and of buckets and copies, at the highest moment of the rank that has most. groups: elements of the parameters,
    in order; each group is divided among the `world` ranks."""
    return max((_Rank(groups, world, rank, settings).run() for rank in range(world)), key=sum)


@dataclass(frozen=True)
class _Parameter:
    group: int
    start: int  # in its group
    size: int


class _Rank:
    """One rank's bytes, event by event."""

    def __init__(self, groups: Sequence[Sequence[int]], world: int, rank: int, settings: Settings) -> None:
        self.settings, self.rank = settings, rank
        self.parts = [-(-sum(group) // world) for group in groups]
        self.parameters: list[_Parameter] = []
        for number, group in enumerate(groups):
            start = 0
            for size in group:
                self.parameters.append(_Parameter(number, start, size))
                start += size
        self.outside = 4 * sum(map(sum, groups))  # gradients that are in no bucket
        self.buckets = settings.element * settings.bucket * (2 if settings.overlapping else 1) if settings.contiguous else 0
        self.kept: dict[int, int] = {}  # this rank's part, by group
        self.late = 0  # gradients that go with the next reduction
        self.peak = (self.outside, self.buckets)

    def run(self) -> tuple[int, int]:
        """Reduce all. Returns what `held` does."""
        pending: list[_Parameter] = []
        for parameter in self.parameters:
            if sum(one.size for one in pending) + parameter.size > self.settings.bucket:
                self._reduce(pending)
                pending = []
            if self._staged(parameter):
                self.outside -= 4 * parameter.size
            pending.append(parameter)
        self._reduce(pending)
        return self.peak

    def _reduce(self, pending: list[_Parameter]) -> None:
        self.outside -= self.late
        self.late = 0
        owned = [parameter for parameter in pending if self.rank in self._owners(parameter)]
        if self.settings.flat:
            self.kept |= {parameter.group: 4 * self.parts[parameter.group] for parameter in owned}
        self._note(self._copies(pending))
        if owned and self.settings.contiguous and not self.settings.flat and not self.kept:
            whole = sum(parameter.size for parameter in self.parameters if self.rank in self._owners(parameter))
            self.kept[0] = self.settings.width * whole
            self._note(0)
        for parameter in pending:
            if self._staged(parameter):
                continue
            if parameter in owned:
                self.outside -= 4 * parameter.size if self.settings.contiguous else 0
            elif self.settings.stage == 2:
                if self.settings.overlapping and not self.settings.contiguous:
                    self.late += 4 * parameter.size
                else:
                    self.outside -= 4 * parameter.size

    def _note(self, copies: int) -> None:
        now = self.outside + sum(self.kept.values()), self.buckets + copies
        self.peak = max(self.peak, now, key=sum)

    def _staged(self, parameter: _Parameter) -> bool:
        return self.settings.contiguous and parameter.size <= self.settings.bucket

    def _copies(self, pending: list[_Parameter]) -> int:
        """Bytes that a reduction makes beside what it reduces."""
        settings = self.settings
        given = settings.element if all(map(self._staged, pending)) else 4
        converted = settings.sent if settings.sent != given else 0
        most = 0
        for pieces in self._goes(pending):
            elements = sum(size for _, size in pieces)
            joined = given if len(pieces) > 1 and (settings.scattered or not settings.contiguous) else 0
            # What was sent in another type is converted back, piece by piece, where it is added to this rank's part.
            back = 4 * max((size for owner, size in pieces if owner == self.rank), default=0) if settings.flat and converted else 0
            most = max(most, elements * (converted + joined), elements * converted + back)
        return most

    def _goes(self, pending: list[_Parameter]) -> Iterator[list[tuple[int, int]]]:
        """The pieces (owner, elements) that are reduced in one go: neighbours of one owner are one piece, but for those with a place of
        their own in this rank's part; a go ends with the piece that makes it larger than a bucket. Not scattered: all in one."""
        pieces: list[tuple[int, int]] = []
        for parameter in pending:
            part = self.parts[parameter.group]
            for owner in self._owners(parameter):
                size = min(parameter.start + parameter.size, (owner + 1) * part) - max(parameter.start, owner * part)
                placed = self.settings.flat and owner == self.rank
                if pieces and pieces[-1][0] == owner and not placed:
                    size += pieces.pop()[1]
                pieces.append((owner, size))
        go: list[tuple[int, int]] = []
        for piece in pieces:
            go.append(piece)
            if self.settings.scattered and self.settings.contiguous and sum(size for _, size in go) > self.settings.bucket:
                yield go
                go = []
        if go:
            yield go

    def _owners(self, parameter: _Parameter) -> range:
        part = self.parts[parameter.group]
        return range(parameter.start // part, -(-(parameter.start + parameter.size) // part))


def _bytes(name: str | None, default: int) -> int:
    """Of an element of a type by one of DeepSpeed's names."""
    return default if name is None else 2 if '16' in name or 'half' in name else 4
