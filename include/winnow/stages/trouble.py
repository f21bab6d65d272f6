"""Where a batch stands, and if it does not go on: why, and the command that mends it.

    state_of    what the lake says of a batch; reads manifests, writes nothing
    trouble_of  what is wrong with it; computes only

`winnow status` and the pages show the same answer. The headings are those of `docs/runbook.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar

from winnow.batch import Batch, Manifest, batch_folder, done_stages, next_stage, open_batch
from winnow.campaign import Campaign
from winnow.errors import Retryable, WinnowError
from winnow.ingest.ledger import Dropped
from winnow.lake import Lake
from winnow.records import MICROS
from winnow.stages import label
from winnow.stages.drop import dropped_text
from winnow.stages.label_rounds import answers_until, has_plan
from winnow.stages.tasks import DAG_OF, clear_command
from winnow.stored import parsed
from winnow.text import plain_line
from winnow.validate.verdict import Verdict

PATIENCE = timedelta(hours=6)
"""A stage that is not done this long after the one before it does not go on by itself."""
COLLECTING = timedelta(hours=1)
"""Past the vendor's deadline the answers are collected within this time."""

Level = Literal["waits", "stuck", "failed", "ended", "damaged", "dropped"]
T = TypeVar("T")
RunState = str
"""Airflow's: queued, running, success, failed."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """What the lake says of a batch.

    Attributes:
        campaign: Its campaign's name.
        batch: Its key.
        done: Each stage that is done, in order, with its manifest.
        approval_usd: What a person is asked to approve, dollars; None where nobody is asked.
        deadline: Until when the vendor may answer; None before the purchase.
        blocked: What the gate found, a line a check, where its last verdict is `block`.
    """

    campaign: str
    batch: str
    done: Mapping[str, Manifest]
    approval_usd: float | None = None
    deadline: datetime | None = None
    blocked: tuple[str, ...] = ()

    @property
    def stage(self) -> str | None:
        """The stage that the batch is in; None when it is published."""
        return next_stage(self.done)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a batch is where it is.

    Attributes:
        batch: Its key.
        stage: The stage it is in.
        level: `waits` for somebody outside, as planned; `stuck`, nothing will happen by itself;
            `failed`, Airflow gave up; `ended`, nothing was left to hand on; `damaged`, what the
            lake holds of it cannot be read; `dropped`, a person gave it up.
        cause: One line, plain text.
        mend: The next command or click; empty where there is nothing to do.
        heading: The runbook's heading; empty where it has none.
        since: From when on.
    """

    batch: str
    stage: str
    level: Level
    cause: str
    mend: str
    heading: str
    since: datetime | None = field(default=None, compare=False)


def whole(read: Callable[[], T]) -> T | Damage:
    """What `read` finds of one batch, or why it cannot be read: no batch takes others with it.

    Raises:
        Retryable, OSError: The store is away, which says nothing of the batch.
    """
    try:
        return read()
    except Retryable:
        raise
    except FileNotFoundError as error:
        return Damage(plain_line(f"{error.filename or error} is missing."))
    except OSError as error:
        if error.errno is not None:
            raise
        return Damage(plain_line(str(error)))  # Arrow's own, of a table that cannot be parsed
    except WinnowError as error:
        return Damage(plain_line(str(error)))
    except Exception as error:
        # Whatever a reader trips over is the batch's fault, and its alone.
        return Damage(plain_line(f"{type(error).__name__}: {error}"))


@dataclass(frozen=True, slots=True)
class Damage:
    """What the lake holds of a batch cannot be read: why, one line, plain text."""

    cause: str


def damaged_trouble(key: str, damage: Damage) -> Trouble:
    """A batch that cannot be read, as what is wrong with it and what mends it."""
    return Trouble(key, "", "damaged", damage.cause, damage_mend(key), "")


def damage_mend(key: str) -> str:
    """What a person does about a batch that cannot be read."""
    return (
        "restore the object from the bucket's versions or a copy of the lake; or give it up: "
        f'winnow drop {key} --reason "..."'
    )


def dropped_trouble(key: str, dropped: Dropped) -> Trouble:
    """A batch that was given up, as why it does not go on."""
    return Trouble(key, "", "dropped", plain_line(dropped_text(key, dropped)), "", "")


def state_of(lake: Lake, campaign: Campaign, key: str) -> BatchState:
    """What the lake says of a batch of `campaign`."""
    done = done_stages(lake, campaign.name, key)
    at = next_stage(done)
    if at == "label":
        batch = open_batch(campaign, key, lake, lambda: datetime.now(UTC))
        return BatchState(campaign.name, key, done, _asked(batch), answers_until(batch))
    blocked = _blocked(lake, campaign.name, key) if at == "publish" else ()
    return BatchState(campaign.name, key, done, blocked=blocked)


def trouble_of(
    state: BatchState, now: datetime, runs: Mapping[str, RunState] | None = None
) -> Trouble | None:
    """Why the batch is not published; None if it is, or if it simply goes on.

    Args:
        state: What the lake says.
        now: With its zone.
        runs: State of the newest Airflow run of each stage (by the stage's name), where somebody
            asked Airflow. Without it only time tells that a stage does not go on.
    """
    stage = state.stage
    if stage is None:
        return None
    since = _since(state)
    run = (runs or {}).get(stage)

    def trouble(level: Level, cause: str, mend: str, heading: str = "") -> Trouble:
        return Trouble(state.batch, stage, level, plain_line(cause), mend, heading, since)

    if _ended(state):
        return trouble(
            "ended",
            f"Stage {list(state.done)[-1]} left nothing to hand on.",
            f"winnow quarantine --batch {state.batch}",
        )
    if state.blocked:
        return trouble(
            "stuck", "; ".join(state.blocked), clear_command(stage, state.batch), GATE_HEADING
        )
    if state.approval_usd is not None:
        return trouble(
            "waits",
            f"A person must approve the purchase of up to ${state.approval_usd:,.2f}.",
            "Airflow: Browse, Required Actions",
            APPROVAL_HEADING,
        )
    if run == "failed":
        return trouble(
            "failed",
            f"The last run of {DAG_OF[stage]} failed; its log says why.",
            clear_command(stage, state.batch, only_failed=True),
            STUCK_HEADING,
        )
    if state.deadline is not None:
        if now <= state.deadline + COLLECTING:
            until = f"{state.deadline:%Y-%m-%d %H:%M} UTC"
            return trouble("waits", f"The vendor answers until {until}.", "")
        return trouble(
            "stuck",
            f"The vendor's time ended at {state.deadline:%Y-%m-%d %H:%M} UTC and the answers are "
            "not collected.",
            clear_command(stage, state.batch),
            DEADLINE_HEADING,
        )
    if run in ("queued", "running") or since is None or now - since <= PATIENCE:
        return None
    hours = (now - since) / timedelta(hours=1)
    return trouble(
        "stuck",
        f"Stage {stage} is not done {hours:,.0f} hours after the stage before it.",
        clear_command(stage, state.batch),
        STUCK_HEADING,
    )


GATE_HEADING = "The gate blocked the batch"
APPROVAL_HEADING = "A purchase waits for a person"
DEADLINE_HEADING = "Labels are late"
STUCK_HEADING = "A batch does not go on"


def _since(state: BatchState) -> datetime | None:
    """When the last stage that is done was committed."""
    times = [m.committed_at for m in state.done.values() if m.committed_at]
    return datetime.fromisoformat(times[-1]) if times else None


def _ended(state: BatchState) -> bool:
    return bool(state.done) and not list(state.done.values())[-1].counts["rows_out"]


def _asked(batch: Batch) -> float | None:
    """What a person is asked to approve now, dollars."""
    settings = batch.campaign.label
    if settings.approve_above_usd is None or not has_plan(batch, 0):
        return None
    # A plan is megabytes to read: only where something is left to decide.
    if label.is_submitted(batch):
        return None
    planned = label.plan(batch)
    return float(planned["most_usd"]) if label.is_dear(planned, settings) else None


def _blocked(lake: Lake, campaign: str, key: str) -> tuple[str, ...]:
    """What the last verdict on the batch blocks it for."""
    verdict = last_verdict(lake, campaign, key)
    return tuple(verdict.reasons()) if verdict is not None and verdict.verdict == "block" else ()


def last_verdict(lake: Lake, campaign: str, key: str) -> Verdict | None:
    """The gate's newest verdict on a batch, published or not; None before the first."""
    stored = [
        each
        for each in lake.listing(f"{batch_folder(campaign, key)}/publish")
        if each.path.rpartition("/")[2].startswith("verdict-")
    ]
    if not stored:
        return None
    path = max(stored, key=lambda each: each.modified).path
    return parsed(lake, path, Verdict.from_bytes)


def cost_of(state: BatchState) -> float:
    """What the batch's labels cost so far as the vendor charged, dollars."""
    manifest = state.done.get("label")
    return manifest.cost / MICROS if manifest else 0.0
