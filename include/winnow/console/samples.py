"""What the page of a batch shows of its rows: gains by rank, quarantine by reason, a few pairs.

Each is made of the first rows of a few columns, kept small, and made once: the tables never change.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from winnow.batch import Artifact
from winnow.console.memory import Memory, at_once
from winnow.console.stages import Done, Stages
from winnow.console.tables import first_rows
from winnow.lake import Lake
from winnow.pages.words import cut
from winnow.publish.labelled import pool_tables
from winnow.publish.report.figures import RankGain, gains_by_rank
from winnow.publish.report.pool import without_folders

T = TypeVar("T")

MOST_GAINS = 50_000
MOST_QUARANTINED = 20_000
MOST_RESPONSES = 1_000
MOST_PAIRS = 20_000
_MOST = {
    "responses": MOST_RESPONSES,
    "prompts": MOST_RESPONSES,
    "comparisons": MOST_PAIRS,
    "preferences": MOST_PAIRS,
}
SHOWN_PAIRS = 4
_MOST_REASONS = 20
_EXAMPLES = 3
_LONGEST_DETAIL = 300
_LONGEST_TEXT = 1_200
_FOREVER = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Place:
    """A row in quarantine: where it came from and what is wrong with it."""

    where: str
    detail: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Rows of a stage that were refused for one reason, of those looked at; a few examples."""

    stage: str
    reason: str
    n: int
    examples: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Pair:
    """A chosen pair to look at. `preferred` is first, second or tie; None before any vote."""

    pair_id: str
    kind: str
    rank: int | None
    prompt: str
    turns: int
    first: str
    second: str
    preferred: str | None
    p_preferred: float | None
    votes: int


def gains(lake: Lake, stages: Stages, memory: Memory) -> list[RankGain]:
    """Expected gain by rank of the first pairs."""
    table = _table(stages, "select", "comparisons")
    if table is None:
        return []
    return _once(lake, memory, ("gains", table.path), lambda: _gains(lake, table))


def quarantine(lake: Lake, done: Done, memory: Memory) -> list[Reason]:
    """A stage's quarantine by reason, the commonest first."""
    table = done.outputs.get("quarantine")
    if table is None or not table.n_rows:
        return []
    return _once(lake, memory, ("quarantine", table.path), lambda: _reasons(lake, done, table))


def pairs(lake: Lake, stages: Stages, memory: Memory) -> list[Pair]:
    """A few chosen pairs whose responses are among the first that were compared."""
    prompts, comparisons = (
        _table(stages, stage, name)
        for stage, name in (("ingest", "prompts"), ("select", "comparisons"))
    )
    if prompts is None or comparisons is None or _table(stages, "expand", "responses") is None:
        return []
    pools = pool_tables(stages.done["expand"].outputs, stages.done["select"].outputs)
    known = {"prompts": prompts, "responses": pools["responses"], "comparisons": comparisons}
    votes = _table(stages, "label", "preferences")
    name = ("pairs", known["comparisons"].path, votes.path if votes else "")
    return _once(lake, memory, name, lambda: _pairs(lake, known, votes))


def votes(lake: Lake, stages: Stages, memory: Memory) -> int | None:
    """Votes behind the preferences; None where there are none yet, or too many pairs to look at."""
    table = _table(stages, "label", "preferences")
    if table is None or table.n_rows > MOST_PAIRS:
        return None
    return _once(lake, memory, ("votes", table.path), lambda: _votes(lake, table))


def _votes(lake: Lake, table: Artifact) -> int:
    return sum(first_rows(lake, table, ("votes",), MOST_PAIRS).column("votes").to_pylist())


def _gains(lake: Lake, table: Artifact) -> list[RankGain]:
    rows = first_rows(lake, table, ("rank", "kind", "info_gain"), MOST_GAINS)
    known = rows.drop_null().sort_by([("rank", "ascending"), ("kind", "ascending")])
    return gains_by_rank(*(known[name].to_pylist() for name in ("rank", "kind", "info_gain")))


def _pairs(lake: Lake, tables: Mapping[str, Artifact], votes: Artifact | None) -> list[Pair]:
    wanted = {
        "responses": ("response_id", "message", "prompt_id"),
        "prompts": ("prompt_id", "messages"),
        "comparisons": ("pair_id", "first_id", "second_id", "kind", "rank"),
        "preferences": ("pair_id", "preferred", "p_preferred", "votes", "agreement"),
    }
    known = {**tables, "preferences": votes} if votes is not None else tables
    read = at_once(lambda n: first_rows(lake, known[n], wanted[n], _MOST[n]).to_pylist(), known)
    responses = {row["response_id"]: row for row in read["responses"]}
    prompts = {row["prompt_id"]: row for row in read["prompts"]}
    judged = {row["pair_id"]: row for row in read.get("preferences", ())}
    near = [
        row
        for row in read["comparisons"]
        if row["first_id"] in responses
        and row["second_id"] in responses
        and responses[row["first_id"]]["prompt_id"] in prompts
    ]
    return [_pair(row, responses, prompts, judged) for row in _differing(near, judged)]


def _differing(rows: Sequence[Any], judged: Mapping[str, Any]) -> list[Any]:
    """A few pairs: one on which annotators disagreed, a tie, an exploration pair, then any."""

    def split(row: Any) -> bool:
        agreement = judged.get(row["pair_id"], {}).get("agreement")
        return agreement is not None and agreement < 1.0

    def tied(row: Any) -> bool:
        return bool(judged.get(row["pair_id"], {}).get("preferred") == "tie")

    chosen: list[Any] = []
    known = [row for row in rows if row["pair_id"] in judged] or list(rows)

    def decided(row: Any) -> bool:
        vote = judged.get(row["pair_id"])
        return row["kind"] == "selected" and (vote is None or vote["preferred"] != "tie")

    tests: list[Callable[[Any], bool]] = [
        decided,
        split,
        tied,
        lambda row: row["kind"] == "exploration",
        *[lambda row: True] * SHOWN_PAIRS,
    ]
    for test in tests:
        found = next((row for row in known if row not in chosen and test(row)), None)
        if found is not None and len(chosen) < SHOWN_PAIRS:
            chosen.append(found)
    return chosen


def _pair(
    row: Any, responses: Mapping[str, Any], prompts: Mapping[str, Any], judged: Mapping[str, Any]
) -> Pair:
    first, second = responses[row["first_id"]], responses[row["second_id"]]
    messages = prompts[first["prompt_id"]]["messages"] or []
    vote = judged.get(row["pair_id"], {})
    return Pair(
        pair_id=row["pair_id"],
        kind=row["kind"] or "",
        rank=row["rank"],
        prompt=cut(messages[-1]["content"] or "", _LONGEST_TEXT) if messages else "",
        turns=len(messages),
        first=cut(first["message"] or "", _LONGEST_TEXT),
        second=cut(second["message"] or "", _LONGEST_TEXT),
        preferred=vote.get("preferred"),
        p_preferred=vote.get("p_preferred"),
        votes=vote.get("votes") or 0,
    )


def _reasons(lake: Lake, done: Done, table: Artifact) -> list[Reason]:
    columns = ("reason", "detail", "file", "line", "record_id")
    numbers: Counter[str] = Counter()
    examples: defaultdict[str, list[Place]] = defaultdict(list)
    for row in first_rows(lake, table, columns, MOST_QUARANTINED).to_pylist():
        reason = cut(row.get("reason") or "", 100)
        numbers[reason] += 1
        if len(examples[reason]) < _EXAMPLES:
            examples[reason].append(_place(row))
    return [Reason(done.stage, r, n, examples[r]) for r, n in numbers.most_common(_MOST_REASONS)]


def _place(row: Mapping[str, Any]) -> Place:
    file, line = row.get("file"), row.get("line")
    name = str(file).rsplit("/", 1)[-1] if file else ""
    where = f"{name}:{line}" if name and line is not None else name or row.get("record_id") or ""
    detail = without_folders(cut(row.get("detail") or "", _LONGEST_DETAIL))
    return Place(cut(where, 100), detail)


def _table(stages: Stages, stage: str, name: str) -> Artifact | None:
    return stages.done[stage].outputs.get(name) if stage in stages.done else None


def _once(lake: Lake, memory: Memory, name: tuple[str, ...], make: Callable[[], T]) -> T:
    return memory.lately(lake, ("sample", *name), make, _FOREVER)
