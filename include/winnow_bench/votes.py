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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.arrays import FloatArray, IndexArray
from winnow.commands.say import progress_bar
from winnow.environment import foreign_environment
from winnow.errors import Fatal
from winnow.label.aggregation.aggregate import METHODS, aggregate
from winnow.label.aggregation.agreement import agreement, alpha
from winnow.label.aggregation.dawid_skene import dawid_skene
from winnow.label.database import opened
from winnow.pages.render import render
from winnow.records import ANNOTATIONS, COMPARISONS, to_table
from winnow_bench import votes_peer
from winnow_bench.document import TEMPLATES, plain_table, write_report
from winnow_bench.vote_data import Fold, VoteSet, complete, folds

RIVAL = ("crowd-kit", "dawid_skene")
"""With whom every method is compared."""

_PEER_SECONDS = 3600


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
    with progress_bar("Sets of votes", len(every)) as advance:
        for number, fold in enumerate(every):
            named = {("winnow", name): done for name, done in _ours(fold).items()}
            answered = theirs["folds"].get(f"fold-{number:03}", {})
            named |= {("crowd-kit", name): done for name, done in answered.items()}
            for (by, method), done in named.items():
                scores.setdefault((fold.data, by, method), []).append(_score(fold, done))
            advance()
    report = {
        "seeds": seeds,
        "crowd_kit": theirs.get("version"),
        "results": _results(scores),
        "alpha": [
            _alpha(name, each.votes, theirs["alpha"].get(f"alpha-{number:03}", {}))
            for number, (name, each) in enumerate(sets.items())
        ],
    }
    write_report(out, "votes", report, votes_page(report))
    say(table(report))
    return report


@dataclass(frozen=True, slots=True, eq=False)
class _Score:
    """Whether each known item was answered as it should, in one order for all methods."""

    right_n: FloatArray | None
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
            table = aggregate(labels, method)
        return dict(zip(table["pair_id"].to_pylist(), table["preferred"].to_pylist(), strict=True))

    return {name: _timed(partial(preferred, name)) for name in METHODS}


def _timed(call: Callable[[], Labels]) -> dict[str, Any]:
    started = time.perf_counter()
    labels = call()
    return {"seconds": time.perf_counter() - started, "labels": labels}


def _results(scores: Mapping[tuple[str, str, str], Sequence[_Score]]) -> list[dict[str, Any]]:
    means = {}
    for key, own in scores.items():
        right = [score.right_n for score in own if score.right_n is not None]
        if len(right) == len(own):
            means[key] = np.mean(right, axis=0)
    return [_result(key, own, means) for key, own in scores.items()]


def _result(
    key: tuple[str, str, str],
    own: Sequence[_Score],
    means: Mapping[tuple[str, str, str], FloatArray],
) -> dict[str, Any]:
    """One method on one set: its accuracy, and what that is beyond crowd-kit's Dawid-Skene."""
    data, by, method = key
    right_n, rival_n = means.get(key), means.get((data, *RIVAL))
    difference = half = None
    if right_n is not None and rival_n is not None and (by, method) != RIVAL:
        apart_n = right_n - rival_n
        difference = float(apart_n.mean())
        if len(apart_n) > 1:
            half = float(1.96 * apart_n.std(ddof=1) / np.sqrt(len(apart_n)))
    return {
        "data": data,
        "by": by,
        "method": method,
        "accuracy": None if right_n is None else float(right_n.mean()),
        "n": 0 if right_n is None else len(right_n),
        "difference": difference,
        "half": half,
        "seconds": min((s.seconds for s in own if s.seconds is not None), default=None),
        "note": own[0].note,
    }


def _alpha(name: str, votes: pa.Table, peer: Mapping[str, Any]) -> dict[str, Any]:
    """Alpha of a whole set, with what crowd-kit says."""
    pair_v, label_v = coded(votes, "item")[1], coded(votes, "label")[1]
    started = time.perf_counter()
    alpha(pair_v, label_v)
    point = time.perf_counter()
    interval = agreement(pair_v, label_v, np.random.default_rng(0))
    return {
        "data": name,
        "votes": votes.num_rows,
        "alpha": interval.alpha,
        "low": interval.low,
        "high": interval.high,
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
            lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
            raise Fatal(
                f"{peer} cannot run crowd-kit: {lines[-1] if lines else error}. Name an "
                "interpreter that has crowd-kit and pyarrow with --peer, or leave --peer out."
            ) from error
        answers: dict[str, Any] = json.loads((folder / "peer.json").read_text())
        return answers


Labels = Mapping[str, str]


def majority_labels(votes: pa.Table) -> Labels:
    """The commonest label of each item, the first by name among equals."""
    (items, item_v), (labels, label_v) = coded(votes, "item"), coded(votes, "label")
    counts = np.bincount(item_v * len(labels) + label_v, minlength=len(items) * len(labels))
    return _named(items, labels, counts.reshape(len(items), -1))


def dawid_skene_labels(votes: pa.Table) -> Labels:
    """The likeliest label of each item by Dawid and Skene."""
    (items, item_v), (labels, label_v) = coded(votes, "item"), coded(votes, "label")
    annotators, annotator_v = coded(votes, "annotator")
    sizes = (len(items), len(annotators), len(labels))
    return _named(items, labels, dawid_skene(item_v, annotator_v, label_v, sizes).p_nk)


def as_rows(fold: Fold) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A fold of pairs as rows of annotations and of comparisons."""
    annotations = [
        {
            "annotation_id": f"{number:09}",
            "revision": 0,
            "task_id": f"{number:09}",
            "pair_id": row["item"],
            "kind": "comparison",
            "annotator": row["annotator"],
            "choice": "tie",
            "swapped": row["swapped"],
            "preferred": row["label"],
            "strength": None,
            "status": "submitted",
            "price": 0,
        }
        for number, row in enumerate(fold.votes.to_pylist())
    ]
    comparisons = [
        {
            "pair_id": item,
            "prompt_id": item,
            "first_id": f"{item}/first",
            "second_id": f"{item}/second",
            "p_first": fold.p_first.get(item, 0.5),
        }
        for item in sorted(fold.truth)
    ]
    return annotations, comparisons


def coded(votes: pa.Table, column: str) -> tuple[list[str], IndexArray]:
    """Sorted values and the position of each row's."""
    coded = votes[column].combine_chunks().dictionary_encode()
    values = np.array(coded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(values)
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    return values[order].tolist(), place[coded.indices.to_numpy()]


def _named(items: list[str], labels: list[str], score_nk: NDArray[Any]) -> Labels:
    best = [labels[k] for k in score_nk.argmax(axis=1).tolist()]
    return dict(zip(items, best, strict=True))


LIMITS = (
    "llmfao and pandalm have no gold: their accuracy is of one held-out vote per pair, which is as "
    "noisy as any vote. Nor have they a reward model: bradley_terry starts every pair at one half.",
    "The planted batch is simulated, by the model that bradley_terry assumes: it says that the "
    "model is found again, not that annotators are like that.",
    "AdultContent2 has gold for 333 items: the intervals say what that leaves to noise.",
    "How much dawid_skene smooths was chosen on these very sets, so its figures flatter it; the "
    "settings of bradley_terry were set before it saw them, and its design was tried on llmfao.",
    "Crowd-kit's methods see neither sides nor a reward model: it has no model of the same task.",
)


def votes_page(report: Mapping[str, Any]) -> str:
    """The page as HTML; `report` is what `winnow_bench.votes.run` writes."""
    results = report["results"]
    return render(
        "votes.html",
        TEMPLATES,
        crowd_kit=report["crowd_kit"],
        seeds=report["seeds"],
        tables=[
            plain_table(data, [_shown(row) for row in results if row["data"] == data])
            for data in dict.fromkeys(row["data"] for row in results)
        ],
        alpha=plain_table("Alpha", report["alpha"]),
        limits=LIMITS,
    )


def table(report: Mapping[str, Any]) -> str:
    """The same as text, a line per method and per alpha."""
    lines = [
        f"{row['data']:20} {row['by']:9} {row['method']:14} {_number(row['accuracy'], '.4f'):>7}"
        f" {_number(row['difference'], '+.4f'):>8} ± {_number(row['half'], '.4f'):6}"
        f" {_number(row['seconds'], '.3f'):>8} s {row['note']}"
        for row in report["results"]
    ]
    lines.insert(0, "set, who, method, accuracy, difference to crowd-kit's Dawid-Skene, time")
    lines += [
        f"{row['data']:20} alpha {_number(row['alpha'], '.4f')} ({_number(row['low'], '.4f')} to "
        f"{_number(row['high'], '.4f')}) in {row['seconds']:.4f} s; crowd-kit "
        f"{_number(row['crowd_kit_alpha'], '.4f')} in {_number(row['crowd_kit_seconds'], '.3f')} s"
        for row in report["alpha"]
    ]
    return "\n".join([*lines, *limits()])


def limits() -> Sequence[str]:
    """What the figures cannot show, a line each."""
    return [f"Cannot show: {limit}" for limit in LIMITS]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    who = f"{row['by']} {row['method']}"
    return {"method": who, **{k: v for k, v in row.items() if k not in ("data", "by", "method")}}


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
