"""Votes of other campaigns: what they bought of the same pairs is taken over and not bought again.

    annotations_from: [nightly]      # what `pools_from` says, if it is left out

Of the batch of the same key, each standing vote is taken that was asked with the same rubric of the
same vendor: the same rubric version, instructions and rated dimensions. It becomes a row of this
batch's `annotations`, and its task one of `tasks` (`taken_from` names the campaign), both at price
0: what a batch cost is what it was charged. It keeps its ids, and is told in this batch's order of
the pair. Skips, gold and repeats are not taken over. Personal data that was scrubbed for one
campaign and sent by the other makes no difference; that an annotator is one person holds where both
campaigns hash with the same salt.

Always holds: the votes are fixed before the plan of round 0 and named by it, so whatever runs again
finds the same ones. What another campaign learns later (a retraction, a rollback) is not seen. Only
labels that passed their gate and were not rolled back count; while another campaign still has
labels of this key at the vendor nothing is planned, for they would be bought twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.batch import Batch, Manifest, read_batch, read_table, table_files
from winnow.errors import Retryable
from winnow.ids import content_id
from winnow.ingest.ledger import read_ledger
from winnow.label.aggregation.votes import COMPARISON, by_pair, votes_of
from winnow.label.annotation import Annotation, preferred_response
from winnow.label.rounds import contested_pairs
from winnow.label.tasks import Draft, Held, Task, rubric_version
from winnow.pieces import fitted, read_pieces
from winnow.publish.versions import newest
from winnow.records import ANNOTATIONS, TASKS, to_table
from winnow.stages.expand.pools_from import check_exists
from winnow.stages.label.plans import Plan
from winnow.stages.label.rounds import has_opened
from winnow.stages.label.set_aside import pairs_set_aside

STAGE = "label"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """Votes that another campaign bought: `tasks[i]` was answered by `annotations[i]`."""

    tasks: list[Task]
    annotations: list[Annotation]

    @property
    def held(self) -> dict[str, Held]:
        """What each pair has of them."""
        contested = contested_pairs([asdict(each) for each in self.annotations])
        tasks: defaultdict[str, list[Task]] = defaultdict(list)
        for task in self.tasks:
            tasks[task.pair_id].append(task)
        return {
            pair: Held(len(asked), asked[-1].swapped, pair in contested)
            for pair, asked in tasks.items()
        }

    def without(self, pairs: set[str]) -> Taken:
        """Those of all other pairs."""
        kept = [n for n, task in enumerate(self.tasks) if task.pair_id not in pairs]
        return Taken([self.tasks[n] for n in kept], [self.annotations[n] for n in kept])


def votes_bought_before(batch: Batch, comparisons: Sequence[Row]) -> Taken:
    """Every vote on the comparisons that the campaign's `annotations_from` have bought.

    Raises:
        Retryable: A campaign has bought labels of this key and not published them yet.
        Fatal: A campaign has no batch in the lake.
    """
    rubric, vendor = rubric_version(batch.campaign.label), batch.campaign.label.vendor
    pairs = {row["pair_id"]: row for row in comparisons}
    seen: set[tuple[str, str]] = set()
    numbers: Counter[str] = Counter()
    taken = Taken([], [])
    for name in batch.campaign.vote_campaigns:
        check_exists(batch, name, "annotations_from")
        for task, vote in _published_votes(batch, name):
            pair = pairs.get(vote["pair_id"])
            is_same = (task["rubric_version"], task["vendor"]) == (rubric, vendor)
            keys = {("task", task["task_id"]), (vote["pair_id"], vote["annotator"])}
            if pair is None or not is_same or keys & seen:
                continue
            seen |= keys
            number = numbers[vote["pair_id"]]
            numbers[vote["pair_id"]] += 1
            taken.tasks.append(_task(task, pair, number, name))
            taken.annotations.append(_annotation(vote, pair, task))
    return taken


def with_votes(batch: Batch, draft: Draft, votes: Taken) -> Draft:
    """The plan of round 0, with the votes on its pairs stored and named."""
    draft = with_own_ids(batch, draft)
    refused = {row.record_id for row in draft.quarantined if row.record_id}
    kept = votes.without(refused)
    if not kept.tasks:
        return draft
    tasks, annotations = to_table(kept.tasks, TASKS), to_table(kept.annotations, ANNOTATIONS)
    stored = {
        "tasks": batch.write_table(STAGE, "taken_tasks", tasks),
        "annotations": batch.write_table(STAGE, "taken_annotations", annotations),
    }
    return replace(draft, taken=stored)


def with_own_ids(batch: Batch, draft: Draft) -> Draft:
    """The plan under ids of this campaign's own, where its pools are another's.

    Both may ask the same task, and a vendor takes an id only once. So may a batch that was given up
    and the one that has its prompts now: from the first such batch on ids are the batch's own.
    """
    name = [batch.campaign.name]
    if read_ledger(batch.lake, batch.campaign.name).given_up:
        name.append(batch.key)
    elif batch.campaign.pools_from is None:
        return draft

    def own(rows: pa.RecordBatch) -> pa.RecordBatch:
        for column in ("task_id", "repeats"):
            ids = rows[column].to_pylist()
            named = [None if each is None else content_id("task of", *name, each) for each in ids]
            rows = rows.set_column(
                rows.schema.get_field_index(column), column, pa.array(named, pa.string())
            )
        return rows

    return replace(draft, asked=map(own, draft.asked))


@contextmanager
def taken_tables(batch: Batch, plan: Plan | None) -> Iterator[Mapping[str, Path]]:
    """The tables `tasks` and `annotations` of the votes that a plan of round 0 names, if any."""
    stored = plan.taken if plan is not None else {}
    with table_files(batch.lake, stored) as files:
        yield files


def beside_taken(asked: Path, taken: Path | None, folder: Path) -> tuple[Path, dict[str, int]]:
    """A file of the tasks `taken` and then those `asked`; how many campaigns' were taken over."""
    if taken is None:
        return asked, {}
    file = folder / "tasks.parquet"
    with pq.ParquetWriter(file, TASKS, compression="zstd") as writer:
        for part in (taken, asked):
            for rows in read_pieces(part):
                writer.write(fitted(rows, TASKS))
    with pq.ParquetFile(taken) as source:
        names = source.read(["taken_from"])["taken_from"].drop_null().to_pylist()
    return file, dict(sorted(Counter(names).items()))


def _published_votes(batch: Batch, name: str) -> Iterator[tuple[Row, Row]]:
    """Task and vote of each vote of the batch's key, the pair's first task first."""
    label, aside = _published_labels(batch, name)
    if label is None:
        return
    tasks = read_table(batch.lake, label.outputs["tasks"]).to_pylist()
    votes = by_pair(votes_of(read_table(batch.lake, label.outputs["annotations"]).to_pylist()))
    task_of = {task["task_id"]: task for task in tasks}
    for pair in sorted(votes.keys() - aside):
        rows = [(task_of[vote["task_id"]], vote) for vote in votes[pair]]
        yield from sorted(rows, key=lambda row: (row[0]["repetition"], row[1]["annotation_id"]))


def _published_labels(batch: Batch, name: str) -> tuple[Manifest | None, frozenset[str]]:
    """The other campaign's labels of the batch's key; None if it bought none that count.

    Beside them are the pairs that it set aside.
    """
    nothing = frozenset[str]()
    other = read_batch(batch.lake, name, batch.key, batch.clock)
    if other is None or read_ledger(batch.lake, name).dropped(batch.key) is not None:
        return None, nothing
    label = other.manifest(STAGE)
    if label is not None and not label.counts["rows_out"]:
        return None, nothing  # the batch ended there: nobody decided on a pair
    if other.manifest("publish") is None:
        if label is None and not has_opened(other):
            return None, nothing
        raise Retryable(
            f"Batch {batch.key} of campaign {name} has bought labels that are not published yet; "
            f"{batch.campaign.name} would buy some of them again. Wait for it, or clear "
            f"check_labels there if its gate stopped it. To buy without looking at {name}, start "
            "a campaign of another `name` with annotations_from: []."
        )
    last = newest(batch.lake, other.campaign.publish.dataset)
    if last is None or batch.key not in last.batches:
        return None, nothing
    return label, pairs_set_aside(batch.lake, last, batch.key)


def _task(task: Row, pair: Row, number: int, name: str) -> Task:
    return Task(
        **{
            **task,
            "kind": COMPARISON,
            "round": 0,
            "swapped": task["shown_a"] == pair["second_id"],
            "repetition": number,
            "price": 0,
            "taken_from": task.get("taken_from") or name,
        }
    )


def _annotation(vote: Row, pair: Row, task: Row) -> Annotation:
    """The vote, told in the order of `pair`, which another campaign may have turned round."""
    swapped = task["shown_a"] == pair["second_id"]
    turned = swapped != vote["swapped"]
    ratings = [
        {
            "dimension": rating["dimension"],
            "first": rating["second" if turned else "first"],
            "second": rating["first" if turned else "second"],
        }
        for rating in vote["ratings"] or ()
    ]
    log_odds = vote.get("log_odds")
    changed = {
        "kind": COMPARISON,
        "swapped": swapped,
        "preferred": preferred_response(vote["choice"], swapped),
        "ratings": ratings,
        "log_odds": -log_odds if turned and log_odds else log_odds,
        "price": 0,
    }
    return Annotation(**{**vote, **changed})
