"""Tasks that ask for rankings, and what their answers say of the pairs in them.

A ranking is asked, priced, answered, edited and retracted as one. Its answer is kept whole; for all
that knows pairs (preferences, the gate, views, the reward) it is told pair by pair as well: a task
and an annotation for each pair, which share the price of the one to the micro-dollar. K responses
are K (K - 1) / 2 pairs and K - 1 choices, so that each pair counts for 2 / K of a vote wherever
votes are counted (`winnow.stages.label.lists`).

What always holds: pure and deterministic; the order in which responses are shown is drawn for each
ranking, and its second vote shows it backwards; rankings in = rankings asked + quarantined, of
which each pair is named.

Shapes: k responses of a ranking.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.campaign import Label
from winnow.ids import canonical_json, content_id, pair_id, seed_from
from winnow.label.collect import AskedTasks
from winnow.label.shown import PiiGuard, ShownRanking
from winnow.label.tasks import Draft, rubric_version, uniform
from winnow.label.vendor import RANKED
from winnow.pieces import read_pieces
from winnow.records import (
    ANNOTATIONS,
    RANKING_ASKED,
    TASKS,
    Quarantined,
    to_table,
)
from winnow.text import plain_text

Row = Mapping[str, Any]
_AT_ONCE = 500


def draft_rankings(read: Callable[[], Iterable[ShownRanking]], label: Label, seed: int) -> Draft:
    """Tasks of the rankings that `read` gives, the same ones each time.

    Args:
        read: Gives them; it is called once for first votes and once for second ones, which are sent
            after all of those.
        label: The campaign's settings.
        seed: The campaign's.
    """
    guard, refused = PiiGuard(label.pii), list[Quarantined]()
    return Draft(
        asked=_asked(read, label, seed, guard, refused),
        instructions=plain_text(label.instructions),
        quarantined=refused,
        pii=guard.counts,
        schema=RANKING_ASKED,
    )


def _asked(
    read: Callable[[], Iterable[ShownRanking]],
    label: Label,
    seed: int,
    guard: PiiGuard,
    refused: list[Quarantined],
) -> Iterator[pa.RecordBatch]:
    def rows() -> Iterator[Row]:
        for repetition in range(1 + bool(label.second_vote_share)):
            for ranking in read():
                ready = guard.ready_ranking(ranking)
                if not isinstance(ready, ShownRanking):
                    refused.extend(_refused(ranking, *ready) if repetition == 0 else ())
                elif repetition == 0 or _has_second(ranking.ranking_id, label, seed):
                    yield _task(ready, repetition, label, seed)

    waiting = rows()
    while some := list(islice(waiting, _AT_ONCE)):
        yield from to_table(some, RANKING_ASKED).to_batches()


def _has_second(name: str, label: Label, seed: int) -> bool:
    return uniform("second_vote", seed, name) < label.second_vote_share


def _task(ranking: ShownRanking, repetition: int, label: Label, seed: int) -> Row:
    drawn = np.random.default_rng(seed_from("shown order", seed, ranking.ranking_id))
    places = drawn.permutation(len(ranking.response_ids)).tolist()
    places = places[::-1] if repetition else places
    shown = [ranking.response_ids[place] for place in places]
    rubric = rubric_version(label)
    return {
        "task_id": content_id("ranking task", ranking.ranking_id, shown, rubric, repetition),
        "pair_id": ranking.ranking_id,
        "kind": "comparison",
        "round": 0,
        "shown_a": shown[0],
        "shown_b": shown[-1],
        "swapped": False,
        "rubric_version": rubric,
        "repetition": repetition,
        "vendor": label.vendor,
        "price": label.price,
        "dimension": ranking.dimension,
        "messages": [{"role": m.role, "content": m.content} for m in ranking.messages],
        "response_a": "",
        "response_b": "",
        "shown": shown,
        "texts": [ranking.texts[place] for place in places],
    }


def _refused(ranking: ShownRanking, reason: str, detail: str) -> Iterator[Quarantined]:
    told = {"ranking_id": ranking.ranking_id, "response_ids": list(ranking.response_ids)}
    for first, second in combinations(ranking.response_ids, 2):
        name = pair_id(first, second)
        yield Quarantined("label", reason, detail, record_id=name, raw=canonical_json(told))


def told_by_pairs(tasks: Path, answers: Path, folder: Path) -> tuple[Path, Path]:
    """Files of the tasks (`TASKS`) and annotations (`ANNOTATIONS`) of all pairs of rankings.

    Args:
        tasks: Rows of `records.RANKING_TASKS`.
        answers: Rows of `records.ANNOTATIONS`, each of a ranking, every revision.
        folder: For the result.
    """
    asked = AskedTasks(tasks)

    def annotations(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            yield from _annotations(row, asked[row["task_id"]].shown)

    by_pairs = folder / "tasks-of-pairs.parquet", folder / "annotations-of-pairs.parquet"
    _rewritten(tasks, TASKS, _tasks_of_pairs, by_pairs[0])
    _rewritten(answers, ANNOTATIONS, annotations, by_pairs[1])
    return by_pairs


def _rewritten(
    source: Path, schema: pa.Schema, change: Callable[[Iterable[Row]], Iterable[Row]], file: Path
) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for page in read_pieces(source, _AT_ONCE):
            writer.write_table(to_table(change(page.to_pylist()), schema))


def _tasks_of_pairs(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        for k, (first, second, swapped) in enumerate(_pairs(row["shown"])):
            name = pair_id(first, second)
            yield {
                **row,
                "task_id": _of_pair(row["task_id"], name),
                "pair_id": name,
                "shown_a": second if swapped else first,
                "shown_b": first if swapped else second,
                "swapped": swapped,
                "price": _share(row["price"], k, len(row["shown"])),
            }


def _annotations(row: Row, shown: Sequence[str]) -> Iterator[Row]:
    rank = {}
    if row["preferred"] == RANKED:
        rank = {name: n for n, group in enumerate(json.loads(row["choice"])) for name in group}
    seconds = row["active_seconds"]
    for k, (first, second, swapped) in enumerate(_pairs(shown)):
        name, choice, preferred = pair_id(first, second), "skip", None
        if rank:
            lead = rank[second] - rank[first]
            preferred = "tie" if lead == 0 else "first" if lead > 0 else "second"
            choice = "tie" if lead == 0 else "a" if (lead > 0) != swapped else "b"
        yield {
            **row,
            "annotation_id": _of_pair(row["annotation_id"], name),
            "task_id": _of_pair(row["task_id"], name),
            "pair_id": name,
            "choice": choice,
            "swapped": swapped,
            "preferred": preferred,
            "price": _share(row["price"], k, len(shown)),
            # Of one pair, which a ranking does not tell.
            "log_odds": None,
            "order_effect": None,
            # Of all that was read these are two responses.
            "active_seconds": None if seconds is None else seconds * 2.0 / len(shown),
        }


def _pairs(shown: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """First and second response of each pair, and whether the second was shown before the first."""
    place = {name: n for n, name in enumerate(shown)}
    for first, second in combinations(sorted(shown), 2):
        yield first, second, place[second] < place[first]


def _of_pair(name: str, pair: str) -> str:
    return content_id("of a ranking", name, pair)


def _share(price: int, k: int, n_shown: int) -> int:
    """Micro-dollars of the k-th pair: they add up, and none is more where the price is less."""
    whole, left = divmod(price, n_shown * (n_shown - 1) // 2)
    return whole + (k < left)
