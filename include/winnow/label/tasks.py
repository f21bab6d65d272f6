"""Builds a batch's first tasks: votes, repeats and gold, sides fixed and texts ready to be shown.

What always holds: everything follows from hashes of content, so any re-run builds the same tasks
with the same ids in the same order (see `winnow.label.task_order`); comparisons in = pairs asked +
quarantined. The first vote shows a random side first, so that a preference for a side cancels over
pairs; a second vote and a repeat swap the sides, so that it cancels within the pair. Gold is drawn
and sided by a hash of the batch's pairs: each batch another draw, each re-run the same one. Of a
pair that holds votes already, bought by another campaign, only what is missing is asked.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.batch import Artifact
from winnow.campaign import Judge, Label
from winnow.ids import content_id, seed_from, task_id
from winnow.ingest.shapes.example import as_seen
from winnow.label.definitions import TOOLS, told_tools
from winnow.label.second_votes import even_share, second_vote_chances
from winnow.label.shown import PiiGuard, ShownPair, of_comparison
from winnow.label.task_order import places_of_gold, places_of_pairs
from winnow.label.vendor import Message, RankedResponse, RankingRequest, TaskRequest
from winnow.label.vendors.judge.prompt import asked_as, frame_bytes
from winnow.pieces import read_pieces
from winnow.records import ASKED, MESSAGES, TASKS, Quarantined, to_table
from winnow.text import plain_text

Row = Mapping[str, Any]
Kind = Literal["comparison", "gold", "repeat"]


@dataclass(frozen=True, slots=True)
class Task:
    """A row of `records.TASKS`; `vendor_ref` and `submitted_at` are known once a vendor has it.

    `repetition` counts the tasks of a pair from 0; `expected` is the better side of a gold pair;
    `swapped` says that side A shows the pair's second response; `taken_from` is the campaign that
    bought the task, where this one did not; `by_disagreement` says of a second vote that it is
    asked because the model expects people to differ.
    """

    task_id: str
    pair_id: str
    kind: Kind
    round: int
    expected: str | None
    shown_a: str
    shown_b: str
    swapped: bool
    rubric_version: str
    repetition: int
    vendor: str
    price: int
    vendor_ref: str | None = None
    submitted_at: datetime | None = None
    taken_from: str | None = None
    by_disagreement: bool | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """The votes that a pair has before anything is asked of it.

    `n` is their number, `last_swapped` how the last of them was shown, `contested` whether they
    call for a third one.
    """

    n: int
    last_swapped: bool
    contested: bool


@dataclass(frozen=True, slots=True)
class BuiltTasks:
    """`tasks[i]` is the row of `requests[i]`; `quarantined` holds the pairs not worth asking.

    `pii` counts, by kind, what was found in the batch's texts, each text once. `taken` names the
    stored tables `tasks` and `annotations` of votes that are not asked, where there are any.
    """

    tasks: list[Task]
    requests: list[TaskRequest]
    quarantined: list[Quarantined]
    pii: dict[str, int]
    taken: Mapping[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """Tasks of a round in sending order, as many as there are, not held at once.

    Attributes:
        asked: Rows of `schema`; they can be read once, and only then all is `quarantined`.
        instructions: What annotators are told.
        quarantined: The pairs not worth asking.
        pii: As in `BuiltTasks`.
        taken: As in `BuiltTasks`.
        schema: `records.ASKED`, or `records.RANKING_ASKED`.
    """

    asked: Iterable[pa.RecordBatch]
    instructions: str
    quarantined: Sequence[Quarantined] = ()
    pii: Mapping[str, int] = field(default_factory=dict)
    taken: Mapping[str, Artifact] = field(default_factory=dict)
    schema: pa.Schema = ASKED


_NOTHING = Held(0, False, False)
_PAGE, _SLICE, _STRETCH = 2_000, 5_000, 20_000
"""Rows that are read, pairs that are worked on, and tasks that are sorted, at once."""
_SHOWN = pa.schema(
    [
        *((name, pa.string()) for name in ("pair_id", "first_id", "second_id")),
        *((name, pa.string()) for name in ("dimension", "expected", "first", "second")),
        ("messages", MESSAGES),
        ("shown_n", pa.int64()),
        ("place_n", pa.int64()),
        ("p_first", pa.float64()),
        ("n_chars", pa.int64()),
    ]
)
"""A pair that is ready to be shown; `place_n` is its place among the comparisons."""
_PLACED = pa.schema(
    [
        ("place", pa.float64()),
        ("task_id", pa.string()),
        ("kind", pa.string()),
        ("repetition", pa.int32()),
        ("swapped", pa.bool_()),
        ("repeats", pa.string()),
        ("by_disagreement", pa.bool_()),
        ("shown_n", pa.int64()),
    ]
)
"""A task at its place in the order, and which pair it shows."""


def build_tasks(
    comparisons: Sequence[Row],
    responses: Sequence[Row],
    prompts: Sequence[Row],
    gold: Sequence[ShownPair],
    label: Label,
    seed: int,
    held: Mapping[str, Held] | None = None,
) -> BuiltTasks:
    """`draft_tasks` for a batch that fits into memory.

    Raises:
        Corrupt: A comparison names a response or prompt that is not there.
    """
    texts = {row["response_id"]: plain_text(row["message"] or "") for row in responses}
    messages = {row["prompt_id"]: messages_of(row["messages"], row.get("tools")) for row in prompts}
    offered = (of_comparison(comparison, texts, messages) for comparison in comparisons)
    with tempfile.TemporaryDirectory(prefix="winnow-tasks-") as folder:
        draft = draft_tasks(enumerate(offered), gold, label, seed, held, Path(folder))
        asked = [row for rows in draft.asked for row in rows.to_pylist()]
    return BuiltTasks(
        tasks=tasks_of(asked),
        requests=requests_of(asked, draft.instructions),
        quarantined=list(draft.quarantined),
        pii=dict(draft.pii),
    )


def draft_tasks(
    offered: Iterable[tuple[int, ShownPair]],
    gold: Sequence[ShownPair],
    label: Label,
    seed: int,
    held: Mapping[str, Held] | None,
    folder: Path,
) -> Draft:
    """Tasks of the pairs `offered` and of as much of `gold` as the campaign wants.

    Args:
        offered: Each pair beside its place among the comparisons; quickest where pairs of one
            prompt follow each other.
        gold: Pairs with a known answer.
        label: The campaign's settings.
        seed: The campaign's.
        held: The votes that pairs have already, by pair id. A pair that has enough gets no task,
            and counts for no gold.
        folder: For what does not fit into memory; to be kept until `Draft.asked` is read.
    """
    held, guard = held or {}, PiiGuard(label.pii)
    golden = {_content(item) for item in gold}
    ids: list[str] = []
    compared: set[_Content] = set()
    refused: list[tuple[int, Quarantined]] = []
    with _ShownPairs(folder / "shown.parquet") as shown:
        for place_n, pair in offered:
            ids.append(pair.pair_id)
            if golden and (content := _content(pair)) in golden:
                compared.add(content)
            ready = guard.ready(pair)
            if isinstance(ready, ShownPair):
                shown.add(ready, place_n)
            else:
                refused.append((place_n, ready))
        draw = seed_from("gold", seed, sorted(ids))
        del ids
        pairs = shown.written().sort_by("place_n")
        chances = second_vote_chances(pairs["p_first"].to_numpy(), label)
        pairs = pairs.append_column("second_vote", pa.array(chances))
        wants = [
            _wants_votes(pair, held, label, seed)
            for page in pairs.select(["pair_id", "second_vote"]).to_batches(_SLICE)
            for pair in page.to_pylist()
        ]
        pairs = pairs.filter(pa.array(wants, pa.bool_()))
        # A product such as 0.07 * 100 lies a hair above the whole number that it means.
        n_gold = math.ceil(round(label.gold_share * len(pairs), 9))
        usable, unusable = _drawn_gold(gold, compared, n_gold, draw, guard)
        first_gold = shown.n_pairs
        for item in usable:
            shown.add(item, shown.n_pairs)
    golds = _gold_tasks(usable, first_gold, label, draw)
    votes = _vote_tasks(pairs, held, label, seed)
    placed = pa.concat_tables(to_table(rows, _PLACED) for rows in chain([golds], votes))
    refused.sort(key=lambda each: each[0])
    return Draft(
        asked=_in_order(placed, folder, label),
        instructions=plain_text(label.instructions),
        quarantined=[*(row for _, row in refused), *unusable],
        pii=dict(sorted(guard.counts.items())),
    )


def tasks_of(asked: Iterable[Row]) -> list[Task]:
    """The tasks in rows of `records.ASKED` or `records.TASKS`."""
    # Of an earlier version the last columns may be missing.
    return [Task(**{n: row[n] for n in TASKS.names if n in row}) for row in asked]


def requests_of(asked: Iterable[Row], instructions: str) -> list[TaskRequest]:
    """What is shown of rows of `records.ASKED` or `records.RANKING_ASKED`."""
    requests: list[TaskRequest] = []
    for row in asked:
        fields = {
            **{name: row[name] for name in _REQUEST},
            "messages": tuple(Message(**turn) for turn in row["messages"]),
            "instructions": instructions,
        }
        if "shown" in row:
            shown = zip(row["shown"], row["texts"], strict=True)
            ranked = tuple(RankedResponse(name, text) for name, text in shown)
            requests.append(RankingRequest(**fields, responses=ranked))
        else:
            requests.append(TaskRequest(**fields))
    return requests


_REQUEST = (
    *("task_id", "pair_id", "response_a", "response_b", "dimension", "rubric_version"),
    *("price", "repeats"),
)


def messages_of(turns: Iterable[Row], tools: str | None = None) -> tuple[Message, ...]:
    """A prompt's turns as plain text, behind the definitions of its tools, where it has any."""
    told = told_tools(tools)
    return (
        *([Message(TOOLS, plain_text(told))] if told else []),
        *(Message(plain_text(turn["role"]), plain_text(turn["content"] or "")) for turn in turns),
    )


def rubric_version(label: Label) -> str:
    """The campaign's rubric version, "+", and 8 digits that change with what it says and asks."""
    asks: list[Any] = [label.instructions, label.rated_dimensions]
    if label.choice_dimensions:
        asks.append({"choices": label.choice_dimensions})
    if label.task == "ranking":
        asks.append(label.task)
    if label.asked_judge is not None:
        asks.append(asked_as(label.asked_judge))
    content = content_id("rubric", *asks)
    return f"{label.rubric_version}+{content[:8]}"


def _judged_prices(pairs: pa.Table, label: Label, judge: Judge) -> Iterator[int]:
    """What each pair costs at most, by the lengths of all that the judge reads."""
    asks = frame_bytes(label.instructions, judge)
    for pair in pairs.select(["first", "second", "dimension", "messages"]).to_pylist():
        texts = [pair["first"], pair["second"], 2 * pair["dimension"]]
        texts += [turn["content"] for turn in pair["messages"]]
        yield label.price_of(asks + sum(len(text.encode()) for text in texts))


def uniform(purpose: str, seed: int, name: str) -> float:
    """A number in [0, 1) that belongs to a name."""
    return seed_from(purpose, seed, name) / 2**31


def _starts_swapped(name: str, seed: int) -> bool:
    """Whether the first task of the pair `name` shows its second response as side A."""
    return uniform("side", seed, name) < 0.5


def _missing_votes(
    name: str, held: Mapping[str, Held], label: Label, seed: int, chance: float
) -> list[tuple[int, bool]]:
    """Repetition and sides of each vote that the pair still needs; swapped from vote to vote.

    `chance` is that of a second one.
    """
    before = held.get(name, _NOTHING)
    wanted = 2 if uniform("second_vote", seed, name) < chance else 1
    if before.contested and label.third_votes:
        wanted = before.n + 1
    first = not before.last_swapped if before.n else _starts_swapped(name, seed)
    return [(n, first != ((n - before.n) % 2 == 1)) for n in range(before.n, wanted)]


def _wants_votes(pair: Row, held: Mapping[str, Held], label: Label, seed: int) -> bool:
    # A pair without a vote wants one whatever is drawn.
    name = pair["pair_id"]
    return name not in held or bool(_missing_votes(name, held, label, seed, pair["second_vote"]))


def _vote_tasks(
    pairs: pa.Table, held: Mapping[str, Held], label: Label, seed: int
) -> Iterator[list[Row]]:
    """Rows of `_PLACED`: the votes and repeats of `pairs`, some thousands at once."""
    places = places_of_pairs(pairs, seed)
    for start in range(0, len(pairs), _SLICE):
        rows: list[Row] = []
        some = pairs.slice(start, _SLICE).to_pylist()
        for pair, place in zip(some, places[start : start + _SLICE].tolist(), strict=True):
            rows += _votes(pair, place, held, label, seed)
        yield rows


def _votes(
    pair: Row, place: float, held: Mapping[str, Held], label: Label, seed: int
) -> Iterator[Row]:
    name = pair["pair_id"]
    # A repeat is the same annotator's again, of a vote that was bought here.
    is_repeated = name not in held and uniform("repeat", seed, name) < label.repeat_share
    votes = []
    missing = _missing_votes(name, held, label, seed, pair["second_vote"])
    for n, (repetition, swapped) in enumerate(missing):
        at = place / 2.0 if is_repeated and n == 0 else (place + n / 2.0) % 1.0
        # What lies between was drawn for the disagreement that is expected alone.
        sought = (
            repetition == 1
            and even_share(label) <= uniform("second_vote", seed, name) < pair["second_vote"]
        )
        vote = _placed(at, pair, "comparison", repetition, swapped, label)
        votes.append({**vote, "by_disagreement": sought or None})
    yield from votes
    if is_repeated:
        # Half a batch after its first vote.
        at, swapped = 0.5 + place / 2.0, not votes[0]["swapped"]
        again = _placed(at, pair, "repeat", len(votes), swapped, label)
        yield {**again, "repeats": votes[0]["task_id"]}


def _gold_tasks(gold: Sequence[ShownPair], first_n: int, label: Label, draw: int) -> list[Row]:
    """Rows of `_PLACED`: the tasks of gold pairs, which are shown from number `first_n` on."""
    rows: list[Row] = []
    for n, (place, item) in enumerate(zip(places_of_gold(gold, draw), gold, strict=True)):
        pair = {**_ids(item), "shown_n": first_n + n}
        swapped = _starts_swapped(item.pair_id, draw)
        row = _placed(place, pair, "gold", 0, swapped, label)
        # Another batch asks the same gold again, and a vendor takes an id only once.
        rows.append({**row, "task_id": content_id("gold task", row["task_id"], draw)})
    return rows


def _placed(
    place: float, pair: Row, kind: Kind, repetition: int, swapped: bool, label: Label
) -> Row:
    """A row of `_PLACED`."""
    sides = pair["first_id"], pair["second_id"]
    shown_a, shown_b = sides[::-1] if swapped else sides
    return {
        "place": place,
        "task_id": task_id(pair["pair_id"], shown_a, shown_b, rubric_version(label), repetition),
        "kind": kind,
        "repetition": repetition,
        "swapped": swapped,
        "shown_n": pair["shown_n"],
    }


def _drawn_gold(
    gold: Sequence[ShownPair],
    compared: Collection[_Content],
    wanted: int,
    draw: int,
    guard: PiiGuard,
) -> tuple[list[ShownPair], list[Quarantined]]:
    """As many gold pairs as are `wanted`, none of which is a comparison's."""
    usable: list[ShownPair] = []
    unusable: list[Quarantined] = []
    for item in sorted(gold, key=lambda g: (seed_from("draw", draw, g.pair_id), g.pair_id)):
        if len(usable) >= wanted:
            break
        if _content(item) not in compared:
            pair = guard.ready(item)
            if isinstance(pair, ShownPair):
                usable.append(pair)
            else:
                unusable.append(pair)
    return usable, unusable


_Content = tuple[tuple[str, ...], frozenset[str]]


def _content(pair: ShownPair) -> _Content:
    """What two equal pairs share even where one prompt was not normalised."""
    # Batches of earlier versions were asked without definitions.
    turns = tuple(as_seen(turn.content) for turn in pair.messages if turn.role != TOOLS)
    return turns, frozenset((as_seen(pair.first), as_seen(pair.second)))


def _ids(pair: ShownPair) -> dict[str, Any]:
    return {name: getattr(pair, name) for name in ("pair_id", "first_id", "second_id")}


class _ShownPairs:
    """Pairs that are ready, written to a file as they come; their ids and lengths are kept."""

    def __init__(self, file: Path) -> None:
        self._writer = pq.ParquetWriter(file, _SHOWN, compression="zstd")
        self._waiting: list[Row] = []
        self._kept = [_SHOWN_KEPT.empty_table()]
        self.n_pairs = 0

    def __enter__(self) -> _ShownPairs:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._writer.close()

    def add(self, pair: ShownPair, place_n: int) -> None:
        """Write one more pair, under the number `n_pairs`."""
        texts = {name: getattr(pair, name) for name in ("dimension", "expected", "first", "second")}
        messages = [{"role": each.role, "content": each.content} for each in pair.messages]
        numbers = {"shown_n": self.n_pairs, "place_n": place_n}
        lengths = {"p_first": pair.p_first, "n_chars": pair.n_chars}
        self._waiting.append({**_ids(pair), **texts, "messages": messages, **numbers, **lengths})
        self.n_pairs += 1
        if len(self._waiting) >= _PAGE:
            self._write()

    def written(self) -> pa.Table:
        """Ids, numbers and lengths of the pairs so far, which are kept no longer."""
        self._write()
        kept, self._kept = self._kept, []
        return pa.concat_tables(kept)

    def _write(self) -> None:
        rows = to_table(self._waiting, _SHOWN)
        self._writer.write_table(rows)
        self._kept.append(rows.select(_SHOWN_KEPT.names))
        self._waiting = []


_KEPT = ("pair_id", "first_id", "second_id", "shown_n", "place_n", "p_first", "n_chars")
_SHOWN_KEPT = pa.schema([_SHOWN.field(name) for name in _KEPT])


def _in_order(placed: pa.Table, folder: Path, label: Label) -> Iterator[pa.RecordBatch]:
    """Rows of `records.ASKED` in sending order.

    What is shown lies in the order of the pairs: it is dealt out to files, each of a stretch of the
    sending order, and these are sorted one by one.
    """
    placed = placed.sort_by("shown_n")
    shown_t, place_t = placed["shown_n"].to_numpy(), placed["place"].to_numpy()
    n_parts = len(placed) // _STRETCH + 1
    part_t = np.minimum((place_t * n_parts).astype(np.int64), n_parts - 1)
    schema = ASKED.append(_PLACED.field("place"))
    files = [folder / f"stretch-{k}.arrow" for k in range(n_parts)]
    with ExitStack() as stack:
        parts = [stack.enter_context(pa.ipc.new_stream(str(file), schema)) for file in files]
        end = 0
        for page in read_pieces(folder / "shown.parquet", _PAGE):
            start, end = end, end + len(page)
            first, last = np.searchsorted(shown_t, [start, end])
            pairs = pa.Table.from_batches([page]).take(pa.array(shown_t[first:last] - start))
            rows = _asked(placed.slice(first, last - first), pairs, label, schema)
            for k in np.unique(part_t[first:last]):
                parts[k].write_table(rows.filter(pa.array(part_t[first:last] == k)))
    for file in files:
        with pa.ipc.open_stream(str(file)) as part:
            rows = part.read_all()
        file.unlink()
        keys = [("place", "ascending"), ("task_id", "ascending")]
        order, rows = pc.sort_indices(rows, sort_keys=keys), rows.select(ASKED.names)
        # Page by page: a stretch is long, and a sorted copy would lie beside it.
        for start in range(0, len(order), _PAGE):
            yield from rows.take(order[start : start + _PAGE]).to_batches()
        del rows


def _asked(placed: pa.Table, pairs: pa.Table, label: Label, schema: pa.Schema) -> pa.Table:
    """Rows of tasks and what they show, `pairs[i]` being that of `placed[i]`."""
    swapped = placed["swapped"]
    sides = {"shown": ("first_id", "second_id"), "response": ("first", "second")}
    columns = {name: placed[name] for name in _PLACED.names}
    columns |= {name: pairs[name] for name in ("pair_id", "dimension", "expected", "messages")}
    for name, (first, second) in sides.items():
        columns[f"{name}_a"] = pc.if_else(swapped, pairs[second], pairs[first])
        columns[f"{name}_b"] = pc.if_else(swapped, pairs[first], pairs[second])
    same = {"round": 0, "rubric_version": rubric_version(label)}
    same |= {"vendor": label.vendor, "price": label.price}
    if label.asked_judge is not None:
        columns["price"] = pa.array(_judged_prices(pairs, label, label.asked_judge), pa.int64())
    for column in schema:
        if column.name not in columns:
            value = pa.scalar(same.get(column.name), column.type)
            columns[column.name] = pa.repeat(value, len(placed))
    return pa.table([columns[name] for name in schema.names], schema=schema)
