"""What the lake says of batches that are not through, read for `standing`; writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from winnow.batch import Batch, Manifest, batch_folder, done_stages, next_stage, open_batch
from winnow.campaign import Campaign
from winnow.ingest.ledger import read_ledger
from winnow.label.purchases import over_month
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.operate.failures import read_failure
from winnow.operate.standing import Facts, Failure, Standing, damaged
from winnow.stages import label
from winnow.stages.label.rounds import answers_until, has_plan, round_path
from winnow.stages.turn import Looks
from winnow.stages.turn import turn as turn_of
from winnow.stored import parsed
from winnow.validate.verdict import Check, Verdict

LEFT: Mapping[str, str] = {"expand": "expand/shards", "label": "label", "publish": "publish"}
"""What a stage leaves before its manifest; the others write nothing that lasts before it."""


def facts_of(
    lake: Lake,
    campaign: Campaign,
    key: str,
    done: Mapping[str, Manifest] | None = None,
    looks: Looks | None = None,
) -> Facts:
    """What the lake says of a batch; `done` are the manifests of its stages, if they are read.

    `looks` are shared by all batches that are looked at.

    Raises:
        WinnowError: Something of it cannot be read.
    """
    done = done_stages(lake, campaign.name, key) if done is None else done
    committed = {stage: committed_at(manifest) for stage, manifest in done.items()}
    stage, last = next_stage(done), list(done.values())[-1] if done else None
    if stage is None:
        return Facts(campaign.name, key, committed)
    if last is not None and not last.counts["rows_out"]:
        return Facts(campaign.name, key, committed, ended=True)
    folder = batch_folder(campaign.name, key)
    left = {}
    if stage in LEFT:
        left = {each.path: each.modified for each in lake.listing(f"{folder}/{LEFT[stage]}")}
    touched = max(left.values(), default=None)
    failure = read_failure(lake, campaign.name, key, stage)
    failures: Mapping[str, Failure] = {stage: failure} if failure else {}
    facts = Facts(campaign.name, key, committed, failures=failures, touched=touched)
    if stage == "publish":
        verdicts = [path for path in left if is_verdict(path)]
        checks: Sequence[Check] = ()
        if verdicts:
            newest = max(verdicts, key=lambda path: (left[path], path))
            checks = blocking(parsed(lake, newest, Verdict.from_bytes))
        return replace(facts, checks=checks)
    if stage not in ("select", "label"):
        return facts
    batch = open_batch(campaign, key, lake, lambda: datetime.now(UTC))
    if stage == "select":
        return replace(facts, turn=turn_of(batch, done["ingest"], looks))
    planned_at = left.get(round_path(batch, 0, "plan.json"))
    approval, over = _prices(batch)
    return replace(
        facts,
        deadline=answers_until(batch),
        planned_at=planned_at,
        approval_usd=approval,
        over_usd=over,
        over_month=None if label.is_submitted(batch) else over_month(lake, folder),
    )


def read_batches(
    lake: Lake, campaign: Campaign, leave: Iterable[str]
) -> tuple[list[Facts], list[Standing]]:
    """Every batch of the ledger but those to `leave`, oldest first; and those that cannot be read.

    One that was given up is none.

    Raises:
        Retryable: The store is away, which says nothing of a batch.
    """
    batches: list[Facts] = []
    left, ledger = frozenset(leave), read_ledger(lake, campaign.name)
    # Told of published ones too: nothing can be taken until the ledger is whole again.
    unreadable = [damaged(campaign.name, key, cause) for key, cause in ledger.damaged.items()]
    looks = Looks(lake, campaign.name)
    for key in (key for key in ledger.live_keys if key not in left):
        facts = whole(partial(facts_of, lake, campaign, key, None, looks))
        if isinstance(facts, Damage):
            unreadable.append(damaged(campaign.name, key, facts.cause))
        else:
            batches.append(facts)
    return batches, unreadable


def committed_at(manifest: Manifest) -> datetime:
    """When a stage was committed."""
    if not manifest.committed_at:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(manifest.committed_at)


def is_verdict(path: str) -> bool:
    """Whether an object that publish left is the gate's verdict."""
    return path.rpartition("/")[2].startswith("verdict-")


def blocking(verdict: Verdict) -> Sequence[Check]:
    """What did not pass, the worst first, where the verdict blocks."""
    return tuple(verdict.failed()) if verdict.verdict == "block" else ()


def _prices(batch: Batch) -> tuple[float | None, tuple[float, float] | None]:
    """What a person is asked to approve, dollars; and what is over the budget, with the budget."""
    # A plan is megabytes to read: only where something is left to decide.
    if not has_plan(batch, 0) or label.is_submitted(batch):
        return None, None
    planned = label.plan(batch)
    settings = batch.campaign.label
    dear = label.is_dear(planned, settings)
    over = planned["estimate_usd"] > settings.budget_usd
    return (
        float(planned["most_usd"]) if dear else None,
        (planned["estimate_usd"], settings.budget_usd) if over else None,
    )
