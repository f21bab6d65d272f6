"""What a campaign's published batches teach, as a refit reads it: a window, and what left it.

The window holds the votes of the newest nights one by one, `select.history_votes` at most. Once
there are more, the oldest of them leave, down to `_KEPT` of that, and are condensed
(`winnow.reward.condensed`) as they look from a fit of the newest ones. So each vote is read one by
one or lies in the sum of those that left, never both and never neither. Newest is what was
published last. A night larger than the window leaves in part. What models said beside people's
votes is read while a vote of its night is in the window, and no longer: it is cheap, and how a
judge is to be read is learnt anew at each refit.

What left is in the coordinates of one projection, so that this one stays from the first vote that
leaves on. Where all votes are in the window nothing is condensed, and each refit learns its own.

    History_n = History_{n-1} + the rows of the n-th batch of a version

is a function of these rows and of a few settings alone. What it came to is stored with each
publish manifest, and a refit goes on from the newest one that stands for a beginning of its
version's batches, was made with the same settings, and in the same columns; else from the first
night on. Hence a version that a rollback brought back finds its own history, without the nights
that were withdrawn; and other columns or settings read every night again, once.

Always holds: what a history comes to does not depend on which of the earlier ones were stored.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.batch import (
    Artifact,
    Batch,
    arrow_file,
    batch_folder,
    read_artifact,
    read_manifest,
    store,
    store_file,
    table_file,
)
from winnow.campaign import Campaign
from winnow.expand.vectors import Columns
from winnow.ids import canonical_json, digest
from winnow.lake import Lake
from winnow.publish.versions import Version
from winnow.records import TRAINING, VERDICTS
from winnow.stages.label.set_aside import pairs_set_aside
from winnow.stages.select.fitting import fit_rows
from winnow.stages.select.older import Older
from winnow.stages.select.training import (
    AT_ONCE,
    PIECE,
    Stages,
    pieces_of,
    stages_of,
    training_rows,
    training_schema,
    write_training,
)
from winnow.stages.select.trust import Before, Explored
from winnow.stored import as_json, parsed, reader, sealed_json

VOTES, RATED, SAID, HISTORY, OLDER = "votes", "rated_votes", "verdicts", "history", "older"
"""Outputs of the publish stage: the batch's training rows, under the second name with ratings among
them, what models said beside them (absent where none did), its history, and what left the window
(absent while nothing did)."""

STAGE = "publish"

_KEPT = 0.5
"""Of the window, what stays when some of it leaves, so that fits that condense are rare."""

_PIECES_AT_ONCE = AT_ONCE // PIECE
"""Pieces that are condensed together."""

_EXPLORED = ["kind", "prompt_id", "preference", "length", "p_first", "mu", "sd"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some votes of a night: a row group of its stored rows."""

    key: str
    is_judged: bool
    rows: Artifact
    number: int
    n_votes: int


@dataclass(frozen=True, slots=True)
class History:
    """What the first batches of a version teach.

    Attributes:
        made_with: The settings and columns that it depends on, digested.
        n_batches: How many batches.
        batches: Their keys in the order in which they were published, digested.
        window: Pieces that are read one by one, in that order.
        older: Where that lies which left (`Older`); None while nothing did.
        said: By night of the window, where that lies which models said beside its votes, rows of
            `records.VERDICTS`.
    """

    made_with: str
    n_batches: int
    batches: str
    window: tuple[Piece, ...]
    older: Artifact | None
    said: Mapping[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """The votes of a night that are in the window, and all of its exploration votes."""

    key: str
    rows: pa.Table
    explored: Explored


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A history with what it names; `verdicts` are rows of `records.VERDICTS`."""

    history: History
    nights: Sequence[Night]
    older: Older | None
    verdicts: pa.Table = field(default_factory=VERDICTS.empty_table)


@dataclass(frozen=True, slots=True, eq=False)
class _Shelf:
    """Objects by content: in the lake, or `held` here where nothing is to be written."""

    lake: Lake
    writes: bool
    held: dict[str, bytes] = field(default_factory=dict)

    def put(self, folder: str, name: str, suffix: str, data: bytes, n_rows: int = 0) -> Artifact:
        path = f"{folder}/{STAGE}/{name}"
        if self.writes:
            return store(self.lake, path, suffix, data, n_rows)
        sha256 = digest(data)
        artifact = Artifact(f"{path}-{sha256[:16]}.{suffix}", sha256, n_rows, len(data))
        self.held[artifact.path] = data
        return artifact

    def put_file(self, folder: str, name: str, file: Path, n_rows: int) -> Artifact:
        if self.writes:
            return store_file(self.lake, f"{folder}/{STAGE}/{name}", file, n_rows)
        return self.put(folder, name, file.suffix.lstrip("."), file.read_bytes(), n_rows)

    def read(self, artifact: Artifact) -> bytes:
        if artifact.path in self.held:
            return self.held[artifact.path]
        return read_artifact(self.lake, artifact)

    @contextmanager
    def table(self, artifact: Artifact) -> Iterator[pq.ParquetFile]:
        if artifact.path in self.held:
            yield pq.ParquetFile(arrow_file(self.held[artifact.path]))
            return
        with (
            table_file(self.lake, artifact) as path,
            pq.ParquetFile(path, pre_buffer=False) as file,
        ):
            yield file


def past_of(
    lake: Lake, campaign: Campaign, version: Version, columns: Columns, *, writes: bool = True
) -> Past:
    """The history of a version's batches in these columns, with its votes.

    Batches whose vectors cannot be compared with these are no part of it.

    Args:
        lake: Where they lie.
        campaign: Whose they are; its settings say how much is read one by one.
        version: Says which batches, and which of their pairs are set aside.
        columns: Of the features.
        writes: Whether rows and sums that are missing are stored.

    Raises:
        Corrupt: A manifest or a table is missing or is not what it was.
    """
    shelf, made_with = _Shelf(lake, writes), _made_with(columns, campaign)
    history = _stored(shelf, campaign.name, version, made_with)
    for key in version.batches[history.n_batches :]:
        pieces, said = _pieces(shelf, campaign, version, key, columns)
        history = replace(history, said={**history.said, **said})
        history = _advanced(shelf, campaign, history, version, pieces, columns)
    tables = [VERDICTS.empty_table()]
    for _, artifact in sorted(history.said.items()):
        with shelf.table(artifact) as file:
            tables.append(file.read())
    nights, older = _nights(shelf, history.window), _older(shelf, history)
    return Past(history, nights, older, pa.concat_tables(tables))


def outputs_of(batch: Batch, past: Past) -> dict[str, Artifact]:
    """What a batch that is published now leaves for later refits, its history stored."""
    history = past.history
    stored = {HISTORY: batch.write_bytes(STAGE, HISTORY, "json", sealed_json(as_json(history)))}
    own = [piece.rows for piece in history.window if piece.key == batch.key]
    stored |= {_name_of(batch.campaign): own[0]} if own else {}
    said = history.said
    stored |= {SAID: said[batch.key]} if batch.key in said else {}
    return stored | ({OLDER: history.older} if history.older else {})


def _name_of(campaign: Campaign) -> str:
    """Under which name training rows are kept."""
    return RATED if campaign.taught_dimensions else VOTES


def _made_with(columns: Columns, campaign: Campaign) -> str:
    settings, chosen = campaign.select, list[object]()
    chosen += [settings.max_components, settings.head_per_dimension, settings.history_votes]
    chosen += [RATED] if campaign.taught_dimensions else []
    return _digest([columns.version, [list(block) for block in columns.blocks], *chosen])


def _digest(value: object) -> str:
    return digest(canonical_json(value))


def _stored(shelf: _Shelf, campaign: str, version: Version, made_with: str) -> History:
    """The longest history that stands for a beginning of the version's batches."""
    keys = version.batches
    for n in range(len(keys), 0, -1):
        manifest = read_manifest(shelf.lake, campaign, keys[n - 1], STAGE)
        if manifest is None or HISTORY not in manifest.outputs:
            continue
        artifact = manifest.outputs[HISTORY]
        history = parsed(shelf.lake, artifact.path, reader(History), shelf.read(artifact))
        if (history.made_with, history.n_batches, history.batches) == (
            made_with,
            n,
            _digest(keys[:n]),
        ):
            return history
    return History(made_with, 0, _digest(()), (), None)


def _pieces(
    shelf: _Shelf, campaign: Campaign, version: Version, key: str, columns: Columns
) -> tuple[tuple[Piece, ...], dict[str, Artifact]]:
    """The training rows of a batch, stored if they are not yet; none where columns are others.

    Beside them, under its key, what models said there, where they did.
    """
    stages = stages_of(shelf.lake, campaign.name, key)
    if not columns.are_related(stages.expand.figures["feature_version"]):
        return (), {}
    published = read_manifest(shelf.lake, campaign.name, key, STAGE)
    held = published.outputs if published else {}

    def in_columns(name: str, schema: pa.Schema) -> Artifact:
        if name in held and _is_in(shelf, held[name], columns):
            return held[name]
        return _made(shelf, stages, version, columns, name, schema)

    votes = in_columns(_name_of(campaign), training_schema(stages.select))
    # A batch of which no model judged anything is not looked through for what one said.
    said = in_columns(SAID, VERDICTS) if stages.label.figures.get("judges") else None
    pieces = tuple(
        Piece(key, stages.is_judged, votes, number, n) for number, n in pieces_of(votes.n_rows)
    )
    return pieces, {key: said} if said is not None and said.n_rows else {}


def _made(
    shelf: _Shelf, stages: Stages, version: Version, columns: Columns, name: str, schema: pa.Schema
) -> Artifact:
    """The training rows of a batch in these columns, stored."""
    campaign, key = stages.label.campaign, stages.label.batch
    aside = pairs_set_aside(shelf.lake, version, key)
    rows = training_rows(shelf.lake, stages, columns, aside, schema, name == RATED)
    with tempfile.TemporaryDirectory(prefix="winnow-votes-") as folder:
        file = Path(folder) / f"{name}.parquet"
        n_rows = write_training(file, rows, schema)
        return shelf.put_file(batch_folder(campaign, key), name, file, n_rows)


def _is_in(shelf: _Shelf, artifact: Artifact, columns: Columns) -> bool:
    """Whether stored rows have their features in these columns."""
    with shelf.table(artifact) as file:
        versions = file.read(columns=["feature_version"])["feature_version"].unique()
    return bool(versions.to_pylist() == [columns.version])


def _advanced(
    shelf: _Shelf,
    campaign: Campaign,
    history: History,
    version: Version,
    pieces: tuple[Piece, ...],
    columns: Columns,
) -> History:
    """The history with one more batch, that of these pieces."""
    n, most = history.n_batches + 1, campaign.select.history_votes
    more = replace(
        history,
        n_batches=n,
        batches=_digest(version.batches[:n]),
        window=history.window + pieces,
    )
    if sum(piece.n_votes for piece in more.window) <= most:
        return more
    kept = _newest(more.window, int(_KEPT * most))
    leaving = more.window[: len(more.window) - len(kept)]
    if not leaving:
        return more
    older = _older(shelf, more)
    read = _nights(shelf, _newest(more.window, most))
    fit = fit_rows(joined(read), older, columns.blocks, campaign.select)
    heads, left = dict(older.heads if older else {}), list[Explored]()
    staying = {piece.key for piece in kept}
    for own in _by_night(leaving):
        with shelf.table(own[0].rows) as file:
            for start in range(0, len(own), _PIECES_AT_ONCE):
                rows = _rows(file, own[start : start + _PIECES_AT_ONCE])
                for name, votes in fit.condensed(rows, campaign.select).items():
                    heads[name] = heads[name].plus(votes) if name in heads else votes
            left += [_explored(file, own[0])] if own[0].key not in staying else []
    trust = (older.trust if older else Before()).plus(left)
    data = Older(fit.projection, heads, trust).to_bytes()
    folder = batch_folder(campaign.name, version.batches[n - 1])
    return replace(
        more,
        window=kept,
        older=shelf.put(folder, OLDER, "npz", data),
        said={key: artifact for key, artifact in more.said.items() if key in staying},
    )


def _newest(window: tuple[Piece, ...], most: int) -> tuple[Piece, ...]:
    """The last pieces that have no more votes than this together; the very last one always."""
    n_votes, first = 0, len(window)
    while first and (first == len(window) or n_votes + window[first - 1].n_votes <= most):
        first -= 1
        n_votes += window[first].n_votes
    return window[first:]


def _older(shelf: _Shelf, history: History) -> Older | None:
    if history.older is None:
        return None
    return parsed(shelf.lake, history.older.path, Older.from_bytes, shelf.read(history.older))


def _nights(shelf: _Shelf, pieces: Sequence[Piece]) -> list[Night]:
    """The votes of some pieces, by night in the order of their keys."""
    nights = []
    for own in _by_night(pieces):
        with shelf.table(own[0].rows) as file:
            nights.append(Night(own[0].key, _rows(file, own), _explored(file, own[0])))
    return nights


def _by_night(pieces: Sequence[Piece]) -> list[list[Piece]]:
    ordered = sorted(pieces, key=lambda piece: (piece.key, piece.number))
    return [list(own) for _, own in groupby(ordered, lambda piece: piece.key)]


def _rows(file: pq.ParquetFile, pieces: Sequence[Piece]) -> pa.Table:
    """The votes of some pieces of one night, from its stored rows."""
    numbers = [piece.number for piece in pieces if piece.n_votes]
    return file.read_row_groups(numbers) if numbers else TRAINING.empty_table()


def _explored(file: pq.ParquetFile, piece: Piece) -> Explored:
    """All exploration votes of a piece's night, from its stored rows."""
    return Explored.of(file.read(columns=_EXPLORED), piece.is_judged)


def joined(nights: Sequence[Night]) -> pa.Table:
    """The rows of all nights."""
    tables = [TRAINING.empty_table(), *(night.rows for night in nights)]
    # Nights of rankings have a weight, which those of pairs lack.
    return pa.concat_tables(tables, promote_options="default")
