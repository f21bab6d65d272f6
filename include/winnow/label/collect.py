"""Reads everything that vendors delivered of a batch; what does not fit goes to quarantine.

What always holds: records received = annotations + quarantined + exact re-deliveries, checked
before returning; nothing a vendor sent is lost. The annotations do not depend on the order in which
records came, so the same deliveries always give the same rows. Records are read one by one and
compared in DuckDB: of a batch of any size a few thousand are held.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import Corrupt
from winnow.ids import content_id
from winnow.ingest.values import Unreadable
from winnow.label.annotation import UNKNOWN, AskedTask, nobody, read_annotation
from winnow.label.database import NARROW
from winnow.label.ids import Ids
from winnow.pieces import read_pieces
from winnow.records import ANNOTATIONS, RANKING_TASKS, TASKS, Quarantined, to_table
from winnow.sql import Source, database, statements

Row = Mapping[str, Any]

_TASK_ID = re.compile(rb'"task_id"\s*:\s*"([!-~]+?)"')
_AT_ONCE = 5_000
_READ = pa.schema(
    [
        *ANNOTATIONS,
        ("source", pa.string()),
        ("line", pa.int64()),
        ("look", pa.int64()),
        ("raw", pa.binary()),
    ]
)
"""An annotation beside the record that it was read from."""
_TOLD = pa.schema([TASKS.field(name) for name in ("pair_id", "swapped", "kind")])
"""What an answer's task tells of it."""
_SHOWN = RANKING_TASKS.field("shown")
_LOOKS = pa.schema([("source", pa.string()), ("last", pa.int64())])
_SQL = statements(__file__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One raw record, its annotator hashed.

    Attributes:
        raw: Its bytes.
        source: Vendor and container, `simulator/sim-1`, after the name of one beside people.
        line: Its place in what the source sent, counted from 1.
        look: At which look it came; looks at a source count from 0.
        account: Who beside people gave it, whose ids mean nothing to others; empty: people.
    """

    raw: bytes
    source: str
    line: int
    look: int
    account: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """`n_received = n_annotations - n_vanished + len(quarantined) + n_redelivered`.

    Annotations that were taken over are not counted there. `annotations` is a file of rows of
    `records.ANNOTATIONS`, by id and revision; `refused` are the tasks that a record in quarantine
    names: somebody answered them.
    """

    annotations: Path
    n_annotations: int
    quarantined: list[Quarantined]
    n_received: int
    n_redelivered: int
    n_vanished: int
    refused: frozenset[str] = frozenset()


def read_deliveries(
    deliveries: Iterable[Delivery],
    tasks: Source,
    last_look: Mapping[str, int],
    folder: Path,
    unnamed: Sequence[int] = (),
    taken: Source | None = None,
) -> Collection:
    """All annotations in `deliveries`, sorted by id and revision.

    Args:
        deliveries: In the order of arrival.
        tasks: Rows of `records.TASKS` that were asked for.
        last_look: The number of the last whole look at each source that only shows what stands at
            the time: what an earlier look brought and this one did not was retracted.
        folder: For the result, and for what does not fit into memory.
        unnamed: Rounds of vendors whose one id on all answers of each round is nobody's: each is
            then of an annotator of its own, of whom nothing is known.
        taken: Annotations of other campaigns that come beside them: who judged a pair there gave a
            repeat here and no second vote.

    Raises:
        Corrupt: The counts do not add up.
    """
    asked = AskedTasks(tasks)
    read, rejected, n_received = _read(deliveries, asked, folder / "read.parquet")
    read = _told_apart(read, folder / "told-apart.parquet")
    looks = pa.table([list(last_look), list(last_look.values())], schema=_LOOKS)
    taken = ANNOTATIONS.empty_table() if taken is None else taken
    tables = {"read": read, "tasks": tasks, "looks": looks, "taken": taken}
    with database(tables, NARROW) as connection:
        connection.execute(_SQL["compared"])
        conflicting = _refused(connection, "conflicting")
        repeated = _refused(connection, "repeated")
        ((n_kept, n_vanished, n_redelivered),) = connection.sql(_SQL["counts"]).fetchall()
        # By their place; the same bytes of a source once.
        rejected = sorted([*rejected, *conflicting, *repeated], key=lambda r: (r.file, r.line))
        once: dict[tuple[str | None, bytes | None], Quarantined] = {}
        for row in rejected:
            once.setdefault((row.file, row.raw), row)
        n_redelivered += len(rejected) - len(once)
        n_accounted = n_kept + len(once) + n_redelivered
        if n_accounted != n_received:
            raise Corrupt(
                f"{n_received} records came and {n_accounted} are accounted for; nothing was "
                "kept. This is a fault of Winnow."
            )
        standing = connection.sql(_SQL["standing"])
        standing_file = _written(
            standing, folder / "standing.parquet", _nobodys(connection, unnamed)
        )
    with database({"standing": standing_file, "taken": taken}, NARROW) as connection:
        annotations = _written(
            connection.sql(_SQL["one_vote_each"]), folder / "annotations.parquet"
        )
    # Of a record in quarantine nothing else may be readable.
    named = {n.decode("ascii") for r in once.values() for n in _TASK_ID.findall(r.raw or b"")}
    return Collection(
        annotations=annotations,
        n_annotations=pq.read_metadata(annotations).num_rows,
        quarantined=list(once.values()),
        n_received=n_received,
        n_redelivered=n_redelivered,
        n_vanished=n_vanished,
        refused=frozenset(name for name in named if name in asked),
    )


class AskedTasks(Mapping[str, AskedTask]):
    """The tasks that were asked, by id; a million take some 80 MB."""

    def __init__(self, tasks: Source) -> None:
        pages = read_pieces(tasks, _AT_ONCE, ["task_id"])
        self._ids = Ids(name for page in pages for name in page["task_id"].to_pylist())
        held = tasks.schema if isinstance(tasks, pa.Table) else pq.read_schema(tasks)
        told = _TOLD if _SHOWN.name not in held.names else _TOLD.append(_SHOWN)
        rows = pa.Table.from_batches(read_pieces(tasks, _AT_ONCE, told.names), told)
        self._columns = [column.combine_chunks() for column in rows.columns]

    def __getitem__(self, task_id: str) -> AskedTask:
        place = self._ids.place(task_id)
        if place is None:
            raise KeyError(task_id)
        pair, swapped, kind, *shown = (column[place].as_py() for column in self._columns)
        return AskedTask(pair, swapped, kind, *map(tuple, shown))

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def _read(
    deliveries: Iterable[Delivery], asked: Mapping[str, AskedTask], file: Path
) -> tuple[Path, list[Quarantined], int]:
    """The annotations in a file, the records that are none, and how many records there were."""
    rejected: list[Quarantined] = []
    n_received = 0
    with pq.ParquetWriter(file, _READ) as writer:
        waiting = iter(deliveries)
        while some := list(islice(waiting, _AT_ONCE)):
            n_received += len(some)
            rows = []
            for delivery in some:
                try:
                    rows.append(_row(read_annotation(delivery.raw, asked), delivery))
                except Unreadable as error:
                    rejected.append(_quarantined(delivery, error.reason, error.detail))
            writer.write_table(to_table(rows, _READ))
    return file, rejected, n_received


def _row(annotation: Any, delivery: Delivery) -> Row:
    row: dict[str, Any] = {name: getattr(annotation, name) for name in ANNOTATIONS.names}
    if delivery.account:
        _under_own_id(row, delivery.account)
    return row | {name: getattr(delivery, name) for name in ("source", "line", "look", "raw")}


def _told_apart(read: Path, file: Path) -> Path:
    """The records, each annotation under an id of its own.

    An id that stands on answers to several tasks in one revision is no more than a number in a
    list: a vendor counts from 1 in each file. A later revision may move to another task.
    """
    shared = _shared_ids(read)
    if not shared:
        return read

    def own(row: dict[str, Any]) -> None:
        if row["annotation_id"] in shared:
            _under_own_id(row, row["task_id"])

    with pq.ParquetWriter(file, _READ) as writer:
        for rows in read_pieces(read, _AT_ONCE):
            writer.write(_changed(rows, _READ, own))
    return file


def _under_own_id(row: dict[str, Any], beside: str) -> None:
    row["annotation_id"] = content_id("annotation", row["annotation_id"], beside)
    if row["annotator"].startswith(UNKNOWN):
        _of_nobody(row)


def _shared_ids(read: Path) -> set[str]:
    with database({"read": read}, NARROW) as connection:
        return {name for (name,) in connection.sql(_SQL["shared"]).fetchall()}


def _of_nobody(row: dict[str, Any]) -> None:
    row["annotator"] = nobody(row["annotation_id"])


def _nobodys(
    connection: duckdb.DuckDBPyConnection, unnamed: Sequence[int]
) -> Callable[[dict[str, Any]], None] | None:
    """What takes the one id of a team off its answers; None where there is none."""
    if not unnamed:
        return None
    found = connection.sql(_SQL["of_teams"], params={"unnamed": sorted(unnamed)})
    pages = found.to_arrow_reader(_AT_ONCE)
    tasks = Ids(name for page in pages for name in page["task_id"].to_pylist())

    def change(row: dict[str, Any]) -> None:
        if row["task_id"] in tasks:
            _of_nobody(row)

    return change


def _changed(
    rows: pa.RecordBatch, schema: pa.Schema, change: Callable[[dict[str, Any]], None]
) -> pa.RecordBatch:
    changed = rows.to_pylist()
    for row in changed:
        change(row)
    return pa.RecordBatch.from_pylist(changed, schema)


def _written(
    rows: duckdb.DuckDBPyRelation,
    file: Path,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Annotations in a file, in row groups of `_AT_ONCE`; equal rows, equal bytes."""
    with pq.ParquetWriter(file, ANNOTATIONS, compression="zstd") as writer:
        for page in rows.to_arrow_reader(_AT_ONCE):
            named = page.cast(ANNOTATIONS)
            writer.write(named if change is None else _changed(named, ANNOTATIONS, change))
    return file


_DETAILS = {
    "conflicting": ("conflicting_delivery", "another record claims this annotation and revision"),
    "repeated": ("repeated_annotator", "this annotator answers the task in another record"),
}


def _refused(connection: duckdb.DuckDBPyConnection, which: str) -> list[Quarantined]:
    reason, detail = _DETAILS[which]
    return [
        _quarantined(Delivery(raw, source, line, look), reason, detail, name)
        for raw, source, line, look, name in connection.sql(_SQL[which]).fetchall()
    ]


def _quarantined(
    delivery: Delivery, reason: str, detail: str, annotation_id: str | None = None
) -> Quarantined:
    return Quarantined(
        "label", reason, detail, delivery.source, delivery.line, annotation_id, delivery.raw
    )
