"""What came of a vendor's records, in lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from winnow.label import collect
from winnow.label.annotation import Annotation
from winnow.label.collect import Delivery
from winnow.records import ANNOTATIONS, TASKS, to_table

from .slow_collect import Collection


def read_deliveries(
    deliveries: Sequence[Delivery],
    tasks: Sequence[Mapping[str, Any]],
    last_look: Mapping[str, int],
    names_people: bool = True,
    taken: Sequence[Annotation] = (),
) -> Collection:
    rows = to_table(({"round": 0, **task} for task in tasks), TASKS)
    beside = to_table(taken, ANNOTATIONS)
    with TemporaryDirectory() as folder:
        found = collect.read_deliveries(
            deliveries, rows, last_look, Path(folder), () if names_people else (0, 1), beside
        )
        annotations = pq.read_table(found.annotations).to_pylist()
        assert len(annotations) == found.n_annotations
    return Collection(
        annotations=[Annotation(**row) for row in annotations],
        quarantined=found.quarantined,
        n_received=found.n_received,
        n_redelivered=found.n_redelivered,
        n_vanished=found.n_vanished,
        refused=found.refused,
    )
