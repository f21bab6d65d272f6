"""Which stages of which batches are done, as the pages need it: small, and read once.

A stage that is done never changes, so `Done` is kept in memory for good, and a batch that is done
costs no call of the store after its first look. A stage that is not done is looked at again after
some seconds: one read that finds no manifest, and one listing of what the stage has left so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from winnow.batch import STAGES, Artifact, Manifest, batch_folder, manifest_path, next_stage
from winnow.console.memory import Memory, at_once
from winnow.ids import canonical_json
from winnow.ingest.ledger import Dropped, read_ledger
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.operate.facts import LEFT
from winnow.operate.failures import read_failure
from winnow.operate.standing import Failure

_LARGE = ("audit", "files")
_LONGEST_FIGURE = 4096


@dataclass(frozen=True, slots=True)
class Done:
    """A stage's manifest without what is large: of `figures`, the audit table and file names.

    `counts` are rows, `cost` is in micro-dollars, `warnings` are those of the pool audit.
    """

    stage: str
    counts: Mapping[str, int]
    cost: int
    figures: Mapping[str, Any]
    committed_at: datetime
    outputs: Mapping[str, Artifact]
    warnings: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """An object that a stage which is not done has left: path below the batch's folder."""

    name: str
    n_bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Stages:
    """What is done of a batch, and what the first stage that is not done has left so far.

    `failure` is why that one failed last, if it did. `damage` says why the batch cannot be read,
    `dropped` that a person gave it up.
    """

    campaign: str
    key: str
    done: Mapping[str, Done]
    left: Sequence[Left] = ()
    damage: str | None = None
    dropped: Dropped | None = None
    failure: Failure | None = None

    @property
    def ended(self) -> bool:
        """Whether the last stage that is done left nothing to hand on: the batch is over."""
        last = next((self.done[stage] for stage in reversed(STAGES) if stage in self.done), None)
        return last is not None and last.stage != STAGES[-1] and last.counts.get("rows_out") == 0

    @property
    def next(self) -> str | None:
        """The stage that is to be done next; None where there is none."""
        if self.ended or self.damage is not None or self.dropped is not None:
            return None
        return next_stage(self.done)

    @property
    def cost(self) -> int:
        """What the batch's labels cost, micro-dollars."""
        if "label" in self.done:
            return self.done["label"].cost
        return (self.dropped.charged or 0) if self.dropped else 0

    def n(self, stage: str, name: str) -> int | None:
        """A stage's count; None where the stage is not done or did not count it."""
        return self.done[stage].counts.get(name) if stage in self.done else None

    def figure(self, stage: str, name: str) -> Any:
        """A stage's figure; None where the stage is not done or did not measure it."""
        return self.done[stage].figures.get(name) if stage in self.done else None


@dataclass(frozen=True, slots=True)
class Taken:
    """The batches of a campaign's ledger: their keys, the greatest first, and what is odd of some.

    `damaged` has those whose entry cannot be read, with the reason.
    """

    keys: Sequence[str]
    dropped: Mapping[str, Dropped]
    damaged: Mapping[str, str]


def taken_of(lake: Lake, campaign: str, memory: Memory) -> Taken:
    """Every batch of a campaign that took prompts.

    Raises:
        Corrupt: The ledger cannot be read at all.
    """

    def read() -> Taken:
        ledger = read_ledger(lake, campaign)
        return Taken(ledger.keys[::-1], ledger.given_up, dict(ledger.damaged))

    return memory.lately(lake, ("taken", campaign), read)


def _taken(lake: Lake, campaign: str, memory: Memory) -> Taken:
    """As the page saw it that asked for the keys: a batch that is done costs no call."""
    found: Taken | None = memory.last(lake, ("taken", campaign))
    return found or taken_of(lake, campaign, memory)


def keys_of(lake: Lake, campaign: str, memory: Memory) -> list[str]:
    """Keys of every batch of a campaign that took prompts, the greatest (newest day) first."""
    return list(taken_of(lake, campaign, memory).keys)


def stages_of(lake: Lake, campaign: str, keys: Sequence[str], memory: Memory) -> dict[str, Stages]:
    """Each batch's stages, in the order of `keys`; one that cannot be read says why."""
    taken = _taken(lake, campaign, memory)
    complete = {key: _known(lake, campaign, key, memory) for key in keys}
    if len(keys) == 1 and complete[keys[0]] is None:
        # Most batches are done: one wait for the store, not one a stage.
        paths = [manifest_path(campaign, keys[0], stage) for stage in STAGES]
        whole(lambda: memory.each(lake, paths, parse_done))
    looked = at_once(
        lambda key: memory.watched(
            lake, ("stages", campaign, key), lambda: _look(lake, campaign, key, memory)
        ),
        [key for key, stages in complete.items() if stages is None and key not in taken.damaged],
    )
    found = {key: complete[key] or looked.get(key) or Stages(campaign, key, {}) for key in keys}
    return {
        key: replace(
            stages,
            damage=taken.damaged.get(key, stages.damage),
            dropped=taken.dropped.get(key),
        )
        for key, stages in found.items()
    }


def published_of(lake: Lake, campaign: str, keys: Sequence[str], memory: Memory) -> dict[str, Done]:
    """The last stage of each batch that is done; at its first look one read a batch, not five."""
    unknown = [
        key
        for key in keys
        if memory.known(lake, manifest_path(campaign, key, STAGES[-1]), parse_done) is None
    ]
    resting = at_once(
        lambda key: memory.watched(
            lake,
            ("published", campaign, key),
            lambda: whole(lambda: _done(lake, campaign, key, memory)),
        ),
        unknown,
    )
    given_up = _taken(lake, campaign, memory).dropped
    return {
        key: done
        for key in keys
        if isinstance(
            done := resting[key] if key in resting else _done(lake, campaign, key, memory), Done
        )
        and key not in given_up
    }


def parse_done(data: bytes) -> Done:
    """A manifest's bytes as what the pages keep of it."""
    manifest = Manifest.from_bytes(data)
    audit = manifest.figures.get("audit")
    at = datetime.fromisoformat(manifest.committed_at) if manifest.committed_at else None
    return Done(
        stage=manifest.stage,
        counts=manifest.counts,
        cost=manifest.cost,
        figures={name: value for name, value in manifest.figures.items() if _is_small(name, value)},
        committed_at=at or datetime.min.replace(tzinfo=UTC),
        outputs=manifest.outputs,
        warnings=len(audit.get("warnings", ())) if isinstance(audit, dict) else 0,
    )


def _is_small(name: str, value: Any) -> bool:
    if name in _LARGE:
        return False
    if isinstance(value, dict | list | str):
        return len(canonical_json(value)) <= _LONGEST_FIGURE
    return True


def _known(lake: Lake, campaign: str, key: str, memory: Memory) -> Stages | None:
    """A batch that is done, without a call of the store; None where that is not known."""
    done = {}
    for stage in STAGES:
        found = memory.known(lake, manifest_path(campaign, key, stage), parse_done)
        if found is None:
            return None
        done[stage] = found
    return Stages(campaign, key, done)


def _done(lake: Lake, campaign: str, key: str, memory: Memory) -> Done | None:
    return memory.once(lake, manifest_path(campaign, key, STAGES[-1]), parse_done)


def _look(lake: Lake, campaign: str, key: str, memory: Memory) -> Stages:
    found = whole(lambda: _read(lake, campaign, key, memory))
    return Stages(campaign, key, {}, damage=found.cause) if isinstance(found, Damage) else found


def _read(lake: Lake, campaign: str, key: str, memory: Memory) -> Stages:
    done: dict[str, Done] = {}
    for stage in STAGES:
        found = memory.once(lake, manifest_path(campaign, key, stage), parse_done)
        if found is None:
            failure = read_failure(lake, campaign, key, stage)
            return Stages(campaign, key, done, _left(lake, campaign, key, stage), failure=failure)
        done[stage] = found
    return Stages(campaign, key, done)


def _left(lake: Lake, campaign: str, key: str, stage: str) -> list[Left]:
    if stage not in LEFT:
        return []
    folder = batch_folder(campaign, key)
    return [
        Left(each.path[len(folder) + 1 :], each.n_bytes, each.modified)
        for each in lake.listing(f"{folder}/{LEFT[stage]}")
    ]
