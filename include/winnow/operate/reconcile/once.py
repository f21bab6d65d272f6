"""One pass: look at everything, write down what will be done, do what the lake alone allows.

What Airflow has to do is handed back: which stages to announce again for which batches, and what a
person is to be told. A pass may be killed at any instruction and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from winnow.batch import STAGES, open_batch
from winnow.campaign import Campaign
from winnow.errors import WinnowError
from winnow.ingest.ledger import read_ledger
from winnow.label.vendor import LabelVendor
from winnow.lake import Lake
from winnow.operate.facts import read_batches
from winnow.operate.memory import Memory, read_memory, write_memory
from winnow.operate.reconcile.findings import TELL_AGAIN, Finding, find
from winnow.operate.reconcile.late import LateLook, look_for_late
from winnow.operate.standing import Facts, Mended, Run, mend_name
from winnow.publish.versions import finish, is_finished, newest, read_version
from winnow.stages import ingest
from winnow.text import plain_line


@dataclass(frozen=True, slots=True)
class Airflow:
    """What Airflow says: the runs of batches that are not through, and which stages are paused."""

    runs: Sequence[Run]
    paused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Report:
    """What a pass found.

    Attributes:
        findings: Everything that is not as it should be.
        announce: Batches by the stage that Airflow is to announce again for them.
        tell: What a person has not been told yet.
        mended: What was mended in the lake, a line each.
    """

    findings: Sequence[Finding]
    announce: dict[str, list[str]] = field(default_factory=dict)
    tell: Sequence[Finding] = ()
    mended: Sequence[str] = ()


def unfinished(lake: Lake, campaign: Campaign) -> list[Facts]:
    """The batches that are not through: those of which Airflow's runs have to be known."""
    memory, _ = read_memory(lake, campaign.name)
    states, _ = read_batches(lake, campaign, memory.through | memory.left)
    return [state for state in states if state.stage is not None]


def reconcile(
    lake: Lake,
    campaign: Campaign,
    airflow: Airflow | None,
    now: datetime,
    vendor: LabelVendor | None = None,
    salt: bytes = b"",
) -> Report:
    """Make one pass. Without `airflow` runs are unknown, so nothing is announced again.

    Raises:
        WinnowError: The ledger, the memory or a version of the dataset cannot be read.
    """
    while True:
        memory, tag = read_memory(lake, campaign.name)
        states, unreadable = read_batches(lake, campaign, memory.through | memory.left)
        damaged = [
            Finding("unreadable", each.key, "", each.cause, command=each.mend)
            for each in unreadable
        ]
        findings = [*damaged, *_of_batches(states, airflow, memory, now)]
        half, finished = _half_published(lake, campaign, memory.finished)
        late = LateLook()
        if vendor is not None:
            late = look_for_late(lake, campaign, memory, vendor, salt, now)
        ended = memory.left | _dropped(lake, campaign.name)
        findings = [f for f in [*findings, *half, *late.findings] if f.key not in ended]
        tell = [f for f in findings if f.is_alarm and _is_due(memory, f, now)]
        after = replace(_after(memory, states, findings, late, now), finished=finished)
        if write_memory(lake, campaign.name, after, tag):
            break
    announce: dict[str, list[str]] = {}
    for finding in findings:
        if finding.mend == "announce":
            before = STAGES[STAGES.index(finding.stage) - 1]
            announce.setdefault(before, []).append(finding.key)
    return Report(findings, announce, tell, _mend_lake(lake, campaign, findings, now))


def start_again(lake: Lake, campaign: str, key: str) -> None:
    """Forget how often the batch was announced again, and that it was to be left alone."""

    def forget(memory: Memory) -> Memory:
        names = {mend_name(key, stage) for stage in STAGES}
        return replace(
            memory,
            mends={name: mended for name, mended in memory.mends.items() if name not in names},
            left=memory.left - {key},
            told={name: at for name, at in memory.told.items() if name.split()[1] != key},
            through=memory.through - {key},
        )

    _change(lake, campaign, forget)


def note_told(lake: Lake, campaign: str, names: Iterable[str], now: datetime) -> None:
    """Remember that a person was told of the findings of these names."""
    told = dict.fromkeys(names, now)
    _change(lake, campaign, lambda memory: replace(memory, told={**memory.told, **told}))


def leave_alone(lake: Lake, campaign: str, key: str) -> None:
    """Neither mend the batch nor tell of it any more."""
    _change(lake, campaign, lambda memory: replace(memory, left=memory.left | {key}))


def _of_batches(
    states: Iterable[Facts], airflow: Airflow | None, memory: Memory, now: datetime
) -> list[Finding]:
    if airflow is not None:
        return find(states, airflow.runs, airflow.paused, memory.mends, now, memory.through)
    begun = [state for state in states if state.stage == "ingest"]
    return find(begun, [], (), memory.mends, now)


def _half_published(lake: Lake, campaign: Campaign, finished: int) -> tuple[list[Finding], int]:
    """Versions that are committed and lack their folder, or the pointer; and up to which none does.

    `finished` is up to which none did at the pass before.
    """
    dataset = campaign.publish.dataset
    last = newest(lake, dataset)
    found: list[Finding] = []
    for number in range(finished + 1, last.number + 1 if last else 1):
        version = read_version(lake, dataset, number)
        if not is_finished(lake, version):
            detail = f"{dataset} {version.name} is committed, its folder or the pointer is missing"
            found.append(
                Finding("half_published", version.name, "publish", detail, mend="finish_version")
            )
        elif not found:
            finished = number
    return found, finished


def _dropped(lake: Lake, campaign: str) -> frozenset[str]:
    """Batches that a person gave up: nothing of theirs is mended, nor told of."""
    return frozenset(e.batch for e in read_ledger(lake, campaign).entries if e.dropped is not None)


def _is_due(memory: Memory, finding: Finding, now: datetime) -> bool:
    at = memory.told.get(finding.name)
    return at is None or now - at >= TELL_AGAIN


def _after(
    memory: Memory,
    states: Iterable[Facts],
    findings: Sequence[Finding],
    late: LateLook,
    now: datetime,
) -> Memory:
    """The memory once the pass has done what it is about to do."""
    waiting = {mend_name(s.key, s.stage) for s in states if s.stage is not None}
    mends = {name: mended for name, mended in memory.mends.items() if name in waiting}
    for finding in findings:
        if finding.mend == "announce":
            name = mend_name(finding.key, finding.stage)
            mends[name] = Mended(mends[name].n + 1 if name in mends else 1, now)
    told = {name: at for name, at in memory.told.items() if now - at < TELL_AGAIN}
    return replace(
        memory,
        mends=mends,
        told=told,
        looked={**memory.looked, **late.looked},
        through=memory.through | {s.key for s in states if s.stage is None},
        closed=memory.closed | late.closed,
    )


def _mend_lake(
    lake: Lake, campaign: Campaign, findings: Iterable[Finding], now: datetime
) -> list[str]:
    """Do what needs no Airflow; a line for each thing done. What fails is tried the next time."""
    mended = []
    for finding in findings:
        if finding.mend not in ("commit_ingest", "finish_version"):
            continue
        try:
            mended.append(_mend(lake, campaign, finding, now))
        except (OSError, WinnowError) as error:
            mended.append(f"{finding.key} is not mended: {plain_line(str(error))}")
    return mended


def _mend(lake: Lake, campaign: Campaign, finding: Finding, now: datetime) -> str:
    if finding.mend == "commit_ingest":
        ingest.run(open_batch(campaign, finding.key, lake, lambda: now))
        return f"{finding.key}: the manifest of ingest is written"
    number = int(finding.key.removeprefix("v"))
    finish(lake, read_version(lake, campaign.publish.dataset, number))
    return f"{campaign.publish.dataset} {finding.key} has its folder and the pointer"


def _change(lake: Lake, campaign: str, change: Callable[[Memory], Memory]) -> None:
    while True:
        memory, tag = read_memory(lake, campaign)
        if write_memory(lake, campaign, change(memory), tag):
            return
