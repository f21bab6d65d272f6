"""Votes to aggregate, with what they should come to: real crowds, and a planted one.

    AdultContent2, xstest   classes with gold answers for some or all items
    llmfao, pandalm         judgements of pairs, without gold: one vote of each pair is held out,
                            and is what the others should come to
    planted                 simulated votes on simulated pairs, whose truth is known

`llmfao as bought` keeps of the remaining votes what a campaign would have bought: one of each pair,
a second of `SECOND_VOTES` of them, a third where two disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.errors import Fatal

SECOND_VOTES = 0.15
GOLD_SETS = ("AdultContent2", "xstest")
PAIR_SETS = ("llmfao", "pandalm")
PLANTED = "planted (simulated)"
AS_BOUGHT = "llmfao as bought"

VOTES = pa.schema(
    [
        ("item", pa.string()),
        ("annotator", pa.string()),
        ("label", pa.string()),
        ("swapped", pa.bool_()),
    ]
)

_CHOICES = np.array(["first", "second", "tie"])
_N_PAIRS, _N_ANNOTATORS, _N_SPAMMERS, _N_ONE_SIDED = 1500, 30, 4, 10


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Votes (schema `VOTES`), and the label that each item in `truth` should get.

    `is_pairs`: labels are first, second and tie. `p_first`: what a reward model says of pairs.
    """

    data: str
    votes: pa.Table
    truth: dict[str, str]
    is_pairs: bool
    p_first: dict[str, float] = field(default_factory=dict)


def complete(folder: Path) -> dict[str, pa.Table]:
    """All votes of each real set.

    Raises:
        Fatal: A file is missing.
    """
    classes, pairs = _read(folder, "crowd_labels"), _read(folder, "human_votes")
    sets = {name: _of(classes, name) for name in GOLD_SETS}
    voted = {name: _as_votes(_of(pairs, name)) for name in PAIR_SETS}
    return {name: t.append_column("swapped", _no(t.num_rows)) for name, t in sets.items()} | voted


def folds(folder: Path, seeds: int) -> Iterator[Fold]:
    """Each gold set once; each pair set and the planted one `seeds` times."""
    for name, votes in complete(folder).items():
        if name in GOLD_SETS:
            known = votes.filter(pc.is_valid(votes["gold"]))
            truth = dict(zip(known["item"].to_pylist(), known["gold"].to_pylist(), strict=True))
            yield Fold(name, votes.select(VOTES.names), truth, is_pairs=False)
            continue
        for seed in range(seeds):
            yield _held_out(name, votes, np.random.default_rng(seed), as_bought=False)
            if name == "llmfao":
                yield _held_out(AS_BOUGHT, votes, np.random.default_rng(seed), as_bought=True)
    for seed in range(seeds):
        yield planted(np.random.default_rng(seed))


def planted(rng: np.random.Generator, n: int = _N_PAIRS) -> Fold:
    """Simulated votes: most annotators guess a quarter of the time, some only, some for a side.

    The reward model's log-odds are twice as far from 0 as they should be.
    """
    log_odds = rng.normal(0.0, 1.5, n)
    chances = np.stack([np.exp(log_odds / 2), np.exp(-log_odds / 2), np.full(n, 0.35)], axis=1)
    chances /= chances.sum(axis=1, keepdims=True)
    truth = (rng.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    guesses = np.full(_N_ANNOTATORS, 0.25)
    guesses[:_N_SPAMMERS], guesses[-_N_ONE_SIDED:] = 0.95, 0.7
    habits = np.tile([0.4, 0.4, 0.2], (_N_ANNOTATORS, 1))
    habits[-_N_ONE_SIDED:] = [0.95, 0.03, 0.02]
    rows = []
    for pair in range(n):
        starts_swapped, asked = rng.random() < 0.5, 1 + (rng.random() < SECOND_VOTES)
        said: list[int] = []
        for turn, who in enumerate(rng.permutation(_N_ANNOTATORS)[:3].tolist()):
            if turn >= asked and not (turn == 2 and len(set(said)) == 2):
                break
            swapped, choice = starts_swapped != (turn == 1), int(truth[pair])
            if rng.random() < guesses[who]:
                shown = int(rng.choice(3, p=habits[who]))
                choice = 1 - shown if swapped and shown < 2 else shown
            said.append(choice)
            rows.append((f"pair-{pair}", f"annotator-{who}", str(_CHOICES[choice]), swapped))
    names = [f"pair-{pair}" for pair in range(n)]
    return Fold(
        PLANTED,
        pa.Table.from_arrays([pa.array(c) for c in zip(*rows, strict=True)], schema=VOTES),
        dict(zip(names, _CHOICES[truth].tolist(), strict=True)),
        is_pairs=True,
        p_first=dict(zip(names, (1.0 / (1.0 + np.exp(-2.0 * log_odds))).tolist(), strict=True)),
    )


def _held_out(name: str, votes: pa.Table, rng: np.random.Generator, as_bought: bool) -> Fold:
    """One vote of each pair is the truth; the others, or some of them, are the votes."""
    shuffled = votes.take(rng.permutation(votes.num_rows))
    items, labels = (shuffled[c].to_pylist() for c in ("item", "label"))
    truth: dict[str, str] = {}
    said: dict[str, list[str]] = {}
    kept = []
    for row, (item, label) in enumerate(zip(items, labels, strict=True)):
        if item not in truth:
            truth[item] = label
            continue
        before = said.setdefault(item, [])
        if as_bought and not _buys(before, rng):
            continue
        before.append(label)
        kept.append(row)
    return Fold(name, shuffled.take(kept), truth, is_pairs=True)


def _buys(said: list[str], rng: np.random.Generator) -> bool:
    """Whether a campaign asks once more; a second vote refused is marked, so it stays refused."""
    if len(said) == 1 and rng.random() >= SECOND_VOTES:
        said.append(said[0])
        return False
    return not said or len(said) == 1 or (len(said) == 2 and said[0] != said[1])


def _as_votes(table: pa.Table) -> pa.Table:
    names = {"a": "first", "b": "second", "tie": "tie"}
    labels = [names[choice] for choice in table["choice"].to_pylist()]
    swapped = [shown == "b" for shown in table["shown_left"].to_pylist()]
    columns = [table["pair_id"].cast(pa.string()), table["annotator"].cast(pa.string())]
    return pa.Table.from_arrays([*columns, pa.array(labels), pa.array(swapped)], schema=VOTES)


def _of(table: pa.Table, source: str) -> pa.Table:
    return table.filter(pc.equal(table["source"], source))


def _no(n: int) -> pa.Array:
    return pa.array(np.zeros(n, dtype=np.bool_))


def _read(folder: Path, name: str) -> pa.Table:
    try:
        return pq.read_table(folder / f"{name}.parquet")
    except FileNotFoundError as error:
        raise Fatal(f"{folder / name}.parquet is missing: name the folder with --data.") from error
