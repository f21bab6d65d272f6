"""Lineage: from a published row back to everything that made it, and that as plain text.

What a row went through lies in the tables of its batch, each found by a manifest. The batch is
looked for from the newest to the oldest, by ids alone. A row that a rollback took out keeps its
lineage, which says so. Texts of prompts, models and annotators are hostile: one line each, cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.batch import Artifact, Manifest, arrow_file, read_artifact, read_manifest
from winnow.errors import Corrupt, Fatal
from winnow.label.aggregation.votes import latest_revisions
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.publish.labelled import pool_tables
from winnow.publish.versions import Version, newest, read_version
from winnow.records import RESPONSES
from winnow.text import plain_rows, plain_text

Row = Mapping[str, Any]
Kind = Literal["pair", "response", "annotation"]

_AT_ONCE = 4
_STAGES = ("ingest", "expand", "select", "label")
_LONGEST = 160
_GAINS = ("info_gain", "decision_gain", "score", "p_first", "propensity")


@dataclass(frozen=True, slots=True)
class Place:
    """A row of the dataset: its file in the version's folder, and its number there from 0."""

    file: str
    row: int


@dataclass(frozen=True, slots=True)
class PairStory:
    """What became of a pair; rows are those of `winnow.records`, annotations at their last word.

    `preference` is None where no vote decides; `cost` is what its annotations cost, in
    micro-dollars; `places` are its rows in the version that first held them.
    """

    comparison: Row
    first: Row
    second: Row
    tasks: Sequence[Row]
    annotations: Sequence[Row]
    preference: Row | None
    cost: int
    places: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where the row `asked` comes from, with the pairs that it is, is in, or judges.

    `newest` is the dataset's newest version, and `is_in_newest` whether it still has the batch.
    """

    asked: str
    kind: Kind
    campaign: str
    batch: str
    dataset: str
    first_version: str
    published_at: str
    newest: str
    is_in_newest: bool
    engine: str | None
    prompt: Row
    pairs: Sequence[PairStory]

    def as_dict(self) -> dict[str, Any]:
        """The lineage as a mapping; times are datetimes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A published batch with its manifests up to its labels, as rows are looked for in it."""

    lake: Lake
    stages: Mapping[str, Manifest]

    @classmethod
    def of(cls, lake: Lake, campaign: str, key: str) -> _Batch:
        stages = {stage: read_manifest(lake, campaign, key, stage) for stage in _STAGES}
        missing = [stage for stage, manifest in stages.items() if manifest is None]
        if missing:
            raise Corrupt(
                f"Batch {key} is published but campaign {campaign} in {lake.uri} has no manifest "
                f"of {', '.join(missing)}; name the batch's campaign with --campaign, or restore "
                "it."
            )
        return cls(lake, {stage: m for stage, m in stages.items() if m is not None})

    def rows(self, stage: str, table: str, column: str, wanted: Sequence[str]) -> list[Row]:
        """The rows of a stage's table whose `column` is among `wanted`."""
        return _rows(self.lake, self.stages[stage].outputs[table], column, wanted)

    def kind_of(self, row: str) -> Kind | None:
        """What the row of this id is; None where the batch has none."""
        comparisons = self.stages["select"].outputs["comparisons"]
        pairs = _columns(self.lake, comparisons, ["pair_id", "first_id", "second_id"])
        if _has(pairs["pair_id"], row):
            return "pair"
        if _has(pairs["first_id"], row) or _has(pairs["second_id"], row):
            return "response"
        annotations = self.stages["label"].outputs["annotations"]
        judged = _columns(self.lake, annotations, ["annotation_id", "kind"])
        voted = judged.filter(pc.not_equal(judged["kind"], "gold"))
        return "annotation" if _has(voted["annotation_id"], row) else None

    def pairs_of(self, kind: Kind, row: str) -> list[Row]:
        """The comparisons that the row is, is in, or judges, in the order of their ranks."""
        columns = ["first_id", "second_id"] if kind == "response" else ["pair_id"]
        if kind == "annotation":
            row = self.rows("label", "annotations", "annotation_id", [row])[0]["pair_id"]
        pairs = [p for column in columns for p in self.rows("select", "comparisons", column, [row])]
        return sorted(pairs, key=lambda pair: (pair["rank"] or 0, pair["pair_id"]))

    def story(self, pair: Row, added: Mapping[str, Artifact]) -> PairStory:
        """What became of a pair; `added` are the files of the version that first held it."""
        ids, wanted = [pair["first_id"], pair["second_id"]], [pair["pair_id"]]
        stored = pool_tables(self.stages["expand"].outputs, self.stages["select"].outputs)[
            "responses"
        ]
        rows = _rows(self.lake, stored, "response_id", ids, RESPONSES.names)
        responses = {row["response_id"]: row for row in rows}
        annotations = latest_revisions(self.rows("label", "annotations", "pair_id", wanted))
        preferences = self.rows("label", "preferences", "pair_id", wanted)
        return PairStory(
            comparison=pair,
            first=responses[ids[0]],
            second=responses[ids[1]],
            tasks=self.rows("label", "tasks", "pair_id", wanted),
            annotations=annotations,
            preference=preferences[0] if preferences else None,
            cost=sum(row["price"] for row in annotations),
            places=list(_places(self.lake, added, pair["pair_id"])),
        )


def _rows(
    lake: Lake,
    artifact: Artifact,
    column: str,
    wanted: Sequence[str],
    columns: Sequence[str] | None = None,
) -> list[Row]:
    source = arrow_file(read_artifact(lake, artifact))
    chosen = None if columns is None else list(columns)
    found = pq.read_table(source, columns=chosen, filters=[(column, "in", wanted)])
    return list(found.to_pylist())


def trace(lake: Lake, campaign: str, dataset: str, row: str, batch: str | None = None) -> Lineage:
    """Lineage of a pair, response or annotation by its id, of the newest batch that has it.

    Args:
        lake: Where batches and dataset lie.
        campaign: Name of the campaign whose batches the dataset holds.
        dataset: Name of the dataset.
        row: A pair_id, response_id or annotation_id.
        batch: Look in this batch only; None: in every batch that was published.

    Raises:
        Fatal: Nothing was published, or no published batch has such a row.
        Corrupt: A batch is published but a manifest or table of it is missing.
    """
    last = newest(lake, dataset)
    if last is None:
        raise Fatal(f"Dataset {dataset} in {lake.uri} has no version yet; run a batch first.")
    keys = [*reversed(last.batches), *reversed(last.withdrawn)]
    keys = [key for key in keys if batch in (None, key)]
    key, held, kind = _find_batch(lake, campaign, keys, row)
    first = _first_version(lake, campaign, key, last)
    pairs = held.pairs_of(kind, row)
    return Lineage(
        asked=row,
        kind=kind,
        campaign=campaign,
        batch=key,
        dataset=dataset,
        first_version=first.name,
        published_at=first.published_at,
        newest=last.name,
        is_in_newest=key in last.batches,
        engine=held.stages["expand"].figures.get("engine"),
        prompt=held.rows("ingest", "prompts", "prompt_id", [pairs[0]["prompt_id"]])[0],
        pairs=[held.story(pair, first.new_files) for pair in pairs],
    )


def _find_batch(
    lake: Lake, campaign: str, keys: Sequence[str], row: str
) -> tuple[str, _Batch, Kind]:
    """The first batch of `keys` that has the row, by its key, and what the row is."""

    def look(key: str) -> tuple[_Batch, Kind | None]:
        held = _Batch.of(lake, campaign, key)
        return held, held.kind_of(row)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            for key, (held, kind) in zip(some, pool.map(look, some), strict=True):
                if kind is not None:
                    return key, held, kind
    raise Fatal(
        f"None of {len(keys)} published batches of {campaign} in {lake.uri} has a pair, compared "
        f"response or annotation {row!r}; ids are the columns pair_id, response_id, chosen_id, "
        "rejected_id and annotation_id of a version's views."
    )


def _columns(lake: Lake, artifact: Artifact, names: Sequence[str]) -> pa.Table:
    """Those of the columns that the table has."""
    file = pq.ParquetFile(arrow_file(read_artifact(lake, artifact)))
    return file.read(columns=[name for name in names if name in file.schema_arrow.names])


def _has(column: pa.ChunkedArray, value: str) -> bool:
    return pc.any(pc.equal(column, value)).as_py() is True


def _places(lake: Lake, files: Mapping[str, Artifact], pair: str) -> Iterator[Place]:
    for name, artifact in sorted(files.items()):
        ids = _columns(lake, artifact, ["pair_id", "pair_ids"])
        if "pair_id" in ids.column_names:
            hits = pc.indices_nonzero(pc.equal(ids["pair_id"], pair))
        elif "pair_ids" in ids.column_names:
            held = ids["pair_ids"].combine_chunks()
            hits = pc.list_parent_indices(held).filter(pc.equal(pc.list_flatten(held), pair))
        else:
            continue
        yield from (Place(name, hit) for hit in hits.to_pylist())


def _first_version(lake: Lake, campaign: str, key: str, last: Version) -> Version:
    """The version that brought the batch; its publish manifest names it, once that is written."""
    done = read_manifest(lake, campaign, key, "publish")
    if done is not None:
        return read_version(lake, last.dataset, int(done.figures["version"].removeprefix("v")))
    numbers = range(1, last.number + 1)
    versions = (read_version(lake, last.dataset, number) for number in numbers)
    return next(version for version in versions if key in version.batches)


def lineage_text(lineage: Lineage) -> str:
    """Blocks of name and value: the row, its prompt, then each pair with responses and votes."""
    blocks = [_head(lineage), *(_pair(pair) for pair in lineage.pairs)]
    lines = [[f"{name:<12} {_cut(value)}" for name, value in block] for block in blocks]
    return plain_rows([*lines[0], *(line for block in lines[1:] for line in ("", *block))])


def _head(of: Lineage) -> Iterator[tuple[str, Any]]:
    prompt = of.prompt
    held = f"; also in the newest, {of.newest}" if of.newest != of.first_version else ""
    if not of.is_in_newest:
        held = f"; not in the newest, {of.newest}: taken out by a rollback"
    yield of.kind, of.asked
    yield "batch", f"{of.batch} of campaign {of.campaign}"
    yield "version", f"{of.dataset} {of.first_version}, {of.published_at}{held}"
    yield "prompt", prompt["prompt_id"]
    yield "  from", f"{prompt['file']}:{prompt['line']} (source {prompt['source']})"
    yield "  read", f"{prompt['received_at']}, language {prompt['language']}"
    yield from ((f"  {message['role']}", message["content"]) for message in prompt["messages"])
    if of.engine:
        yield "engine", of.engine


def _pair(pair: PairStory) -> Iterator[tuple[str, Any]]:
    comparison, decided = pair.comparison, pair.preference
    yield "pair", f"{comparison['pair_id']}, ${pair.cost / MICROS:.2f}"
    for name, row in (("first", pair.first), ("second", pair.second)):
        yield name, row["response_id"]
        yield (
            "  by",
            f"{row['model']}, seed {row['seed']}, {row['sampling']}, {row['n_tokens']} tokens, "
            f"ended by {row['finish_reason']}",
        )
        yield "  text", row["message"]
    yield (
        "chosen",
        f"as {comparison['kind']} by {comparison['strategy']}, rank {comparison['rank']}: "
        f"{comparison['reason']}",
    )
    yield "  gains", ", ".join(f"{name} {_figure(comparison[name])}" for name in _GAINS)
    yield "  model", f"posterior {comparison['posterior_version']}"
    for task in pair.tasks:
        yield from _task(task, pair)
    words = "none: no vote decides"
    if decided is not None:
        words = (
            f"{decided['preferred']}, P(first better) {_figure(decided['p_preferred'])}, "
            f"{decided['votes']} votes, agreement {_figure(decided['agreement'])}"
        )
    yield "preference", words
    yield from (("row", f"{place.file} row {place.row}") for place in pair.places)


def _task(task: Row, pair: PairStory) -> Iterator[tuple[str, Any]]:
    side = "second" if task["swapped"] else "first"
    bought_by = f"taken over from {task['taken_from']}, " if task.get("taken_from") else ""
    yield (
        "task",
        f"{task['task_id']}, {task['kind']}, round {task['round']}, {side} shown as a, "
        f"{bought_by}{task['vendor']} {task['vendor_ref']}, {task['submitted_at']}, "
        f"${task['price'] / MICROS:.2f}, rubric {task['rubric_version']}",
    )
    votes = [row for row in pair.annotations if row["task_id"] == task["task_id"]]
    if not votes:
        yield "  vote", "none: unanswered, or refused (see winnow quarantine)"
    for row in votes:
        model = row.get("model")
        who = f"model {_cut(model)}" if model else f"annotator {row['annotator']}"
        yield (
            "  verdict" if model else "  vote",
            f"{row['preferred'] or 'skipped'} by {who}, {row['status']}, "
            f"{_figure(row['active_seconds'])} s, ${row['price'] / MICROS:.2f}, "
            f"annotation {row['annotation_id']}",
        )


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _cut(value: Any) -> str:
    text = " ".join(plain_text(str(value)).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
