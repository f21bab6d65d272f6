"""What a round of labels asks, frozen before anything is bought.

    label/round-0/plan.json          how many tasks, what they cost, where they lie: created once
    label/asked-0-<digest>.parquet   each task beside what its annotator sees, in sending order
    label/unasked-0-<digest>.parquet the pairs that are not worth asking

Who wants to know how many, or what they cost, reads the first file alone. The tables are read from
their files, a page at a time or column by column: a plan of a million tasks is never held.

Versions before 0.5 wrote all of it into `plan.json`; such a plan is read as it is.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.batch import Artifact, Batch, check_readable, quarantine_table, read_table, table_file
from winnow.label.aggregation.votes import COMPARISON
from winnow.label.tasks import Draft, requests_of
from winnow.label.vendor import MAX_PRICE, TaskRequest
from winnow.lake import Lake
from winnow.pieces import fitted, read_pieces
from winnow.records import ASKED, TASKS, Quarantined, to_table
from winnow.sql import Source
from winnow.stages.label.rounds import read_round, round_path
from winnow.stored import as_json, read_sealed, sealed_json, typed

PLAN = "plan.json"
STAGE = "label"
PAGE = 2_000
"""Tasks that are read at once, with all that they show."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Tasks, pairs that they ask a vote of, and prices in micro-dollars.

    `votes` is the price of all tasks that ask a vote, `second_votes` that of their pairs' second
    ones.
    """

    tasks: int = 0
    pairs: int = 0
    estimate: int = 0
    votes: int = 0
    second_votes: int = 0


@dataclass(frozen=True, slots=True)
class _Frozen:
    """`plan.json`."""

    asked: Artifact
    unasked: Artifact
    instructions: str
    totals: Totals
    pii: dict[str, int]
    taken: dict[str, Artifact]


class PricedTask(NamedTuple):
    """A task as far as its cost is concerned."""

    task_id: str
    price: int


_PRICED = pa.schema([ASKED.field(name) for name in PricedTask._fields])


@dataclass(frozen=True, slots=True)
class _PricedTasks(Collection[PricedTask]):
    """The tasks of a table of `_PRICED`; a page's worth at a time is Python's."""

    rows: pa.Table

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[PricedTask]:
        for page in read_pieces(self.rows, PAGE):
            yield from map(PricedTask, *(column.to_pylist() for column in page.columns))

    def __contains__(self, task: object) -> bool:
        return any(task == each for each in self)


@dataclass(frozen=True, slots=True)
class Plan:
    """A frozen plan of a round.

    Attributes:
        totals: How much it is.
        pii: Personal data that was found in the texts, by kind, each text once.
        taken: The stored tables `tasks` and `annotations` of votes that are not asked, if any.
        instructions: What annotators are told.
    """

    lake: Lake
    totals: Totals
    pii: Mapping[str, int]
    taken: Mapping[str, Artifact]
    instructions: str
    _asked: Artifact | pa.Table
    _unasked: Artifact | Sequence[Quarantined]

    @contextmanager
    def asked(self) -> Iterator[Source]:
        """Rows of `records.ASKED` in sending order, for DuckDB or column by column.

        Of rankings they are rows of `records.RANKING_ASKED`.
        """
        if isinstance(self._asked, pa.Table):
            yield self._asked
        else:
            with table_file(self.lake, self._asked) as file:
                yield file

    def rows(self, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All columns of what is asked, or some, a page at a time."""
        with self.asked() as source:
            yield from read_pieces(source, PAGE, names)

    def requests(self) -> PlannedRequests:
        """What is to be bought, for `winnow.label.submit`."""
        rows = pa.Table.from_batches(self.rows(_PRICED.names), _PRICED)
        return PlannedRequests(self, _PricedTasks(rows))

    @property
    def tasks(self) -> pa.Table:
        """Rows of `records.TASKS`."""
        rows = (fitted(page, TASKS) for page in self.rows(TASKS.names))
        return pa.Table.from_batches(rows, TASKS)

    @property
    def unasked(self) -> list[Quarantined]:
        """The pairs and gold that were not worth asking."""
        if isinstance(self._unasked, Artifact):
            rows = read_table(self.lake, self._unasked).to_pylist()
            return [Quarantined(**row) for row in rows]
        return list(self._unasked)


@dataclass(frozen=True, slots=True)
class PlannedRequests:
    """The requests of a plan: ids and prices as columns, what is shown a page at a time."""

    plan: Plan
    priced: Collection[PricedTask]

    def pages(self) -> Iterator[list[TaskRequest]]:
        """The tasks in sending order."""
        for page in self.plan.rows():
            yield requests_of(page.to_pylist(), self.plan.instructions)


def freeze_plan(batch: Batch, number: int, make: Callable[[Path], Draft]) -> Plan:
    """The round's plan, made now unless it is there; `make` is given a folder for its work."""
    frozen = read_plan(batch, number)
    if frozen is not None:
        return frozen
    with tempfile.TemporaryDirectory(prefix="winnow-plan-") as folder:
        draft = make(Path(folder))
        file = Path(folder) / "asked.parquet"
        totals = _write(draft, file)
        asked = batch.write_file(STAGE, f"asked-{number}", file, totals.tasks)
    unasked = quarantine_table(draft.quarantined)
    content = _Frozen(
        asked=asked,
        unasked=batch.write_table(STAGE, f"unasked-{number}", unasked),
        instructions=draft.instructions,
        totals=totals,
        pii=dict(draft.pii),
        taken=dict(draft.taken),
    )
    batch.lake.create(round_path(batch, number, PLAN), sealed_json(as_json(content)))
    plan = read_plan(batch, number)
    assert plan is not None
    return plan


def read_plan(batch: Batch, number: int) -> Plan | None:
    """The round's plan, or None if it was not made."""
    return read_round(batch, number, PLAN, partial(_plan, batch.lake))


def estimate_in(content: Mapping[str, Any]) -> int:
    """Micro-dollars that a round costs at most, by what its `plan.json` holds."""
    if "totals" in content:
        return int(content["totals"]["estimate"])
    return sum(task["price"] for task in content["tasks"])


def _plan(lake: Lake, data: bytes) -> Plan:
    content = read_sealed(data)
    if "totals" not in content:
        return _whole_plan(lake, content)
    frozen = typed(_Frozen, content)
    return Plan(
        lake=lake,
        totals=frozen.totals,
        pii=frozen.pii,
        taken=frozen.taken,
        instructions=frozen.instructions,
        _asked=frozen.asked,
        _unasked=frozen.unasked,
    )


def _whole_plan(lake: Lake, content: Mapping[str, Any]) -> Plan:
    """A plan of a version before 0.5, which holds everything."""
    tasks, requests = content["tasks"], content["requests"]
    if not all(type(t["price"]) is int and 0 <= t["price"] < MAX_PRICE for t in tasks):
        raise ValueError("price")
    asked = to_table(
        [{**request, **task} for request, task in zip(requests, tasks, strict=True)], ASKED
    )
    return Plan(
        lake=lake,
        totals=replace(_plus(Totals(), asked), pairs=_n_pairs(asked)),
        pii=content["pii"],
        taken={name: Artifact(**table) for name, table in content.get("taken", {}).items()},
        instructions=requests[0]["instructions"] if requests else "",
        _asked=asked,
        _unasked=[
            Quarantined(**{**row, "raw": base64.b64decode(row["raw"])})
            for row in content["quarantined"]
        ],
    )


def _write(draft: Draft, file: Path) -> Totals:
    """Write the tasks of a draft, in row groups of `PAGE`; equal tasks, equal bytes."""
    totals = Totals()
    with pq.ParquetWriter(file, draft.schema, compression="zstd") as writer:
        for rows in _pages(draft.asked, draft.schema):
            check_readable(rows, file.name)
            writer.write_table(rows)
            totals = _plus(totals, rows)
    with pq.ParquetFile(file) as written:
        return replace(totals, pairs=_n_pairs(written.read(["pair_id", "kind"])))


def _n_pairs(rows: pa.Table) -> int:
    return int(
        pc.count_distinct(rows.filter(pc.equal(rows["kind"], COMPARISON))["pair_id"]).as_py()
    )


def _plus(totals: Totals, rows: pa.Table) -> Totals:
    """The totals with some further tasks; their pairs are counted over all of them."""
    votes = rows.filter(pc.equal(rows["kind"], COMPARISON))
    second = votes.filter(pc.equal(votes["repetition"], 1))
    estimate, of_votes, of_second = (
        pc.sum(some["price"], min_count=0).as_py() for some in (rows, votes, second)
    )
    return Totals(
        tasks=totals.tasks + len(rows),
        estimate=totals.estimate + estimate,
        votes=totals.votes + of_votes,
        second_votes=totals.second_votes + of_second,
    )


def _pages(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in tables of `PAGE` rows, the last one apart."""
    waiting = schema.empty_table()
    for rows in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([rows], schema)])
        while len(waiting) >= PAGE:
            yield waiting.slice(0, PAGE)
            waiting = waiting.slice(PAGE)
    if len(waiting):
        yield waiting
