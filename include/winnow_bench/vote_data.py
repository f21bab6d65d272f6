"""Votes to aggregate, with what they should come to: real crowds, and a planted one.

    crowd_labels.parquet   source, item, annotator, label, gold: classes, with gold answers for some
                           or all items
    human_votes.parquet    source, pair_id, annotator, choice (a, b, tie), shown_left: judgements of
                           pairs, without gold: one vote of each pair is held out, and is what the
                           others should come to
    planted                simulated votes on simulated pairs, whose truth is known

Each source is a set of its own, and one of the two files is enough. Rows without an item, an
annotator or a known label say nothing and are left out. Of the pair set with the most votes a pair
there is another one, "as bought": of the remaining votes what a campaign would have bought, one of
each pair, a second of `SECOND_VOTES` of them, a third where two disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.errors import Fatal

SECOND_VOTES = 0.15
CLASS_FILE, PAIR_FILE = "crowd_labels.parquet", "human_votes.parquet"
PLANTED = "planted (simulated)"
AS_BOUGHT = " as bought"
"""Ends the name of the pair set of which only some votes are taken."""

VOTES = pa.schema(
    [
        ("item", pa.string()),
        ("annotator", pa.string()),
        ("label", pa.string()),
        ("swapped", pa.bool_()),
    ]
)

_CLASSES = ("source", "item", "annotator", "label", "gold")
_PAIRS = ("source", "pair_id", "annotator", "choice", "shown_left")
_LABEL_OF = {"a": "first", "b": "second", "tie": "tie", "both_bad": "tie"}

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


@dataclass(frozen=True, slots=True, eq=False)
class VoteSet:
    """All votes of a source (schema `VOTES`), and the gold answers of its items."""

    votes: pa.Table
    gold: dict[str, str]
    is_pairs: bool


def complete(folder: Path) -> dict[str, VoteSet]:
    """Each real set by its name.

    Raises:
        Fatal: There is neither file, one cannot be read or lacks a column, or no row is a vote.
    """
    if not any((folder / name).exists() for name in (CLASS_FILE, PAIR_FILE)):
        raise Fatal(
            f"{folder / CLASS_FILE} and {PAIR_FILE} are missing: name the folder of one of them "
            "with --data."
        )
    sets = dict(_sets(folder / CLASS_FILE, _CLASSES))
    for name, each in _sets(folder / PAIR_FILE, _PAIRS):
        sets[f"{name} (pairs)" if name in sets else name] = each
    if not sets:
        raise Fatal(f"{folder}: no row has an item, an annotator and a label that is known.")
    return sets


def folds(folder: Path, seeds: int) -> Iterator[Fold]:
    """Each class set with gold once; each pair set and the planted one `seeds` times.

    A pair set of one vote a pair, and a class set without gold, has nothing to be measured by.
    """
    sets = complete(folder)
    densest = _densest(sets)
    for name, each in sets.items():
        if not each.is_pairs:
            if each.gold:
                yield Fold(name, each.votes, each.gold, is_pairs=False)
            continue
        drawn = [_held_out(name, each.votes, seed, as_bought=False) for seed in range(seeds)]
        if name == densest:
            bought = f"{name}{AS_BOUGHT}"
            drawn += [_held_out(bought, each.votes, seed, as_bought=True) for seed in range(seeds)]
        yield from (fold for fold in drawn if fold.votes.num_rows)
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


def _held_out(name: str, votes: pa.Table, seed: int, as_bought: bool) -> Fold:
    """One vote of each pair is the truth; the others, or some of them, are the votes."""
    rng = np.random.default_rng(seed)
    shuffled = votes.take(rng.permutation(votes.num_rows))
    items, labels = (shuffled[c].to_pylist() for c in ("item", "label"))
    truth: dict[str, str] = {}
    votes_of: dict[str, list[str]] = {}
    kept = []
    for row, (item, label) in enumerate(zip(items, labels, strict=True)):
        if item not in truth:
            truth[item] = label
            continue
        before = votes_of.setdefault(item, [])
        if as_bought and not _buys(before, rng):
            continue
        before.append(label)
        kept.append(row)
    return Fold(name, shuffled.take(pa.array(kept, pa.int64())), truth, is_pairs=True)


def _buys(said: list[str], rng: np.random.Generator) -> bool:
    """Whether a campaign asks once more; a second vote refused is marked, so it stays refused."""
    if len(said) == 1 and rng.random() >= SECOND_VOTES:
        said.append(said[0])
        return False
    return not said or len(said) == 1 or (len(said) == 2 and said[0] != said[1])


def _densest(sets: dict[str, VoteSet]) -> str | None:
    """The pair set with the most votes a pair."""
    density = {
        name: each.votes.num_rows / pc.count_distinct(each.votes["item"]).as_py()
        for name, each in sets.items()
        if each.is_pairs
    }
    return max(density, key=lambda name: density[name], default=None)


def _sets(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, VoteSet]]:
    """The sets of a file that hold a vote, in the order of their names; none without the file.

    The columns are read as text, the last one is null where it is absent.
    """
    if not path.exists():
        return
    try:
        table = pq.read_table(path)
        if columns[-1] not in table.column_names:
            table = table.append_column(columns[-1], pa.nulls(table.num_rows, pa.string()))
        table = table.select(columns).cast(pa.schema([(name, pa.string()) for name in columns]))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise Fatal(f"{path} is no Parquet with {', '.join(columns)}: {error}") from error
    source, item, annotator, label, last = table.columns
    is_pairs = columns == _PAIRS
    if is_pairs:
        label = pa.array([_LABEL_OF.get(choice) for choice in label.to_pylist()], pa.string())
    swapped = pa.array([is_pairs and shown == "b" for shown in last.to_pylist()], pa.bool_())
    votes = pa.table([item, annotator, label, swapped], schema=VOTES).append_column("last", last)
    for name in sorted(pc.unique(source.drop_null()).to_pylist()):
        own = votes.filter(pc.equal(source, name))
        kept = own.drop_columns("last").drop_null()
        if kept.num_rows:
            yield name, VoteSet(kept, {} if is_pairs else _gold(own), is_pairs)


def _gold(own: pa.Table) -> dict[str, str]:
    """The known answer of each item that somebody labelled."""
    voted = set(own["item"].filter(pc.is_valid(own["label"])).to_pylist())
    rows = zip(own["item"].to_pylist(), own["last"].to_pylist(), strict=True)
    return {item: gold for item, gold in rows if gold is not None and item in voted - {None}}
