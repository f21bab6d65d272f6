"""Labels that a team brings to a campaign: which files gave them, what a batch knows of them.

    campaigns/NAME/brought/files.json     every file that was read: its rows, what it refused
    BATCH/expand/brought_labels.json      which of them the batch knows, and which pieces it reads

Files are read when shards are planned, each content once; what it gave stays when it is gone. Their
responses are read in shards of their own beside those of the pools. With the pools of the batch the
expand stage names the training rows that came of all of them (`LISTED`).

Always holds: rows of a file = rows of labels + rows in quarantine; what a batch knows is decided
once; a campaign without brought labels leaves nothing of this.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.batch import (
    Artifact,
    Batch,
    Manifest,
    TableWriter,
    quarantine_table,
    read_table,
    store,
    store_file,
    table_bytes,
)
from winnow.campaign import BroughtLabels
from winnow.errors import Corrupt, Fatal
from winnow.expand.brought_labels import (
    ROWS,
    Piece,
    ReadPiece,
    columns_version,
    folder_of,
    read_piece,
)
from winnow.ids import content_id
from winnow.ingest.formats.raw import RawRow
from winnow.ingest.labels import BESIDE, Labels, read_labels
from winnow.ingest.readers import parsed as parsed_rows
from winnow.ingest.shapes.registry import How
from winnow.ingest.sources import SourceFile, named_files
from winnow.ingest.values import Unreadable
from winnow.lake import Lake
from winnow.records import BROUGHT_LABELS, QUARANTINE, Quarantined, to_table
from winnow.stored import as_json, parsed, reader, refuse_lost, sealed_json
from winnow.validate.leakage import CHECK, EvaluationSet, leaked

STAGE = "expand"
LISTED = "brought_labels"
"""Output of the expand stage, a `Listed`; what it is called among its counts and figures."""

SHARDS = 16
"""Shards in which the labels that are new to a batch are read, at most."""

_PIECES_OF_SHARD = 20
_COUNTS = (LISTED, "label_rows_in", "label_rows_out")


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A file that was read.

    Attributes:
        name: Where it lay.
        batch: The batch that read it.
        rows_in: How many rows it has.
        read_by: Settings and evaluation prompts that its rows depend on, digested.
        rows: Its rows of labels (`winnow.records.BROUGHT_LABELS`).
        votes: How many votes they hold.
        quarantine: Its rows that are none.
        formats: Rows by format.
        mended: How often each rule mended one.
    """

    name: str
    batch: str
    rows_in: int
    read_by: str
    rows: Artifact
    votes: int
    quarantine: Artifact
    formats: dict[str, int]
    mended: dict[str, int]


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch knows of its campaign's labels.

    Attributes:
        files: Those that count, by name.
        left_out: Names of files that are gone, and were read by other settings than these.
        version: Columns of the training rows.
        new: Pieces that no batch had read the responses of.
    """

    files: list[LabelFile]
    left_out: list[str]
    version: str
    new: list[Piece]

    @property
    def pieces(self) -> list[Piece]:
        """All pieces of its files."""
        return [
            Piece(file.rows, number)
            for file in self.files
            for number in range(-(-file.rows.n_rows // ROWS))
        ]

    @property
    def shards(self) -> dict[str, list[Piece]]:
        """The new pieces by the shard that reads them."""
        size = max(_PIECES_OF_SHARD, -(-len(self.new) // SHARDS))
        runs = [self.new[start : start + size] for start in range(0, len(self.new), size)]
        named = ([[each.rows.sha256, each.number] for each in run] for run in runs)
        ids = [content_id("labels", self.version, run) for run in named]
        return {f"labels-{name}": run for name, run in zip(ids, runs, strict=True)}


@dataclass(frozen=True, slots=True)
class Listed:
    """What the expand stage names: training rows in these columns, and where they came from."""

    version: str
    training: list[Artifact]
    files: list[str]
    license: str


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What the expand stage adds for the labels; `refused` are rows of files that are none."""

    listed: Artifact
    counts: dict[str, int]
    figures: dict[str, Any]
    refused: pa.Table


def known(batch: Batch) -> Known | None:
    """What the batch knows of labels, decided now if it is not yet; None where none are brought.

    Raises:
        Fatal: A source is not there, or the evaluation prompts cannot be read.
    """
    settings = batch.campaign.brought_labels
    if settings is None:
        return None
    path = f"{batch.folder}/{STAGE}/{LISTED}.json"
    if not batch.lake.exists(path):
        files, left_out = _read_files(batch, settings)
        about = Known(files, left_out, columns_version(batch.campaign.expand), [])
        new = [each for each in about.pieces if _read(batch, each) is None]
        batch.lake.create(path, sealed_json(as_json(replace(about, new=new))))
    return parsed(batch.lake, path, reader(Known))


def files_of(settings: BroughtLabels, day: str) -> list[SourceFile]:
    """The files that lie at the sources of labels.

    Raises:
        Fatal: A source is not there, or holds none.
    """
    setting = "brought_labels.sources"
    return [f for source in settings.sources for f in named_files(source, day, setting)]


def shards_of(batch: Batch) -> dict[str, list[Piece]]:
    """Ids of the shards that read responses of labels, with their pieces."""
    about = known(batch)
    return about.shards if about else {}


def is_read(batch: Batch, pieces: Sequence[Piece]) -> bool:
    """Whether all of some pieces are read."""
    return all(_read(batch, piece) is not None for piece in pieces)


def progress(batch: Batch) -> str:
    """How much of the labels that are new to the batch is read, in words; "" where none is."""
    path = f"{batch.folder}/{STAGE}/{LISTED}.json"
    new = parsed(batch.lake, path, reader(Known)).new if batch.lake.exists(path) else []
    n_read = sum(_read(batch, piece) is not None for piece in new)
    return f", {n_read} of {len(new)} pieces of labels read" if new else ""


def gathered(batch: Batch) -> Gathered | None:
    """What came of all pieces; None where no labels are brought.

    Raises:
        Fatal: A piece is not read.
    """
    settings, about = batch.campaign.brought_labels, known(batch)
    if settings is None or about is None:
        return None
    made = list(_made(batch, about))
    listed = Listed(
        about.version,
        [each.training for each in made],
        [file.name for file in about.files],
        settings.license,
    )
    own = [file for file in about.files if file.batch == batch.key]
    tables = [QUARANTINE.empty_table(), *(read_table(batch.lake, f.quarantine) for f in own)]
    formats, mended = Counter[str](), Counter[str]()
    for file in own:
        formats.update(file.formats)
        mended.update(file.mended)
    return Gathered(
        batch.write_bytes(STAGE, LISTED, "json", sealed_json(as_json(listed))),
        {
            LISTED: sum(artifact.n_rows for artifact in listed.training),
            "label_rows_in": sum(f.rows_in for f in own),
            "label_rows_out": sum(f.rows.n_rows for f in own),
        },
        {
            "files": listed.files,
            "license": settings.license,
            "left_out": about.left_out,
            "unread": sum(each.unread for each in made),
            "formats": dict(formats),
            "mended": dict(mended),
        },
        pa.concat_tables(tables),
    )


def commit(
    batch: Batch,
    labels: Gathered | None,
    *,
    inputs: Sequence[Manifest],
    outputs: Mapping[str, Artifact],
    counts: Mapping[str, int],
    figures: Mapping[str, Any],
) -> Manifest:
    """Commit the expand stage, with its labels where it has some.

    Rows of their files that are none lie in the stage's quarantine, and count there.

    Raises:
        Corrupt: A row of a file vanished.
    """
    if labels is not None:
        refused, n = labels.refused, labels.refused.num_rows
        if labels.counts["label_rows_in"] != labels.counts["label_rows_out"] + n:
            raise Corrupt(f"Batch {batch.key}: rows of brought_labels vanished: {labels.counts}.")
        if n:
            kept = [read_table(batch.lake, outputs["quarantine"]), refused]
            table = pa.concat_tables(kept, promote_options="default")
            outputs = {**outputs, "quarantine": batch.write_table(STAGE, "quarantine", table)}
            more = {name: counts[name] + n for name in ("rows_in", "quarantined")}
            counts = {**counts, **more}
        outputs = {**outputs, LISTED: labels.listed}
        counts, figures = {**counts, **labels.counts}, {**figures, LISTED: labels.figures}
    return batch.commit(STAGE, inputs=inputs, outputs=outputs, counts=counts, figures=figures)


def without_labels(
    outputs: Mapping[str, Artifact], counts: Mapping[str, int], figures: Mapping[str, Any]
) -> tuple[dict[str, Artifact], dict[str, int], dict[str, Any]]:
    """What an expand stage has of pools alone; refused rows of labels stay in its quarantine."""
    left = {name: n for name, n in counts.items() if name not in _COUNTS}
    rest, told = dict(outputs), dict(figures)
    rest.pop(LISTED, None)
    told.pop(LISTED, None)
    return rest, left, told


def listed_in(lake: Lake, outputs: Mapping[str, Artifact]) -> Listed | None:
    """What an expand stage names of labels; None where it names none."""
    artifact = outputs.get(LISTED)
    return None if artifact is None else parsed(lake, artifact.path, reader(Listed))


def _made(batch: Batch, about: Known) -> Iterator[ReadPiece]:
    for piece in about.pieces:
        read = _read(batch, piece)
        if read is None:
            raise Fatal(
                f"Labels brought to {batch.campaign.name} are not read yet; run "
                f"{', '.join(about.shards)} of batch {batch.key}."
            )
        yield read


def _read(batch: Batch, piece: Piece) -> ReadPiece | None:
    return read_piece(batch.lake, batch.campaign.name, piece, batch.campaign.expand)


def _read_files(batch: Batch, settings: BroughtLabels) -> tuple[list[LabelFile], list[str]]:
    """Files that count, by name, those that are new read now; names of those that do not."""
    lying = {file.file_id: file for file in files_of(settings, batch.day)}
    # Here and not above: it takes a while to import, which other batches need not spend.
    from winnow.stages.gate_input import evaluation_of

    evaluation = evaluation_of(batch.campaign, batch.day)
    tests = evaluation and [sorted(evaluation.ids), sorted(evaluation.texts)]
    share, most = batch.campaign.validation.near_duplicate_prompt, batch.campaign.ingest
    read_by = content_id(
        settings.format, dict(settings.columns), most.max_prompt_chars, tests, tests and share
    )
    path = f"{folder_of(batch.campaign.name)}/files.json"
    while True:
        data, tag = batch.lake.read_tagged(path)
        if data is None:
            refuse_lost(batch.lake, path, _made_after(batch))
        files = {} if data is None else parsed(batch.lake, path, reader(_Register), data).files
        wanted = {
            i: file for i, file in lying.items() if i not in files or files[i].read_by != read_by
        }
        kept = {i: file for i, file in files.items() if i not in wanted}
        counted = [file for file in kept.values() if file.read_by == read_by]
        seen = {i: file.name for file in counted for i in _label_ids(batch.lake, file)}
        for file_id, file in sorted(wanted.items(), key=lambda each: each[1].name):
            kept[file_id] = _read_file(batch, file, settings, evaluation, read_by, seen)
        if not wanted or batch.lake.swap(path, sealed_json(as_json(_Register(kept))), tag):
            break
    ordered = sorted(kept.values(), key=lambda file: (file.name, file.rows.sha256))
    counted = [file for file in ordered if file.read_by == read_by]
    return counted, [file.name for file in ordered if file.read_by != read_by]


def _made_after(batch: Batch) -> Iterator[str]:
    """Pieces that were read, which is after their files were noted."""
    folder = folder_of(batch.campaign.name)
    for name in batch.lake.names(folder):
        if "." not in name:
            yield from (f"{folder}/{name}/{each}" for each in batch.lake.names(f"{folder}/{name}"))


@dataclass(frozen=True, slots=True)
class _Register:
    """Every file that was read, by its id."""

    files: dict[str, LabelFile]


def _label_ids(lake: Lake, file: LabelFile) -> list[str]:
    return list(read_table(lake, file.rows, ["label_id"])["label_id"].to_pylist())


def _read_file(
    batch: Batch,
    file: SourceFile,
    settings: BroughtLabels,
    evaluation: EvaluationSet | None,
    read_by: str,
    seen: dict[str, str],
) -> LabelFile:
    """Read a file; `seen` tells of each label so far the place that brought it."""
    columns = {str(ours): theirs for ours, theirs in settings.columns.items()}
    annotator = columns.pop("annotator", "annotator")
    how, most = How(settings.format, columns), batch.campaign.ingest.max_prompt_chars

    def new_labels(row: RawRow) -> Labels:
        try:
            labels = read_labels(row.value, how, most, row.file, row.line, annotator)
        except Unreadable as fault:
            own = fault.detail.replace("`ingest.", "`brought_labels.")
            raise Unreadable(fault.reason, own) from None
        before = seen.setdefault(labels.label_id, f"{row.file}:{row.line}")
        if before != f"{row.file}:{row.line}":
            raise Unreadable("duplicate", f"the same label as {before}")
        return labels

    wanted, n_read = tuple(dict.fromkeys([*how.read, *BESIDE, annotator])), 0

    def counted() -> Iterator[RawRow]:
        # Counted where they are read, and not by what becomes of them.
        nonlocal n_read
        for row in file.rows(wanted):
            n_read += 1
            yield row

    formats, mended, votes = Counter[str](), Counter[str](), 0
    refused = list[Quarantined]()
    folder = folder_of(batch.campaign.name)
    with tempfile.TemporaryDirectory(prefix="winnow-labels-") as scratch:
        writer = TableWriter(Path(scratch) / "rows.parquet", BROUGHT_LABELS, folder)
        for some in _pieces(batch, parsed_rows(counted(), new_labels, LISTED), evaluation, refused):
            formats.update(labels.format for labels in some)
            mended.update(rule for labels in some for rule in labels.mended)
            votes += sum(len(labels.first) for labels in some)
            writer.add(to_table(some, BROUGHT_LABELS))
        writer.close()
        stored = store_file(batch.lake, f"{folder}/rows", writer.file, writer.n_rows)
    bad = quarantine_table(refused)
    kept_bad = store(batch.lake, f"{folder}/quarantine", "parquet", table_bytes(bad), bad.num_rows)
    return LabelFile(
        *(
            file.name,
            batch.key,
            n_read,
            read_by,
            stored,
            votes,
            kept_bad,
            dict(formats),
            dict(mended),
        )
    )


def _pieces(
    batch: Batch,
    rows: Iterator[Labels | Quarantined],
    evaluation: EvaluationSet | None,
    refused: list[Quarantined],
) -> Iterator[list[Labels]]:
    """Labels in pieces; what is none, or asks what an evaluation prompt does, is `refused`."""
    share, held = batch.campaign.validation.near_duplicate_prompt, list[Labels]()
    while some := list(islice(rows, ROWS)):
        refused += [each for each in some if isinstance(each, Quarantined)]
        labels = [each for each in some if isinstance(each, Labels)]
        tests = dict[str, str]()
        if evaluation is not None:
            asked = [{"prompt_id": each.prompt_id, "messages": each.messages} for each in labels]
            tests = {bad.row_id: bad.detail for bad in leaked(asked, evaluation, share)}
        for each in labels:
            if each.prompt_id in tests:
                detail = f"its prompt {tests[each.prompt_id]}"
                place = (each.file, each.line, each.prompt_id)
                refused.append(Quarantined(LISTED, CHECK, detail, *place))
            else:
                held.append(each)
        while len(held) >= ROWS:
            yield held[:ROWS]
            held = held[ROWS:]
    if held:
        yield held
