"""What must hold of nights, whatever befell them: in cents and in rows."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from winnow.batch import read_table
from winnow.publish.verify import verify_version
from winnow.publish.versions import Version, newest, read_version

from .nights import NAME, Place


def check_bought_once(place: Place, night: str) -> None:
    """Each task is bought once, and what it cost is what the vendor charged."""
    labels = place.manifest(night, "label")
    books = [t for t in place.vendor.books() if t["batch_key"].split("#")[0] == f"{NAME}/{night}"]
    assert {task["bought"] for task in books} == {1}
    tasks = read_table(place.lake, labels.outputs["tasks"]).column("task_id").to_pylist()
    assert sorted(task["task_id"] for task in books) == sorted(tasks)
    assert labels.cost == sum(task["charged"] for task in books)


def check_nothing_lost(place: Place, night: str) -> Counter[str]:
    """Whatever the vendor delivered is an annotation or a row in quarantine; how many of each."""
    outputs = place.manifest(night, "label").outputs
    rows = read_table(place.lake, outputs["annotations"]).to_pylist()
    held = {(row["annotation_id"], row["revision"]) for row in rows}
    refused = {
        nameless(json.loads(row["raw"]))
        for row in read_table(place.lake, outputs["quarantine"]).to_pylist()
        if row["raw"]
    }
    found = Counter[str]()
    for record in place.delivered(night):
        if isinstance(record, dict) and (record["annotation_id"], record.get("revision")) in held:
            found["annotations"] += 1
        else:
            assert nameless(record) in refused, record
            found["in quarantine"] += 1
    return found


def nameless(record: Any) -> str:
    """A record as text, without its annotator, of whom the lake keeps a hash."""
    kept = {k: v for k, v in record.items() if k != "annotator"} if isinstance(record, dict) else 0
    return json.dumps(kept or record, sort_keys=True)


def check_versions(place: Place) -> list[Version]:
    """Versions follow each other without a gap, whole, and no kill left anything beside them."""
    last = newest(place.lake, NAME)
    assert last is not None
    versions = [read_version(place.lake, NAME, n) for n in range(1, last.number + 1)]
    assert [version.parent for version in versions] == [None, *range(1, last.number)]
    for version in versions:
        verify_version(place.lake, version)
    gone = place.winnow("gc", "--grace-hours", "0", "--delete")
    assert gone.code == 0, gone
    again = place.winnow("gc", "--grace-hours", "0")
    assert " 0 objects" in again.out and " 0 unfinished" in again.out
    for version in versions:
        verify_version(place.lake, version)
    return versions
