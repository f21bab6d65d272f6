"""A batch: one campaign and one day, its five stages, and the manifest that makes each one real.

A stage writes its tables under content-addressed names and then commits by one create-only write
of its manifest. No manifest, nothing happened: a stage killed before that line is simply run
again. Whoever commits first wins; a twin that comes later gets the manifest that is there.
Readers follow manifests and check digests.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import winnow
from winnow.campaign import Campaign, parse_campaign
from winnow.dataset_owner import claim_dataset
from winnow.errors import Corrupt, Fatal
from winnow.ids import canonical_json, digest, file_digest, sealed
from winnow.keys import EXAMPLES, KeyKind, day_of, is_of_kind
from winnow.lake import Lake
from winnow.lake_format import claim_format, format_of
from winnow.records import QUARANTINE, VECTOR, Quarantined, to_table
from winnow.stored import RESTORE, parsed, read_sealed, refuse_lost, sealed_json, stored_time

STAGES = ("ingest", "expand", "select", "label", "publish")
"""The stages of a batch, in the order they run."""

LABEL_LIMITS = ("budget_usd", "budget_month_usd", "approve_above_usd", "min_completion")
"""Settings of `label` that say no, and may be changed for a batch that they stopped."""

Clock = Callable[[], datetime]

# Versions before 0.4 noted the digest of the settings as their code understood them.
_STORED = "stored:"
_NAMED: Mapping[KeyKind, str] = {
    "day_before": "a day",
    "day": "a day",
    "hour": "an hour",
    "minute": "a minute",
}
_PARTS = "parts.json"
_VECTORS_AT_ONCE = 8_192
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.|:+-]{0,99}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One stored object of a stage: where it lies and what its bytes must be."""

    path: str
    sha256: str
    n_rows: int
    n_bytes: int

    @property
    def is_list(self) -> bool:
        """Whether it lists the parts of a table, in order, and holds no rows itself."""
        return self.path.endswith(f".{_PARTS}")


class TableWriter:
    """A table as it is written, piece by piece, to a file."""

    artifact: Artifact

    def __init__(self, file: Path, schema: pa.Schema, where: str) -> None:
        self.file, self.n_rows, self._where = file, 0, where
        self._writer = pq.ParquetWriter(file, schema, **_as_parquet(schema))

    def add(self, table: pa.Table) -> None:
        """Write some rows.

        Raises:
            Corrupt: They could not be read back, see `check_readable`.
        """
        check_readable(table, self._where)
        self.n_rows += table.num_rows
        self._writer.write_table(table, row_group_size=_rows_of_group(table.schema))

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a stage did. `counts` are rows; `cost` is in micro-dollars; `figures` are measured."""

    campaign: str
    batch: str
    stage: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, Artifact]
    settings_digest: str
    code_version: str
    counts: Mapping[str, int]
    cost: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)
    committed_at: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the time of the commit: equal work has an equal digest."""
        content = {k: v for k, v in asdict(self).items() if k != "committed_at"}
        return digest(canonical_json(content))

    def to_bytes(self) -> bytes:
        """The manifest as JSON for people and programs."""
        content = sealed(asdict(self))
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read back what `to_bytes` wrote.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: It is nothing of the kind.
        """
        content = read_sealed(data)
        content["outputs"] = {n: Artifact(**a) for n, a in content["outputs"].items()}
        manifest = cls(**content)
        _check_shape(manifest)
        return manifest


@dataclass(frozen=True, slots=True)
class Batch:
    """A handle on one batch in a lake. `campaign` is the one the batch was started with.

    `settings_digest` is of its settings as they were stored then, limits that moved later apart.
    """

    campaign: Campaign
    key: str
    lake: Lake
    clock: Clock
    settings_digest: str = ""

    @property
    def folder(self) -> str:
        """Where the batch lies in the lake."""
        return batch_folder(self.campaign.name, self.key)

    @property
    def day(self) -> str:
        """What `{day}` of a source stands for: the key, without the number of a further batch.

        A day whose batch was given up is taken up by one of another key, such as 2026-11-22.2.
        """
        return day_of(self.key)

    def manifest(self, stage: str) -> Manifest | None:
        """The stage's manifest, or None if the stage is not done."""
        return read_manifest(self.lake, self.campaign.name, self.key, stage)

    def require(self, stage: str) -> Manifest:
        """The manifest of a stage that this one builds on.

        Raises:
            Fatal: The stage has not been committed.
        """
        manifest = self.manifest(stage)
        if manifest is None:
            raise Fatal(
                f"Batch {self.key} of {self.campaign.name}: stage {stage} is not done; run it."
            )
        return manifest

    def check_whole(self, stage: str) -> None:
        """What whoever pays or publishes checks first.

        All that the stage was made from is what it was, settings too: a batch of which a part is
        lost, or was restored from another time, would ask for other things than it did. And its
        dataset is its campaign's, or what is bought would be in none.

        Raises:
            Fatal: The stage has not been committed, or the dataset is another campaign's.
            Corrupt: A manifest below it is missing or another one, or the settings are others.
        """
        manifest = self.require(stage)
        made_with = manifest.settings_digest
        if made_with.startswith(_STORED) and made_with != self.settings_digest:
            path = _settings_path(self.campaign.name, self.key)
            made = manifest_path(self.campaign.name, self.key, stage)
            raise Corrupt(f"{self.lake.uri}/{path} is not what {made} was made with; {RESTORE}.")
        check_inputs(self.lake, manifest)
        claim_dataset(self.lake, self.campaign.publish.dataset, self.campaign.name)

    def write_table(self, stage: str, name: str, table: pa.Table) -> Artifact:
        """Store a table as zstd Parquet under its content's digest; equal tables, equal bytes.

        Raises:
            Corrupt: It could not be read back: a text is no UTF-8, or a time no Python time.
        """
        check_readable(table, f"{self.folder}/{stage}/{name}")
        return self.write_bytes(stage, name, "parquet", table_bytes(table), table.num_rows)

    def write_bytes(
        self, stage: str, name: str, suffix: str, data: bytes, n_rows: int = 0
    ) -> Artifact:
        """Store an object under its content's digest."""
        return store(self.lake, f"{self.folder}/{stage}/{name}", suffix, data, n_rows)

    @contextmanager
    def table_writer(self, stage: str, name: str, schema: pa.Schema) -> Iterator[TableWriter]:
        """Store a table that comes in pieces; `artifact` is there once the block has ended.

        Equal pieces give equal bytes. An error in the block stores nothing.
        """
        with tempfile.TemporaryDirectory(prefix="winnow-table-") as folder:
            writer = TableWriter(Path(folder) / "table.parquet", schema, f"{self.folder}/{stage}")
            yield writer
            writer.close()
            writer.artifact = self.write_file(stage, name, writer.file, writer.n_rows)

    def write_file(self, stage: str, name: str, file: Path, n_rows: int) -> Artifact:
        """Store a file of any size under its content's digest."""
        return store_file(self.lake, f"{self.folder}/{stage}/{name}", file, n_rows)

    def commit(
        self,
        stage: str,
        *,
        inputs: Iterable[Manifest],
        outputs: Mapping[str, Artifact],
        counts: Mapping[str, int],
        cost: int = 0,
        figures: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Make the stage real, or return the manifest of the twin that was first.

        `counts` must hold `rows_in`, `rows_out` and `quarantined`; `unfolded` are rows that others
        held, `joined` those that went into one that went out.

        Raises:
            Corrupt: Rows in differ from rows out, joined and quarantined together: a row vanished.
        """
        came = counts["rows_in"] + counts.get("unfolded", 0)
        went = counts["rows_out"] + counts.get("joined", 0)
        if came != went + counts["quarantined"]:
            raise Corrupt(
                f"Batch {self.key}, stage {stage}: {came} rows came in but "
                f"{went} went out and {counts['quarantined']} to quarantine."
            )
        manifest = Manifest(
            campaign=self.campaign.name,
            batch=self.key,
            stage=stage,
            inputs={m.stage: m.digest for m in inputs},
            outputs=dict(outputs),
            settings_digest=self.settings_digest,
            code_version=winnow.__version__,
            counts=dict(counts),
            cost=cost,
            figures=dict(figures or {}),
            committed_at=self.clock().isoformat(timespec="seconds"),
        )
        self.lake.create(manifest_path(self.campaign.name, self.key, stage), manifest.to_bytes())
        return self.require(stage)


def store(lake: Lake, name: str, suffix: str, data: bytes, n_rows: int = 0) -> Artifact:
    """Store an object at a path of the lake that ends in its content's digest."""
    sha256 = digest(data)
    path = f"{name}-{sha256[:16]}.{suffix}"
    lake.create(path, data)
    return Artifact(path, sha256, n_rows, len(data))


def store_file(lake: Lake, name: str, file: Path, n_rows: int = 0) -> Artifact:
    """Like `store`, from a file of any size."""
    sha256 = file_digest(file)
    path = f"{name}-{sha256[:16]}{file.suffix}"
    lake.create_file(path, file)
    return Artifact(path, sha256, n_rows, file.stat().st_size)


def store_parts(lake: Lake, name: str, parts: Sequence[Artifact]) -> Artifact:
    """A table in several files as one artifact: the file itself where it is one, else their list.

    The parts have one schema; their order is that of the rows.
    """
    if len(parts) == 1:
        return parts[0]
    listed = canonical_json([asdict(part) for part in parts])
    return store(lake, name, _PARTS, listed, sum(part.n_rows for part in parts))


def parts_of(lake: Lake, artifact: Artifact) -> list[Artifact]:
    """The files of a table, in order.

    Raises:
        Corrupt: The list of them is missing, or not what its digest says.
    """
    if not artifact.is_list:
        return [artifact]
    return [Artifact(**part) for part in json.loads(read_artifact(lake, artifact))]


def _check_shape(manifest: Manifest) -> None:
    """Raise TypeError or ValueError where a manifest has not the types that its readers trust."""
    if type(manifest.cost) is not int:
        raise TypeError("cost")
    if manifest.cost < 0 or any(stage not in STAGES for stage in manifest.inputs):
        raise ValueError("cost or inputs")
    if not isinstance(manifest.figures, Mapping):
        raise TypeError("figures")
    sizes = [(each.n_rows, each.n_bytes) for each in manifest.outputs.values()]
    texts = [(each.path, each.sha256) for each in manifest.outputs.values()]
    numbers = chain(manifest.counts.values(), *sizes)
    if any(type(value) is not int for value in numbers):
        raise TypeError("counts or outputs")
    if any(type(value) is not str for value in chain(manifest.inputs.values(), *texts)):
        raise TypeError("inputs or outputs")
    _check_numbers([manifest.cost, dict(manifest.counts), dict(manifest.figures)])
    if manifest.committed_at:
        stored_time(manifest.committed_at)


def _check_numbers(value: Any) -> None:
    """Raise OverflowError where a whole number is larger than any that was ever counted."""
    if isinstance(value, int) and abs(value) >= 2**63:
        raise OverflowError("a number beyond 64 bits")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_numbers(each)


def check_inputs(lake: Lake, manifest: Manifest) -> None:
    """Hold the manifests that one was made from against the digests that it names, all the way.

    Raises:
        Corrupt: One is missing, or is another one.
    """
    for stage, wanted in manifest.inputs.items():
        is_own = STAGES.index(stage) < STAGES.index(manifest.stage)
        campaign = manifest.campaign if is_own else str(manifest.figures.get("pools_from"))
        earlier = read_manifest(lake, campaign, manifest.batch, stage)
        path = manifest_path(campaign, manifest.batch, stage)
        if earlier is None or earlier.digest != wanted:
            what = "missing" if earlier is None else "not the one"
            made = manifest_path(manifest.campaign, manifest.batch, manifest.stage)
            raise Corrupt(f"{lake.uri}/{path} is {what} that {made} was made from; {RESTORE}.")
        check_inputs(lake, earlier)


def batch_folder(campaign: str, key: str) -> str:
    """Where a batch lies in the lake."""
    return f"batches/{campaign}/{key}"


def manifest_path(campaign: str, key: str, stage: str) -> str:
    """Where a stage's manifest lies in the lake."""
    return f"{batch_folder(campaign, key)}/{stage}/manifest.json"


def _settings_path(campaign: str, key: str) -> str:
    return f"{batch_folder(campaign, key)}/campaign.json"


def read_manifest(lake: Lake, campaign: str, key: str, stage: str) -> Manifest | None:
    """A stage's manifest, or None if the stage is not done.

    Raises:
        Corrupt: It cannot be read, is another one's, or is lost: something made after it is there.
    """
    path = manifest_path(campaign, key, stage)
    try:
        manifest = parsed(lake, path, Manifest.from_bytes)
    except FileNotFoundError:
        refuse_lost(lake, path, _made_after(campaign, key, stage))
        return None
    if (manifest.campaign, manifest.stage) != (campaign, stage):
        raise Corrupt(f"{lake.uri}/{path} is the manifest of something else; {RESTORE}.")
    return manifest


def _made_after(campaign: str, key: str, stage: str) -> list[str]:
    """What is in the lake only once a stage was done."""
    later = STAGES[STAGES.index(stage) + 1 :]
    # Labels are planned on what was selected, days before they are collected.
    plans = [f"{batch_folder(campaign, key)}/label/round-0/plan.json"] if "label" in later else []
    return [*plans, *(manifest_path(campaign, key, each) for each in later)]


def done_stages(lake: Lake, campaign: str, key: str) -> dict[str, Manifest]:
    """Manifests of a batch's stages that are done, in order, up to the first that is not."""
    done: dict[str, Manifest] = {}
    for stage in STAGES:
        manifest = read_manifest(lake, campaign, key, stage)
        if manifest is None:
            break
        done[stage] = manifest
    return done


def next_stage(done: Container[str]) -> str | None:
    """The first stage that is not done; None where all are.

    >>> next_stage({"ingest"}), next_stage(STAGES)
    ('expand', None)
    """
    return next((stage for stage in STAGES if stage not in done), None)


def read_batch(lake: Lake, campaign: str, key: str, clock: Clock) -> Batch | None:
    """A batch of any campaign as it was started, limits included; None if it was not started."""
    path = _settings_path(campaign, key)
    try:
        settings = parsed(lake, path, read_sealed)
    except FileNotFoundError:
        # Though it has begun: see `refuse_lost`.
        folder = batch_folder(campaign, key)
        begun = next((name for name in lake.names(folder) if name in STAGES), None)
        if begun and not lake.exists(path):
            raise Corrupt(
                f"{lake.uri}/{path} is missing, though {folder}/{begun} was made after it; "
                f"{RESTORE}."
            ) from None
        return None
    frozen = parse_campaign(settings, where=f"{lake.uri}/{path}")
    return Batch(frozen, key, lake, clock, f"{_STORED}{digest(canonical_json(settings))}")


def last_settings(lake: Lake, campaign: str) -> Campaign | None:
    """A campaign as its newest batch was begun, of those that can be read; None where none can."""
    for key in sorted(lake.names(f"batches/{campaign}"), reverse=True):
        with suppress(Corrupt, Fatal):
            batch = read_batch(lake, campaign, key, lambda: datetime.now(UTC))
            if batch is not None:
                return batch.campaign
    return None


def is_key(text: str) -> bool:
    """Whether a text can name a batch.

    >>> is_key("2026-11-22"), is_key("de|2026-11-22"), is_key("../x")
    (True, True, False)
    """
    return _KEY.fullmatch(text) is not None


def open_batch(campaign: Campaign, key: str, lake: Lake, clock: Clock) -> Batch:
    """Open a batch, freezing the campaign's settings into it the first time.

    Later edits of the campaign reach later batches only, so that a re-run of one stage never mixes
    two sets of settings. Limits are the exception, the gate's and those of `LABEL_LIMITS`: a person
    who has looked at a blocked batch may move them and go on. So are whose money it spends, and the
    hub to which its version goes.

    Raises:
        Fatal: The lake's format is newer than this release; or the key cannot name a batch, or it
            is a new one, and the key is none that the campaign's schedule gives, or the dataset
            that it would be published in is another's.
        Corrupt: The settings are lost: stages of the batch are there.
    """
    if not is_key(key):
        raise Fatal(f"{key!r} cannot be a batch's key; use a day such as 2026-11-22.")
    named = format_of(lake)
    batch = read_batch(lake, campaign.name, key, clock)
    if batch is None:
        _check_names_new(campaign, key)
        if named is None:
            claim_format(lake, winnow.__version__)
        # Before anything is frozen, so that another name of the dataset helps.
        claim_dataset(lake, campaign.publish.dataset, campaign.name)
        path = _settings_path(campaign.name, key)
        lake.create(path, sealed_json(campaign.model_dump(mode="json")))
        batch = read_batch(lake, campaign.name, key, clock)
        assert batch is not None
    limits = {name: getattr(campaign.label, name) for name in LABEL_LIMITS}
    label = batch.campaign.label.model_copy(update=limits)
    # What it goes on from, whose money it spends and where its version is shown is the campaign's
    # and changes no result.
    published = batch.campaign.publish.model_copy(update={"hub": campaign.publish.hub})
    validation = campaign.validation
    if "data_docs" not in batch.campaign.validation.model_fields_set:
        # Begun before there were any: its verdict, which is published, tells of none.
        validation = validation.model_copy(update={"data_docs": False})
    moved = {"validation": validation, "label": label, "publish": published}
    moved |= {name: getattr(campaign, name) for name in ("continues", "team")}
    return replace(batch, campaign=batch.campaign.model_copy(update=moved))


def _check_names_new(campaign: Campaign, key: str) -> None:
    """Raise Fatal where no batch that begins now is named so; those that have begun keep theirs."""
    kind = campaign.schedule.kind
    kinds: tuple[KeyKind, ...] = ("day", "hour", "minute") if kind is None else (kind,)
    if not any(is_of_kind(key, each) for each in kinds):
        forms = " or ".join(f"{_NAMED[each]} such as {EXAMPLES[each]}" for each in kinds)
        raise Fatal(
            f"{key!r} cannot be the key of a new batch of campaign {campaign.name}: use {forms}, "
            "or set schedule.key to text."
        )


def read_artifact(lake: Lake, artifact: Artifact) -> bytes:
    """An artifact's bytes, checked.

    Raises:
        Corrupt: The bytes are missing or do not match the digest in the manifest.
    """
    try:
        data = lake.read(artifact.path)
    except FileNotFoundError as error:
        raise _missing(lake, artifact) from error
    _check_digest(lake, artifact, digest(data))
    return data


@contextmanager
def table_file(lake: Lake, artifact: Artifact) -> Iterator[Path]:
    """An artifact's Parquet file, checked like `read_artifact`, for a table too large to hold."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(lake.local(artifact.path))
        except FileNotFoundError as error:
            raise _missing(lake, artifact) from error
        _check_digest(lake, artifact, file_digest(file))
        yield file


def _missing(lake: Lake, artifact: Artifact) -> Corrupt:
    return Corrupt(f"{lake.uri}/{artifact.path} is named by a manifest but missing.")


def _check_digest(lake: Lake, artifact: Artifact, sha256: str) -> None:
    if sha256 != artifact.sha256:
        raise Corrupt(f"{lake.uri}/{artifact.path} does not match its digest; restore it.")


@contextmanager
def table_files(lake: Lake, artifacts: Mapping[str, Artifact]) -> Iterator[dict[str, Path]]:
    """Several tables of one file each by name, each like `table_file`."""
    with ExitStack() as stack:
        yield {n: stack.enter_context(table_file(lake, a)) for n, a in artifacts.items()}


def read_table(lake: Lake, artifact: Artifact, columns: Sequence[str] | None = None) -> pa.Table:
    """An artifact's table, or some columns of it, checked like `read_artifact`.

    A time that Python cannot hold is null: versions before 0.2 stored such times.
    """
    tables = [_read_part(lake, part, columns) for part in parts_of(lake, artifact)]
    return pa.concat_tables(tables) if len(tables) > 1 else tables[0]


def _read_part(lake: Lake, part: Artifact, columns: Sequence[str] | None) -> pa.Table:
    chosen = None if columns is None else list(columns)
    table = pq.read_table(arrow_file(read_artifact(lake, part)), columns=chosen)
    for place, column in _times(table):
        held = _held(table.column(column))
        if not pc.all(held, min_count=0).as_py():
            times = pc.if_else(held, table.column(column), None)
            table = table.set_column(place, table.schema.field(column), times)
    return table


def check_readable(table: pa.Table, where: str) -> None:
    """Refuse a table that could be written but not read.

    Raises:
        Corrupt: A text is no UTF-8, or a time lies outside the years 1 to 9999.
    """
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise Corrupt(f"{where} would not be readable, nothing is stored: {error}") from error
    for _, column in _times(table):
        if not pc.all(_held(table.column(column)), min_count=0).as_py():
            raise Corrupt(f"{where} would not be readable: {column} leaves the years 1 to 9999.")


def _times(table: pa.Table) -> list[tuple[int, str]]:
    fields = enumerate(table.schema)
    return [(k, field.name) for k, field in fields if field.type == pa.timestamp("us", "UTC")]


def _held(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which times Python can hold; null where there is none."""
    first, last = (
        pa.scalar(t.replace(tzinfo=UTC), times.type) for t in (datetime.min, datetime.max)
    )
    return pc.and_(pc.greater_equal(times, first), pc.less_equal(times, last))


def arrow_file(data: bytes) -> pa.NativeFile:
    """Bytes as a file in memory of Arrow's own.

    Arrow's threads hold on to a file longer than the call that read it. Were it Python's, they
    would need the interpreter to give it back, which may be shutting down by then.
    """
    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)


def table_bytes(table: pa.Table) -> bytes:
    """A table as Parquet (zstd); the same rows give the same bytes."""
    sink = io.BytesIO()
    rows = _rows_of_group(table.schema)
    pq.write_table(table, sink, row_group_size=rows, **_as_parquet(table.schema))
    return sink.getvalue()


def _as_parquet(schema: pa.Schema) -> dict[str, Any]:
    """How columns are written: a dictionary of a vector's numbers would hold nearly all of them."""
    held = [each.name for each in schema if each.type != VECTOR]
    return {"compression": "zstd", "use_dictionary": held if len(held) < len(schema) else True}


def _rows_of_group(schema: pa.Schema) -> int | None:
    """Rows that are encoded at once; None: as many as there are, up to a million."""
    return _VECTORS_AT_ONCE if VECTOR in schema.types else None


def quarantine_table(rows: Iterable[Quarantined]) -> pa.Table:
    """Quarantined rows as a table, in a fixed order."""
    ordered = sorted(rows, key=lambda r: (r.file or "", r.line or 0, r.record_id or "", r.reason))
    return to_table(ordered, QUARANTINE)
