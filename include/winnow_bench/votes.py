"""Three aggregations of votes beside crowd-kit's, on the same votes in one run.

A method's accuracy is the share of known answers that it comes to: gold answers, the truth of the
planted batch, or one held-out vote of each pair, which no method can name always, since people
differ. Crowd-kit runs in an interpreter of its own (`votes_peer`); without one its columns are
empty. Times are of one aggregation from a table of votes in memory, imports and reading left out;
on pairs ours go through `winnow.label.aggregation.aggregate` and its rows.

Always holds: equal votes and seeds give equal accuracies; a difference is told with its 95 %
interval over items, seeds averaged.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.environment import foreign_environment
from winnow.errors import Fatal
from winnow.label.aggregation.aggregate import METHODS, aggregate
from winnow.label.aggregation.agreement import agreement, alpha
from winnow.label.database import opened
from winnow.records import ANNOTATIONS, COMPARISONS, to_table
from winnow_bench import votes_peer
from winnow_bench.vote_data import Fold, VoteSet, complete, folds
from winnow_bench.vote_methods import Labels, as_rows, coded, dawid_skene_labels, majority_labels
from winnow_bench.votes_page import table, votes_page

RIVAL = ("crowd-kit", "dawid_skene")
"""With whom every method is compared."""

_PEER_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Result:
    """One method on one set of votes.

    Attributes:
        data: Name of the set.
        by: winnow or crowd-kit.
        method: Name of the aggregation.
        accuracy: Share of known answers that it comes to, mean over seeds; None if it broke.
        n: Items with a known answer.
        difference: Accuracy less that of crowd-kit's Dawid-Skene; None without it.
        half: Half of the difference's 95 % interval over items.
        seconds: Shortest time of an aggregation.
        note: How it broke.
    """

    data: str
    by: str
    method: str
    accuracy: float | None
    n: int
    difference: float | None
    half: float | None
    seconds: float | None
    note: str = ""


def run(
    folder: Path, out: Path, seeds: int, peer: Path | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; write votes.json and votes.html to `out`.

    Raises:
        Fatal: There is no file of votes or it cannot be read, fewer than one seed, or the peer's
            interpreter fails.
    """
    if seeds < 1:
        raise Fatal(f"{seeds} seeds: the bench needs at least one.")
    every, sets = list(folds(folder, seeds)), complete(folder)
    theirs = _ask_peer(peer, every, sets) if peer else {"folds": {}, "alpha": {}}
    scores: dict[tuple[str, str, str], list[_Score]] = {}
    for number, fold in enumerate(every):
        named = {("winnow", name): done for name, done in _ours(fold).items()}
        answered = theirs["folds"].get(f"fold-{number:03}", {})
        named |= {("crowd-kit", name): done for name, done in answered.items()}
        for (by, method), done in named.items():
            scores.setdefault((fold.data, by, method), []).append(_score(fold, done))
    report = {
        "seeds": seeds,
        "crowd_kit": theirs.get("version"),
        "results": [asdict(result) for result in _results(scores)],
        "alpha": [
            _alpha(name, each.votes, theirs["alpha"].get(f"alpha-{number:03}", {}))
            for number, (name, each) in enumerate(sets.items())
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "votes.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "votes.html").write_text(votes_page(report))
    say(table(report))
    return report


@dataclass(frozen=True, slots=True, eq=False)
class _Score:
    """Whether each known item was answered as it should, in one order for all methods."""

    right_n: NDArray[np.float64] | None
    seconds: float | None
    note: str


def _score(fold: Fold, done: Mapping[str, Any]) -> _Score:
    if "broke" in done:
        return _Score(None, None, done["broke"])
    labels = done["labels"]
    right = [labels.get(item) == fold.truth[item] for item in sorted(fold.truth)]
    return _Score(np.array(right, dtype=np.float64), done["seconds"], "")


def _ours(fold: Fold) -> dict[str, dict[str, Any]]:
    """Labels and seconds by method, in the shape of the peer's answers."""
    if not fold.is_pairs:
        return {
            "majority": _timed(lambda: majority_labels(fold.votes)),
            "dawid_skene": _timed(lambda: dawid_skene_labels(fold.votes)),
        }
    annotations, comparisons = as_rows(fold)
    tables = {
        "annotations": to_table(annotations, ANNOTATIONS),
        "comparisons": to_table(comparisons, COMPARISONS),
    }

    def preferred(method: str) -> Labels:
        with opened(tables) as labels:
            found = aggregate(labels, method)
        return dict(zip(found["pair_id"].to_pylist(), found["preferred"].to_pylist(), strict=True))

    return {name: _timed(partial(preferred, name)) for name in METHODS}


def _timed(call: Callable[[], Labels]) -> dict[str, Any]:
    started = time.perf_counter()
    labels = call()
    return {"seconds": time.perf_counter() - started, "labels": labels}


def _results(scores: Mapping[tuple[str, str, str], Sequence[_Score]]) -> list[Result]:
    means = {}
    for key, own in scores.items():
        right = [score.right_n for score in own if score.right_n is not None]
        if len(right) == len(own):
            means[key] = np.mean(right, axis=0)
    return [_result(key, own, means) for key, own in scores.items()]


def _result(
    key: tuple[str, str, str],
    own: Sequence[_Score],
    means: Mapping[tuple[str, str, str], NDArray[np.float64]],
) -> Result:
    data, by, method = key
    right_n, rival_n = means.get(key), means.get((data, *RIVAL))
    difference = half = None
    if right_n is not None and rival_n is not None and (by, method) != RIVAL:
        apart_n = right_n - rival_n
        difference = float(apart_n.mean())
        if len(apart_n) > 1:
            half = float(1.96 * apart_n.std(ddof=1) / np.sqrt(len(apart_n)))
    return Result(
        data,
        by,
        method,
        accuracy=None if right_n is None else float(right_n.mean()),
        n=0 if right_n is None else len(right_n),
        difference=difference,
        half=half,
        seconds=min((s.seconds for s in own if s.seconds is not None), default=None),
        note=own[0].note,
    )


def _alpha(name: str, votes: pa.Table, peer: Mapping[str, Any]) -> dict[str, Any]:
    """Alpha of a whole set, with what crowd-kit says."""
    pair_v, label_v = coded(votes, "item")[1], coded(votes, "label")[1]
    started = time.perf_counter()
    alpha(pair_v, label_v)
    point = time.perf_counter()
    found = agreement(pair_v, label_v, np.random.default_rng(0))
    return {
        "data": name,
        "votes": votes.num_rows,
        "alpha": found.alpha,
        "low": found.low,
        "high": found.high,
        "seconds": point - started,
        "seconds_with_interval": time.perf_counter() - point,
        "crowd_kit_alpha": peer.get("alpha"),
        "crowd_kit_seconds": peer.get("seconds"),
    }


def _ask_peer(peer: Path, every: Sequence[Fold], sets: Mapping[str, VoteSet]) -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, fold in enumerate(every):
            pq.write_table(fold.votes, folder / f"fold-{number:03}.parquet")
        for number, each in enumerate(sets.values()):
            pq.write_table(each.votes, folder / f"alpha-{number:03}.parquet")
        command = [str(peer), votes_peer.__file__, str(folder)]
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=_PEER_SECONDS,
                env=foreign_environment(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip().splitlines()
            raise Fatal(
                f"{peer} cannot run crowd-kit: {said[-1] if said else error}. Name an interpreter "
                "that has crowd-kit and pyarrow with --peer, or leave --peer out."
            ) from error
        found: dict[str, Any] = json.loads((folder / "peer.json").read_text())
        return found
