"""Responses that come with prompts, from rows in any order to pools in parts.

They are spooled to disk by the beginnings of their prompts' ids, so that memory holds one bucket of
them at a time, however many there are.

Always holds: equal rows in equal order give equal parts; every response is in one of them, or what
could not be read of it, with the reason.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.arrays import FloatArray
from winnow.ingest.normalise import Prompt
from winnow.ingest.shapes.example import Candidate, Example, listed
from winnow.ingest.values import Unreadable
from winnow.records import BROUGHT_RESPONSES, to_table
from winnow.text import cut, plain_text

LARGEST_POOL = 1000
"""Responses to a prompt, at most, as of pools that are generated."""

_HEX_DIGITS = 2
"""Of a prompt's id, by which its bucket is told."""
_HELD, _HELD_BYTES = 16_384, 32 << 20
"""Responses that wait to be written, and bytes of their texts."""
_LARGEST_HALF = float(np.finfo(np.float16).max)
_LARGEST_SCORE = _LARGEST_HALF / 2
"""So that half precision holds what two of them are apart."""
_MOST_TOKENS = 1 << 30
_MOST_NAME = 200
_NO_TASTE = ("complexity", "verbosity")
"""Ratings that do not say how good a response is."""


@contextmanager
def opened_pools(features: Collection[Any]) -> Iterator[BroughtPools]:
    """Pools of a campaign with these features, whose temporary files go at the end."""
    with tempfile.TemporaryDirectory(prefix="winnow-brought-") as folder, ExitStack() as files:
        yield BroughtPools(Path(folder), features, files)


class BroughtPools:
    """Takes responses row by row, and gives them back pool by pool.

    Args:
        folder: Of temporary files.
        features: Of the campaign: one without a `vector` that they name is spoilt.
        files: Closes what is opened there.
    """

    def __init__(self, folder: Path, features: Collection[Any], files: ExitStack) -> None:
        self._folder, self._features, self._files = folder, features, files
        self._waiting: dict[str, list[dict[str, Any]]] = {}
        self._n_waiting = self._bytes_waiting = self.n_bytes = 0
        self.n_responses = self.n_joined = self.n_scored = 0
        self._lengths: Counter[int] = Counter()
        self._writers: dict[str, pa.RecordBatchStreamWriter] = {}

    def take(self, prompt: Prompt) -> None:
        """Take the responses of a prompt's row, those that are spoilt too."""
        example: Example = prompt.example
        prompt_id = prompt.prompt_id
        place = {"prompt_id": prompt_id, "file": prompt.file, "line": prompt.line}
        rows = [{**place, **self._row(each)} for each in example.candidates]
        rows += [
            {**place, "reason": fault.reason, "detail": fault.detail} for fault in example.spoilt
        ]
        self._waiting.setdefault(prompt_id[:_HEX_DIGITS], []).extend(rows)
        n_bytes = sum(len((row.get("message") or "").encode()) for row in rows)
        self._n_waiting += len(rows)
        self._bytes_waiting += n_bytes
        self.n_responses += len(rows)
        self.n_bytes += n_bytes
        if self._n_waiting >= _HELD or self._bytes_waiting >= _HELD_BYTES:
            self._write()

    def join(self, prompt: Prompt) -> None:
        """Take those of a further row of a prompt."""
        self.take(prompt)
        self.n_joined += 1

    def parts(self, most: int, most_bytes: int) -> Iterator[pa.Table]:
        """Tables of `BROUGHT_RESPONSES`, one at least, in order of the prompts' ids.

        A pool is in one of them whole; together they have `most` rows and `most_bytes` of text,
        unless one alone has more.
        """
        self._write()
        for writer in self._writers.values():
            writer.close()
        held: list[pa.Table] = []
        n_held = bytes_held = 0
        for bucket in sorted(self._writers):
            table = self._bucket(bucket)
            bytes_r = pc.fill_null(pc.binary_length(table["message"]), 0).to_numpy()
            start = begin = 0
            for size in _run_lengths(table["prompt_id"]):
                n_bytes = int(bytes_r[start : start + size].sum(dtype=np.int64))
                if n_held and (n_held + size > most or bytes_held + n_bytes > most_bytes):
                    yield pa.concat_tables([*held, table.slice(begin, start - begin)])
                    held, n_held, bytes_held, begin = [], 0, 0, start
                start, n_held, bytes_held = start + size, n_held + size, bytes_held + n_bytes
            held.append(table.slice(begin))
        yield pa.concat_tables([*held, BROUGHT_RESPONSES.empty_table()])

    def _row(self, said: Candidate) -> dict[str, Any]:
        try:
            n_tokens = said.n_tokens
            if n_tokens is not None and not 0 <= n_tokens <= _MOST_TOKENS:
                raise Unreadable("wrong_type", f"`n_tokens` cannot be {n_tokens}")
            vector = None
            if "vector" in self._features:
                if said.vector is None:
                    raise Unreadable("no_vector", "the row has no `vector`, a feature of the pools")
                vector = read_vector(said.vector, "vector", _LARGEST_HALF)
                self._lengths[len(vector)] += 1
            score = score_of(said)
            if "score" in self._features and score is not None and abs(score) > _LARGEST_SCORE:
                detail = f"`score` is {score:g}: divide all, {_LARGEST_SCORE:,.0f} is the most"
                raise Unreadable("wrong_score", detail)
            self.n_scored += score is not None
        except Unreadable as fault:
            return {"reason": fault.reason, "detail": fault.detail}
        return {
            "message": said.text,
            "model": _name(said.model),
            "score": score,
            "logprob": said.logprob,
            "n_tokens": n_tokens,
            "finish_reason": _name(said.finish_reason),
            "vector": None if vector is None else vector.astype(np.float16),
        }

    def _write(self) -> None:
        for bucket, rows in self._waiting.items():
            if bucket not in self._writers:
                file = self._files.enter_context(pa.OSFile(str(self._folder / bucket), "wb"))
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writers[bucket] = pa.ipc.new_stream(file, BROUGHT_RESPONSES, options=options)
            self._writers[bucket].write_table(to_table(rows, BROUGHT_RESPONSES))
        self._waiting, self._n_waiting, self._bytes_waiting = {}, 0, 0

    def _bucket(self, bucket: str) -> pa.Table:
        """A bucket's rows by prompt, in the order in which they came, those that are spoilt marked.

        What cannot be told of a row alone is told here.
        """
        with pa.OSFile(str(self._folder / bucket)) as file:
            table = pa.ipc.open_stream(file).read_all()
        ids = np.array(table["prompt_id"].to_pylist(), dtype=object)
        table = table.take(np.argsort(ids, kind="stable")).combine_chunks()
        sizes = np.array(_run_lengths(table["prompt_id"]), np.int64)
        place_r = np.arange(table.num_rows) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        detail = f"the prompt has more than {LARGEST_POOL:,} responses"
        table = _spoilt(table, place_r >= LARGEST_POOL, "pool_is_full", detail)
        if self._lengths:
            # Of several lengths the commonest is right, of equally common ones the greatest.
            n_columns = max(self._lengths, key=lambda each: (self._lengths[each], each))
            lengths = pc.fill_null(pc.list_value_length(table["vector"]), n_columns)
            detail = f"`vector` must have {n_columns:,} numbers, as most have"
            table = _spoilt(table, np.asarray(lengths) != n_columns, "wrong_vector", detail)
        return table


def score_of(said: Candidate) -> float | None:
    """What a row says of a response, more is better: a score, a mean of ratings, a rank, a thumb.

    Of a pool it is compared within all are of one kind, as their format has them.
    """
    if said.score is not None:
        return said.score
    ratings = [value for name, value in said.ratings.items() if name not in _NO_TASTE]
    if ratings:
        return sum(ratings) / len(ratings)
    if said.rank is not None:
        return -said.rank
    return None if said.liked is None else float(said.liked)


def read_vector(raw: Any, name: str, most: float) -> FloatArray:
    """A list of numbers (c,), each below `most` in size; or the JSON of one.

    Raises:
        Unreadable: It is something else.
    """
    try:
        vector = np.array(listed(raw, name) if isinstance(raw, str) else raw)
    except Unreadable as fault:
        raise Unreadable("wrong_vector", fault.detail) from None
    except ValueError:  # Lists of several lengths.
        vector = np.array(None)
    if vector.ndim != 1 or not len(vector) or vector.dtype.kind not in "iuf":
        raise Unreadable("wrong_vector", f"`{name}` must be a list of numbers")
    vector = vector.astype(np.float64)
    if not (np.abs(vector) < most).all():
        raise Unreadable(
            "wrong_vector", f"`{name}` holds a number that is not finite, or too large"
        )
    return vector


def _name(raw: str | None) -> str | None:
    """One short line: it is shown on pages and in a terminal."""
    return None if raw is None else cut(" ".join(plain_text(raw).split()), _MOST_NAME) or None


def _run_lengths(column: pa.ChunkedArray) -> list[int]:
    """How many neighbours of a column are equal, run by run."""
    encoded = pc.run_end_encode(column.combine_chunks())
    chunks = encoded.chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    return [n for each in chunks for n in np.diff(np.asarray(each.run_ends), prepend=0).tolist()]


def _spoilt(table: pa.Table, is_so: NDArray[np.bool_], reason: str, detail: str) -> pa.Table:
    """The table, of whose sound rows some are spoilt for a reason."""
    mask = pc.and_(pa.array(is_so), pc.is_null(table["reason"]))
    if not pc.any(mask).as_py():
        return table
    said = {"reason": reason, "detail": detail, "message": None}
    for name, value in said.items():
        column = pc.if_else(mask, pa.scalar(value, pa.string()), table[name])
        table = table.set_column(
            BROUGHT_RESPONSES.get_field_index(name), BROUGHT_RESPONSES.field(name), column
        )
    return table
