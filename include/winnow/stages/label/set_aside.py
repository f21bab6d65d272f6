"""The pairs of a published batch that its version leaves out, by the verdict in the version."""

from __future__ import annotations

from winnow.batch import read_artifact
from winnow.lake import Lake
from winnow.publish.versions import Version
from winnow.validate.aside import Aside
from winnow.validate.verdict import Verdict


def pairs_set_aside(lake: Lake, version: Version, key: str) -> frozenset[str]:
    """Ids of the pairs of batch `key` that were set aside; no vote on them counts."""
    stored = version.files.get(f"quality/{key}.json")
    if stored is None:
        return frozenset()
    return Aside.of(Verdict.from_bytes(read_artifact(lake, stored))).pairs
