"""What a group and a shard have made: the files that say that work is done.

Both are written once. A group's manifest names its tables with their digests; a shard's manifest
holds those of all its groups, so that a reader of a shard needs one object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from winnow.batch import Artifact
from winnow.ids import canonical_json


@dataclass(frozen=True, slots=True)
class GroupManifest:
    """A finished group. `sampled` counts responses drawn, `tokens` those they are made of.

    `outputs` holds the tables `responses`, `features` and `quarantine`.
    """

    group_id: str
    prompts: int
    sampled: int
    tokens: int
    engine: str
    engine_version: str
    outputs: Mapping[str, Artifact]

    def to_bytes(self) -> bytes:
        """The manifest as JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> GroupManifest:
        """Read back what `to_bytes` wrote."""
        return _group(json.loads(data))


@dataclass(frozen=True, slots=True)
class ShardManifest:
    """A finished shard: its groups in the order of the plan."""

    shard_id: str
    groups: tuple[GroupManifest, ...]

    def to_bytes(self) -> bytes:
        """The manifest as JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> ShardManifest:
        """Read back what `to_bytes` wrote."""
        content = json.loads(data)
        return cls(content["shard_id"], tuple(_group(group) for group in content["groups"]))


def group_folder(folder: str, group_id: str) -> str:
    """Where a group's tables lie, below the folder of the expand stage."""
    return f"{folder}/groups/{group_id}"


def group_path(folder: str, group_id: str) -> str:
    """Where a group's manifest lies."""
    return f"{group_folder(folder, group_id)}/manifest.json"


def shard_path(folder: str, shard_id: str) -> str:
    """Where a shard's manifest lies."""
    return f"{folder}/shards/{shard_id}.json"


def _group(content: dict[str, Any]) -> GroupManifest:
    outputs = {name: Artifact(**artifact) for name, artifact in content["outputs"].items()}
    return GroupManifest(**{**content, "outputs": outputs})
