"""One pass: look at everything, write down what will be done, do what the lake alone allows.

What Airflow has to do is handed back: which stages to announce again for which batches, and what a
person is to be told. A pass may be killed at any instruction and run again.

A batch that is through is asked about every few hours, for a month: answers that came after it was
collected are brought into the lake and told of once, for they are paid for and in no dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from winnow.batch import STAGES, Batch, open_batch, read_manifest
from winnow.campaign import Campaign
from winnow.errors import Blocked, Corrupt, Retryable, WinnowError
from winnow.ingest.ledger import read_ledger
from winnow.label.vendor import LabelVendor
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.alarms import HEADING_OF, Alarm, alarm_kind, cause_of
from winnow.operate.damage import Damage, whole
from winnow.operate.facts import read_batches
from winnow.operate.memory import Looked, Memory, read_memory, write_memory
from winnow.operate.reconcile.findings import TELL_AGAIN, Finding, find
from winnow.operate.standing import Facts, Mended, Run, mend_name
from winnow.publish.versions import finish, is_finished, newest_number, read_version
from winnow.runbook import DEADLINE_HEADING, STUCK_HEADING, TWINS_HEADING
from winnow.stages import ingest
from winnow.stages.label import late
from winnow.text import plain_line, plain_rows

LOOK_FOR = timedelta(days=30)
"""How long after it was collected a batch is asked about."""
LOOK_EVERY = timedelta(hours=6)


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


@dataclass(slots=True)
class _LateLook:
    """What looks at the vendor found and saw, and which batches need no further look."""

    findings: list[Finding] = field(default_factory=list)
    looked: dict[str, Looked] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)


def unfinished(lake: Lake, campaign: Campaign) -> list[Facts]:
    """The batches that are not through: those of which Airflow's runs have to be known."""
    memory, _ = read_memory(lake, campaign.name)
    batches, _ = read_batches(lake, campaign, memory.through | memory.left)
    return [batch for batch in batches if batch.stage is not None]


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
        batches, damaged = read_batches(lake, campaign, memory.through | memory.left)
        findings = [Finding("unreadable", d.key, "", d.cause, command=d.mend) for d in damaged]
        if airflow is not None:
            runs, paused = airflow.runs, airflow.paused
            findings += find(batches, runs, paused, memory.mends, now, memory.through)
        else:
            begun = [batch for batch in batches if batch.stage == "ingest"]
            findings += find(begun, [], (), memory.mends, now)
        half, finished = _half_published(lake, campaign, memory.finished)
        looks = _LateLook()
        if vendor is not None:
            _look_for_late(lake, campaign, memory, vendor, salt, now, looks)
        # Of what a person gave up nothing is mended, nor told.
        ended = memory.left | read_ledger(lake, campaign.name).given_up.keys()
        findings = [f for f in [*findings, *half, *looks.findings] if f.key not in ended]
        after = replace(_after(memory, batches, findings, looks, now), finished=finished)
        if write_memory(lake, campaign.name, after, tag):
            break
    announce: dict[str, list[str]] = {}
    for finding in findings:
        if finding.mend == "announce":
            before = STAGES[STAGES.index(finding.stage) - 1]
            announce.setdefault(before, []).append(finding.key)
    last = {f.name: memory.told.get(f.name) for f in findings if f.is_alarm}
    due = {name for name, at in last.items() if at is None or now - at >= TELL_AGAIN}
    tell = [finding for finding in findings if finding.is_alarm and finding.name in due]
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
    times = dict.fromkeys(names, now)
    _change(lake, campaign, lambda memory: replace(memory, told={**memory.told, **times}))


def leave_alone(lake: Lake, campaign: str, key: str) -> None:
    """Neither mend the batch nor tell of it any more."""
    _change(lake, campaign, lambda memory: replace(memory, left=memory.left | {key}))


def alarm_of(campaign: str, finding: Finding, now: datetime) -> Alarm | None:
    """The finding as an alarm, another one each day; None where its task has told it already."""
    if finding.kind == "failed":
        return None
    heading = {
        "unreadable": HEADING_OF[Corrupt],
        "late_answers": DEADLINE_HEADING,
        "twin_runs": TWINS_HEADING,
    }.get(finding.kind, STUCK_HEADING)
    kind = alarm_kind(f"reconcile-{finding.kind}-{finding.stage}-{now:%Y-%m-%d}")
    cause = cause_of(Blocked(finding.detail))
    return Alarm(campaign, finding.key, kind, heading, cause, finding.command)


def alarm_text(findings: Sequence[Finding]) -> str:
    """One message over all of them: what it is, and the command that mends it."""
    n = len(findings)
    lines = ["1 thing needs a person:" if n == 1 else f"{n} things need a person:"]
    for finding in findings:
        lines += [f"- {finding.sentence}", f"    {finding.command}"]
    return plain_rows(lines)


def report_text(report: Report) -> str:
    """Everything a pass found, a line each, and what was done."""
    lines = []
    for finding in report.findings:
        if finding.mend is not None:
            done = "announced again" if finding.mend == "announce" else "mended"
            lines.append(f"{finding.sentence}; {done}")
        elif finding.command:
            lines += [finding.sentence, f"    {finding.command}"]
        else:
            lines.append(f"{finding.sentence}; left alone")
    return plain_rows([*lines, *report.mended]) or "Nothing is lost."


def _half_published(lake: Lake, campaign: Campaign, finished: int) -> tuple[list[Finding], int]:
    """Versions that are committed and lack their folder, or the pointer; and up to which none does.

    `finished` is up to which none did at the pass before.
    """
    dataset = campaign.publish.dataset
    findings: list[Finding] = []
    for number in range(finished + 1, newest_number(lake, dataset) + 1):
        version = read_version(lake, dataset, number)
        if not is_finished(lake, version):
            detail = f"{dataset} {version.name} is committed, its folder or the pointer is missing"
            half = Finding("half_published", version.name, "publish", detail, "finish_version")
            findings.append(half)
        elif not findings:
            finished = number
    return findings, finished


def _look_for_late(
    lake: Lake,
    campaign: Campaign,
    memory: Memory,
    vendor: LabelVendor,
    salt: bytes,
    now: datetime,
    looks: _LateLook,
) -> None:
    """Ask the vendor about every batch that is due."""
    for key in sorted(memory.through - memory.closed):
        before = memory.looked.get(key)
        if before is not None and now - before.at < LOOK_EVERY:
            continue
        manifest = whole(partial(read_manifest, lake, campaign.name, key, "label"))
        if isinstance(manifest, Damage):
            continue  # told of where the batch is read
        if manifest is None or now - datetime.fromisoformat(manifest.committed_at) > LOOK_FOR:
            looks.closed.add(key)
            continue
        batch = whole(partial(open_batch, campaign, key, lake, lambda: now))
        if isinstance(batch, Damage):
            looks.findings.append(_cannot_ask(key, Corrupt(batch.cause)))
            continue
        if batch.campaign.label.vendor != vendor.name:
            continue
        try:
            _look(batch, vendor, salt, before, now, looks)
        except Retryable:
            return
        except WinnowError as error:
            looks.findings.append(_cannot_ask(key, error))
            looks.looked[key] = replace(before or Looked(0, 0, now), at=now)


def _look(
    batch: Batch,
    vendor: LabelVendor,
    salt: bytes,
    before: Looked | None,
    now: datetime,
    looks: _LateLook,
) -> None:
    bill, collected = late.bill_of(batch, vendor), late.collected_bill(batch)
    if bill.n_answered > collected.n_answered or bill.charged > collected.charged:
        # Some vendors count what went to quarantine, for ever: one look at an equal bill is enough.
        if before is None or (before.n_answered, before.charged) != (bill.n_answered, bill.charged):
            late.keep_late(batch, vendor, salt)
        n_late, over = len(late.late_answers(batch, vendor)), bill.charged - collected.charged
        if n_late or over > 0:
            detail = (
                f"{n_late} answers came after it was collected, ${over / MICROS:.2f} charged for "
                "what is in no dataset; they are kept in the lake"
            )
            command = f"winnow late --campaign {batch.campaign.name} --batch {batch.key}"
            came = Finding("late_answers", batch.key, "label", detail, command=command)
            looks.findings.append(came)
    looks.looked[batch.key] = Looked(bill.n_answered, bill.charged, now)


def _cannot_ask(key: str, error: WinnowError) -> Finding:
    detail = f"the vendor cannot be asked about it: {plain_line(str(error))}"
    command = "check label.connection: address and token"
    return Finding("unreadable", key, "label", detail, command=command)


def _after(
    memory: Memory,
    batches: Iterable[Facts],
    findings: Sequence[Finding],
    looks: _LateLook,
    now: datetime,
) -> Memory:
    """The memory once the pass has done what it is about to do."""
    waiting = {mend_name(b.key, b.stage) for b in batches if b.stage is not None}
    mends = {name: mended for name, mended in memory.mends.items() if name in waiting}
    for finding in findings:
        if finding.mend == "announce":
            name = mend_name(finding.key, finding.stage)
            mends[name] = Mended(mends[name].n + 1 if name in mends else 1, now)
    return replace(
        memory,
        mends=mends,
        told={name: at for name, at in memory.told.items() if now - at < TELL_AGAIN},
        looked={**memory.looked, **looks.looked},
        through=memory.through | {batch.key for batch in batches if batch.stage is None},
        closed=memory.closed | looks.closed,
    )


def _mend_lake(
    lake: Lake, campaign: Campaign, findings: Iterable[Finding], now: datetime
) -> list[str]:
    """Do what needs no Airflow; a line for each thing done. What fails is tried the next time."""
    mended, dataset = [], campaign.publish.dataset
    for finding in findings:
        key = finding.key
        try:
            if finding.mend == "commit_ingest":
                ingest.run(open_batch(campaign, key, lake, lambda: now))
                mended.append(f"{key}: the manifest of ingest is written")
            elif finding.mend == "finish_version":
                finish(lake, read_version(lake, dataset, int(key.removeprefix("v"))))
                mended.append(f"{dataset} {key} has its folder and the pointer")
        except (OSError, WinnowError) as error:
            mended.append(f"{key} is not mended: {plain_line(str(error))}")
    return mended


def _change(lake: Lake, campaign: str, change: Callable[[Memory], Memory]) -> None:
    while True:
        memory, tag = read_memory(lake, campaign)
        if write_memory(lake, campaign, change(memory), tag):
            return
