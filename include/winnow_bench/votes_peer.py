"""Runs in another interpreter, which has crowd-kit and no Winnow: python votes_peer.py FOLDER.

Aggregates each fold-*.parquet of the folder (item, annotator, label) with every method, takes
alpha of each alpha-*.parquet, and writes peer.json there: labels and seconds by file and method. A
method that breaks is told as it broke. Times leave imports and reading out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

SLOW_ABOVE = 50_000
"""Votes from which methods that are not the comparison's subject are left out."""


def main(folder: Path) -> None:
    """Measure every file of `folder`."""
    import pandas
    from crowdkit.aggregation import (
        MMSR,
        DawidSkene,
        MajorityVote,
        OneCoinDawidSkene,
    )
    from crowdkit.metrics.data import alpha_krippendorff

    methods: dict[str, Callable[[], Any]] = {
        "majority": MajorityVote,
        "dawid_skene": DawidSkene,
        "one_coin": OneCoinDawidSkene,
        "mmsr": lambda: MMSR(random_state=0),
    }
    names = {"item": "task", "annotator": "worker"}
    found: dict[str, Any] = {"version": version("crowd-kit"), "folds": {}, "alpha": {}}
    for file in sorted(folder.glob("fold-*.parquet")):
        votes = pandas.read_parquet(file).rename(columns=names)[["task", "worker", "label"]]
        found["folds"][file.stem] = {
            name: _aggregated(make, votes)
            for name, make in methods.items()
            if len(votes) < SLOW_ABOVE or name in ("majority", "dawid_skene")
        }
    for file in sorted(folder.glob("alpha-*.parquet")):
        votes = pandas.read_parquet(file).rename(columns=names)[["task", "worker", "label"]]
        started = time.perf_counter()
        alpha = float(alpha_krippendorff(votes))
        seconds = time.perf_counter() - started
        found["alpha"][file.stem] = {"alpha": alpha, "seconds": seconds}
    (folder / "peer.json").write_text(json.dumps(found))


def _aggregated(make: Callable[[], Any], votes: Any) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        labels = make().fit_predict(votes)
    except Exception as error:
        return {"broke": f"{type(error).__name__}: {error}"[:300]}
    return {"seconds": time.perf_counter() - started, "labels": labels.to_dict()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
