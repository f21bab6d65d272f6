"""Runs: what older batches of a ledger took, laid out so that a question reads little of it.

    filter    a Bloom filter in blocks: one block says that an id is surely not here
    fences    where the ids of each bucket begin
    ids       sorted, each with the place in the run of the batch that took it
    offsets   where each batch's entry begins
    entries   the batches' entries, JSON
    names     the batches' keys

A run is an immutable object named by its content. The first four parts are rows of words, the last
of a row a check of the others and of the row's number, so that a part that is read alone tells when
it was changed. Two neighbours merge into one run, byte for byte the same whoever merges them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from winnow.errors import Corrupt
from winnow.ids import digest
from winnow.lake import Lake
from winnow.stored import RESTORE, parsed, read_sealed, sealed_json

Words = npt.NDArray[np.uint32]
Count = Annotated[int, Field(ge=0, lt=2**63)]

MOST_IDS = 1 << 22
"""Runs of more ids than this are merged no further: a merge holds some 100 bytes an id."""

_BLOCK_BITS, _BITS_OF_ID = 96, 16
_IDS_OF_BLOCK = _BLOCK_BITS // _BITS_OF_ID
_IDS_OF_BUCKET = 16
_GAP = 64
"""Bytes between two rows that are read along, rather than asked for apart."""
_AT_ONCE = 16
_WORD = np.dtype("<u4")
_FILTER, _FENCE, _ID, _OFFSET = 4, 2, 6, 2
"""Words of a row, the check included."""
_ODD = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], np.uint32)


@dataclass(frozen=True, slots=True)
class Run:
    """What a ledger's head says of a run: where it is, and how long its parts are."""

    path: str
    sha256: str
    n_entries: Count
    n_ids: Count
    n_entry_bytes: Count
    n_bytes: Count
    continues: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, int]:
        """Where each part begins, in bytes, by name."""
        widths = {
            "filter": _n_blocks(self.n_ids) * _FILTER * 4,
            "fences": (_n_buckets(self.n_ids) + 1) * _FENCE * 4,
            "ids": self.n_ids * _ID * 4,
            "offsets": (self.n_entries + 1) * _OFFSET * 4,
            "entries": self.n_entry_bytes,
            "names": 0,
        }
        ends = np.cumsum([0, *widths.values()])[:-1]
        return dict(zip(widths, map(int, ends), strict=True))


@dataclass(frozen=True, slots=True)
class Content:
    """What a run holds: keys and entries of batches in order, and ids with the places of theirs."""

    names: Sequence[str]
    entries: Sequence[bytes]
    ids: Words
    places: npt.NDArray[np.uint32]
    continues: frozenset[str] = frozenset()

    def then(self, later: Content) -> Content:
        """This run's content and that of the one after it."""
        return Content(
            [*self.names, *later.names],
            [*self.entries, *later.entries],
            np.concatenate([self.ids, later.ids]),
            np.concatenate([self.places, later.places + np.uint32(len(self.names))]),
            self.continues | later.continues,
        )


def words_of(ids: Sequence[bytes]) -> Words:
    """Ids of 16 bytes as rows of four words."""
    joined = np.frombuffer(b"".join(ids), ">u4").reshape(-1, 4)
    return joined.astype(np.uint32)


def found_in(ids: Words, places: npt.NDArray[np.uint32], wanted: Words) -> list[tuple[int, int]]:
    """Which of the `wanted` are among the ids: each with the places of those that are it."""
    keys, asked = _high(ids), _high(wanted)
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys, asked, "left", order)
    ends = np.searchsorted(keys, asked, "right", order)
    return [
        (which, int(places[at]))
        for which in np.flatnonzero(starts < ends).tolist()
        for at in order[starts[which] : ends[which]]
        if np.array_equal(ids[at], wanted[which])
    ]


def write_run(lake: Lake, folder: str, number: int, content: Content) -> Run:
    """Store a run that the ledger's entry of a number brings; equal content is one object."""
    order = np.lexsort((content.places, *(content.ids[:, k] for k in (3, 2, 1, 0))))
    ids, places = content.ids[order], content.places[order]
    lengths = [len(entry) for entry in content.entries]
    names = sealed_json({"batches": list(content.names)})
    starts = np.searchsorted(
        _scaled(ids[:, 0], _n_buckets(len(ids))), np.arange(_n_buckets(len(ids)) + 1)
    )
    data = b"".join(
        [
            _checked(_filter_of(ids)),
            _checked(starts[:, None]),
            _checked(np.column_stack([ids, places])),
            _checked(np.cumsum([0, *lengths])[:, None]),
            *content.entries,
            names,
        ]
    )
    sha256 = digest(data)
    path = f"{folder}/{number:09d}-{sha256[:16]}.run"
    lake.create(path, data)
    continues = tuple(sorted(content.continues))
    return Run(path, sha256, len(lengths), len(ids), sum(lengths), len(data), continues)


@dataclass(frozen=True, slots=True)
class RunReader:
    """Reads parts of a run. All raise Corrupt where the run is missing or was changed."""

    lake: Lake
    run: Run
    _held: dict[str, list[str]] = field(default_factory=dict)

    def find(self, ids: Words) -> list[tuple[int, int]]:
        """Which of the ids are here: each with the place of a batch that took it, in order."""
        if not self.run.n_ids or not len(ids):
            return []
        maybe = np.flatnonzero(self._may_have(ids))
        buckets = _scaled(ids[maybe, 0], _n_buckets(self.run.n_ids))
        numbers = np.union1d(buckets, buckets + 1)
        fences = self._rows("fences", _FENCE, numbers)[:, 0].astype(np.int64)
        at = np.searchsorted(numbers, np.unique(buckets))
        held = [np.arange(fences[k], fences[k + 1]) for k in at.tolist()]
        rows = self._rows("ids", _ID, np.concatenate([*held, np.array([], np.int64)]))
        hits = found_in(rows[:, :4], rows[:, 4], ids[maybe])
        return [(int(maybe[which]), place) for which, place in hits]

    def names(self) -> list[str]:
        """The keys of its batches, in the order in which they took."""
        if "names" not in self._held:
            start = self.run.parts["names"]
            data = self._part(start, self.run.n_bytes - start)
            self._held["names"] = parsed(
                self.lake, self.run.path, lambda held: list(read_sealed(held)["batches"]), data
            )
        return self._held["names"]

    def entry(self, place: int) -> bytes:
        """The entry of one batch."""
        offsets = self._rows("offsets", _OFFSET, np.array([place, place + 1]))
        start, end = offsets[:, 0].tolist()
        return self._part(self.run.parts["entries"] + start, end - start)

    def entries(self) -> Iterator[bytes]:
        """The entries of all batches, in order; a read each of where they are and what."""
        places = np.arange(self.run.n_entries + 1)
        offsets = self._rows("offsets", _OFFSET, places)[:, 0].tolist()
        data = self._part(self.run.parts["entries"], self.run.n_entry_bytes)
        for start, end in pairwise(offsets):
            yield data[start:end]

    def content(self) -> Content:
        """All of it, held against the digest in the ledger."""
        try:
            data = self.lake.read(self.run.path)
        except FileNotFoundError as error:
            raise self._damage() from error
        if digest(data) != self.run.sha256:
            raise self._damage()
        parts = self.run.parts
        table = np.frombuffer(data[parts["ids"] : parts["offsets"]], _WORD).reshape(-1, _ID)
        ends = np.frombuffer(data[parts["offsets"] : parts["entries"]], _WORD).reshape(-1, _OFFSET)
        ends = ends[:, 0] + parts["entries"]
        entries = [data[a:b] for a, b in pairwise(ends)]
        names = json.loads(data[parts["names"] :])["batches"]
        return Content(names, entries, table[:, :4], table[:, 4], frozenset(self.run.continues))

    def _may_have(self, ids: Words) -> npt.NDArray[np.bool_]:
        """Whether the filter lets each id through."""
        numbers = _scaled(ids[:, 0], _n_blocks(self.run.n_ids))
        wanted, at = np.unique(numbers, return_inverse=True)
        blocks = self._rows("filter", _FILTER, wanted)[at]
        words, masks = _bits_of(ids)
        picked = np.take_along_axis(blocks, words, axis=1)
        through: npt.NDArray[np.bool_] = ((picked & masks) == masks).all(axis=1)
        return through

    def _rows(self, part: str, width: int, numbers: npt.NDArray[np.int64]) -> Words:
        """Rows of a part by their numbers, which are sorted; without the checks."""
        if not len(numbers):
            return np.zeros((0, width - 1), np.uint32)
        begin, n_bytes = self.run.parts[part], width * 4
        cuts = np.flatnonzero((np.diff(numbers) - 1) * n_bytes > _GAP) + 1

        def read(wanted: npt.NDArray[np.int64]) -> Words:
            first, end = int(wanted[0]), int(wanted[-1]) + 1
            data = self._part(begin + first * n_bytes, (end - first) * n_bytes)
            rows: Words = np.frombuffer(data, _WORD).reshape(-1, width)
            if not np.array_equal(rows[:, -1], _checks(rows[:, :-1], first)):
                raise self._damage()
            return rows[wanted - first, :-1]

        spans = np.split(numbers, cuts)
        with ThreadPoolExecutor(min(_AT_ONCE, len(spans))) as pool:
            return np.concatenate(list(pool.map(read, spans)))

    def _part(self, start: int, n_bytes: int) -> bytes:
        try:
            data = self.lake.part(self.run.path, start, n_bytes)
        except FileNotFoundError as error:
            raise self._damage() from error
        if len(data) != n_bytes:
            raise self._damage()
        return data

    def _damage(self) -> Corrupt:
        return Corrupt(
            f"{self.lake.uri}/{self.run.path}, which says what {self.run.n_entries} batches "
            f"took, is missing or was changed; {RESTORE}."
        )


def _n_blocks(n_ids: int) -> int:
    return -(-n_ids // _IDS_OF_BLOCK)


def _n_buckets(n_ids: int) -> int:
    return -(-n_ids // _IDS_OF_BUCKET)


def _scaled(words: Words, n: int) -> npt.NDArray[np.int64]:
    """Words as numbers below `n`, in the same order."""
    scaled: npt.NDArray[np.int64] = (
        words.astype(np.uint64) * np.uint64(n) >> np.uint64(32)
    ).astype(np.int64)
    return scaled


def _high(ids: Words) -> npt.NDArray[np.uint64]:
    """The first half of each id."""
    high: npt.NDArray[np.uint64] = ids[:, 0].astype(np.uint64) << np.uint64(32) | ids[:, 1]
    return high


def _bits_of(ids: Words) -> tuple[npt.NDArray[np.int64], Words]:
    """The bits of each id in its block: the words that they are in, and their masks."""
    halves = np.column_stack([ids[:, 1:] >> np.uint32(16), ids[:, 1:] & np.uint32(0xFFFF)])
    bits = halves * np.uint32(_BLOCK_BITS) >> np.uint32(16)
    return (bits >> np.uint32(5)).astype(np.int64), np.uint32(1) << (bits & np.uint32(31))


def _filter_of(ids: Words) -> Words:
    blocks = np.zeros((_n_blocks(len(ids)), _FILTER - 1), np.uint32)
    words, masks = _bits_of(ids)
    numbers = _scaled(ids[:, 0], len(blocks))
    np.bitwise_or.at(blocks, (numbers[:, None], words), masks)
    return blocks


def _checks(rows: Words, first: int = 0) -> Words:
    """A check of each row, which one changed word always changes, and of its number."""
    numbers = np.arange(first + 1, first + 1 + len(rows)).astype(np.uint32) * np.uint32(0x2545F491)
    checks: Words = (rows * _ODD[: rows.shape[1]]).sum(axis=1, dtype=np.uint32) + numbers
    return checks


def _checked(rows: npt.NDArray[np.integer]) -> bytes:
    words = rows.astype(np.uint32)
    return np.column_stack([words, _checks(words)]).astype(_WORD).tobytes()
