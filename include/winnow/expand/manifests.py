"""What a call and a shard have made: the files that say that work is done.

Both are written once. A call's manifest names its tables with their digests; a shard's manifest
holds those of all its calls, so that a reader of a shard needs one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from winnow.batch import Artifact
from winnow.expand.shard import Call
from winnow.reward.blocks import Block, Blocks
from winnow.stored import read_sealed, sealed_json


@dataclass(frozen=True, slots=True)
class CallManifest:
    """A finished call. `sampled` counts responses drawn, `tokens` those they are made of.

    `outputs` holds the tables `responses`, `features` and `quarantine`; `blocks` are the columns of
    the features, () before 0.4 and where there is none.
    """

    call_id: str
    call: Call
    sampled: int
    tokens: int
    engine: str
    engine_version: str
    outputs: Mapping[str, Artifact]
    blocks: Blocks = ()

    def to_bytes(self) -> bytes:
        """The manifest as JSON."""
        return sealed_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> CallManifest:
        """Read back what `to_bytes` wrote."""
        return _call_manifest(read_sealed(data))


@dataclass(frozen=True, slots=True)
class ShardManifest:
    """A finished shard: its calls round by round, each round in the order of the plan."""

    shard_id: str
    calls: tuple[CallManifest, ...]

    @property
    def n_prompts(self) -> int:
        """Prompts that were asked."""
        return len({prompt for each in self.calls for prompt in each.call.prompts})

    def to_bytes(self) -> bytes:
        """The manifest as JSON."""
        return sealed_json(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> ShardManifest:
        """Read back what `to_bytes` wrote."""
        content = read_sealed(data)
        return cls(content["shard_id"], tuple(_call_manifest(each) for each in content["calls"]))


def call_folder(folder: str, call_id: str) -> str:
    """Where a call's tables lie, below the folder of the expand stage."""
    return f"{folder}/calls/{call_id}"


def call_path(folder: str, call_id: str) -> str:
    """Where a call's manifest lies."""
    return f"{call_folder(folder, call_id)}/manifest.json"


def shard_path(folder: str, shard_id: str) -> str:
    """Where a shard's manifest lies."""
    return f"{folder}/shards/{shard_id}.json"


def speed_path(folder: str, shard_id: str) -> str:
    """Where a process says how fast it was: tokens and seconds, JSON.

    No manifest holds it, since a shard that is made again has the same manifest at another speed.
    """
    return f"{folder}/speed/{shard_id}.json"


def _call_manifest(content: dict[str, Any]) -> CallManifest:
    outputs = {name: Artifact(**artifact) for name, artifact in content["outputs"].items()}
    call = {**content["call"], "prompts": tuple(content["call"]["prompts"])}
    blocks = tuple(Block(*each) for each in content.get("blocks", ()))
    return CallManifest(**{**content, "call": Call(**call), "outputs": outputs, "blocks": blocks})
