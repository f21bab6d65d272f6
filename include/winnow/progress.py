"""What a batch has done so far, a line a stage, read from its manifests and unfinished work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from winnow.batch import STAGES, Batch, Manifest, done_stages, manifest_path, next_stage, open_batch
from winnow.campaign import Campaign
from winnow.ids import trace_id
from winnow.ingest.ledger import Dropped, Ledger, read_ledger
from winnow.ingest.shapes.told import told_formats
from winnow.label.vendor import LabelVendor
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.damage import Damage, whole
from winnow.operate.facts import facts_of
from winnow.operate.standing import Facts, Mended, Standing, damaged, mend_name, standing_of
from winnow.pace import last_note
from winnow.publish.report.labels import brought_told
from winnow.publish.versions import newest
from winnow.stages import expand, label
from winnow.stages.label.drop import dropped_text
from winnow.stages.select import arms
from winnow.stages.turn import Looks
from winnow.text import plain_rows


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch: a line for each stage that has begun, and where it stands."""

    batch: str
    stages: Mapping[str, str]
    standing: Standing

    def lines(self) -> list[str]:
        """For people: the stages, then what is wrong and the command that mends it."""
        lines = [self.batch, *(f"  {stage:<8} {line}" for stage, line in self.stages.items())]
        standing = self.standing
        if standing.is_trouble:
            lines.append(f"  {standing.level:<8} {standing.cause}")
            if standing.mend:
                lines.append(f"  {'':<8} Do: {standing.mend}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times are ISO 8601."""
        names = ("stage", "level", "cause", "mend", "heading")
        trouble = None
        if self.standing.is_trouble:
            since = self.standing.since
            trouble = {name: getattr(self.standing, name) for name in names}
            trouble |= {"batch": self.batch, "since": since.isoformat() if since else None}
        return {
            "batch": self.batch,
            "stages": dict(self.stages),
            "trouble": trouble,
            "trace": trace_id(self.standing.campaign, self.batch),
        }


def progress_of(
    lake: Lake,
    campaign: Campaign,
    key: str,
    now: datetime,
    *,
    vendor: LabelVendor | None = None,
    ledger: Ledger | None = None,
    mends: Mapping[str, Mended] | None = None,
    looks: Looks | None = None,
) -> Progress:
    """How far a batch is, whatever its state: one that cannot be read says why.

    A published one costs five small reads; what is open is looked into. With `vendor`, it is asked
    how far an open batch is. `ledger` is the campaign's, where it was read before; `mends` says how
    often `reconcile` announced what is open; `looks` are shared by all batches that are read.
    """
    ledger = ledger or read_ledger(lake, campaign.name)
    if key in ledger.damaged:
        return Progress(key, {}, damaged(campaign.name, key, ledger.damaged[key]))
    dropped = ledger.dropped(key)
    read = whole(lambda: _progress(lake, campaign, key, now, vendor, dropped, mends or {}, looks))
    return (
        Progress(key, {}, damaged(campaign.name, key, read.cause))
        if isinstance(read, Damage)
        else read
    )


def _progress(
    lake: Lake,
    campaign: Campaign,
    key: str,
    now: datetime,
    vendor: LabelVendor | None,
    dropped: Dropped | None,
    mends: Mapping[str, Mended],
    looks: Looks | None,
) -> Progress:
    done = done_stages(lake, campaign.name, key)
    if dropped is not None:
        facts = Facts(campaign.name, key, {}, dropped=dropped_text(key, dropped))
        return Progress(key, _lines(done), standing_of(facts, now))
    facts, begun = facts_of(lake, campaign, key, done, looks), None
    if facts.stage is not None:
        begun = _begun(open_batch(campaign, key, lake, lambda: now), facts.stage, vendor)
    mended = mends.get(mend_name(key, facts.stage or ""))
    lines = _lines(done, facts.stage, begun)
    return Progress(key, lines, standing_of(facts, now, mended=mended))


def progress(batch: Batch, vendor: LabelVendor | None = None) -> dict[str, str]:
    """A line for each stage that has begun, in order; with `vendor`, how many tasks it answered."""
    done = done_stages(batch.lake, batch.campaign.name, batch.key)
    stage = next_stage(done)
    return _lines(done, stage, _begun(batch, stage, vendor) if stage else None)


def _lines(
    done: Mapping[str, Manifest], stage: str | None = None, begun: str | None = None
) -> dict[str, str]:
    lines = {name: _done(manifest) for name, manifest in done.items()}
    return {**lines, stage: begun} if stage and begun else lines


def summary(batch: Batch) -> str:
    """What a published batch made, what it cost, and where it lies."""
    ingest, expand, select, label, publish = (batch.require(stage) for stage in STAGES)
    rows: dict[str, str | list[str]] = {
        "prompts": f"{ingest.counts['rows_out']}, "
        f"and {ingest.counts['quarantined']} rows in quarantine",
        "pool": f"{expand.counts['responses']} distinct responses of {expand.counts['sampled']} "
        f"{_how(expand)}{_taken_over(expand)}",
        "pool audit": expand.figures["audit_told"],
        "pairs scored": f"{select.counts['pairs_scored']}",
        "chosen by": _chosen_by(select),
        "pairs bought": _bought(select, label),
        "cost": f"${label.cost / MICROS:.2f}, {_charged(batch, label)}",
        "agreement": _agreement(label.figures),
        "gold": _gold(label.figures),
        "personal data": _pii(label.figures["pii"], batch.campaign.label.pii),
        "posterior": [
            f"{publish.figures['posterior_labels']} votes, for the next batch",
            *filter(None, [brought_told(publish.figures.get("brought_labels"))]),
        ],
        "selection": publish.figures["gate"]["reason"],
        "choosing": arms.lines(publish.figures.get(arms.NAME, {})),
        "dataset": f"{batch.campaign.publish.dataset} {publish.figures['version']}, "
        f"{publish.figures['reward_rows']} preferences, gate: {publish.figures['verdict']}",
        "folder": f"{batch.lake.uri}/{publish.figures['folder']}",
    }
    return plain_rows(
        f"  {name if n == 0 else '':<13} {line}"
        for name, lines in rows.items()
        for n, line in enumerate([lines] if isinstance(lines, str) else lines)
    )


def _chosen_by(select: Manifest) -> list[str]:
    drawn = f"{select.figures['strategy']}, {select.counts['exploration']} drawn uniformly"
    reasons = [select.figures["fallback"], brought_told(select.figures.get("brought_labels"))]
    if select.figures["unmet_floors"]:
        reasons.append(f"Floors not met: {', '.join(select.figures['unmet_floors'])}.")
    return [drawn, *filter(None, reasons)]


def _bought(select: Manifest, label: Manifest) -> str:
    counts = label.counts
    extra = {"follow-up": counts["follow_ups"], "gold": counts["gold"]}
    beside = "".join(f", {n} {name}" for name, n in extra.items() if n)
    taken = counts.get("taken_over", 0)
    tasks = counts["tasks"] - taken
    bought = f"{select.counts['comparisons']} as {tasks} tasks{beside}; "
    bought += f"{tasks - counts['unanswered']} answered"
    return f"{bought}, {taken} votes taken over" if taken else bought


def _charged(batch: Batch, label: Manifest) -> str:
    """Who charged it, each for how much where there are several."""
    told = label.figures.get("sources") or {}
    if not told:
        return f"charged by the {batch.campaign.label.vendor}"
    return ", ".join(
        f"{name} ${each['charged'] / MICROS:.2f} for {each['answered']} answers"
        for name, each in told.items()
    )


def _figure(manifest: Manifest, name: str, words: str) -> str:
    """A figure behind its words, where the stage has it."""
    value = manifest.figures.get(name)
    return f", {words} {value}" if value else ""


def _taken_over(manifest: Manifest) -> str:
    return _figure(manifest, "pools_from", "taken over from")


def _gold(figures: Mapping[str, Any]) -> str:
    if not figures["n_gold"]:
        return "not measured: no task with a known answer was asked"
    right = round(figures["gold_accuracy"] * figures["n_gold"])
    return f"{right} of {figures['n_gold']} answers to tasks with a known answer are right"


def _pii(found: Mapping[str, int], policy: str) -> str:
    counts = ", ".join(f"{n} {kind}" for kind, n in sorted(found.items()) if n)
    done = {
        "scrub": "scrubbed before the vendor saw it",
        "block": "kept back with its pairs",
        "send": "sent, as the campaign says",
    }[policy]
    return f"{counts}, {done}" if counts else "none found"


def _agreement(figures: Mapping[str, Any]) -> str:
    if figures["agreement"] is None:
        return "not measured: no pair has two votes for a side"
    interval = f"{figures['agreement_low']:.2f}-{figures['agreement_high']:.2f}"
    people = "" if figures.get("n_annotators", 0) is not None else " by unknown annotators"
    measured_on = f"{figures['n_agreement']} pairs judged twice{people}"
    return f"{figures['agreement']:.2f} on {measured_on} (95 % interval {interval})"


def _done(manifest: Manifest) -> str:
    counts = manifest.counts
    n_taken = counts.get("taken_over", 0)
    taken = f"{n_taken} of them taken over, " if n_taken else ""
    lines = {
        "ingest": f"{counts['rows_out']} prompts{_brought(counts)}{_taken_over(manifest)}"
        f"{_formats(manifest)}{_figure(manifest, 'passed_over', 'passed over:')}",
        "expand": f"{counts.get('responses')} responses{_taken_over(manifest)}{_warned(manifest)}"
        f"{_brought_labels(manifest)}",
        "select": f"{counts.get('comparisons')} pairs of {counts.get('pairs_scored')} "
        f"by {manifest.figures.get('strategy')}",
        "label": f"{counts.get('annotations')} annotations, {taken}${manifest.cost / MICROS:.2f}",
        "publish": f"{manifest.figures.get('version')}, gate: {manifest.figures.get('verdict')}"
        f"{_selection_gate(manifest)}{_arms(manifest)}",
    }[manifest.stage]
    kept = f", {counts['quarantined']} in quarantine" if counts["quarantined"] else ""
    unmet = ", ".join(manifest.figures.get("unmet_floors", []))
    return f"done: {lines}{kept}{f', floors not met: {unmet}' if unmet else ''}"


def _how(expand: Manifest) -> str:
    """By what the responses came."""
    by = expand.figures["engine"]
    return "brought" if expand.figures.get("brought") else f"sampled, by {by}"


def _brought(counts: Mapping[str, int]) -> str:
    if "brought" not in counts:
        return ""
    brought, scored = counts["brought"], counts.get("scored")
    told = "" if scored in (None, brought) else f", {scored} of them with a score"
    return f" with {brought} responses{told}"


def _brought_labels(manifest: Manifest) -> str:
    """Labels that were brought, and the rows of the files that the batch was the first to read."""
    about, counts = manifest.figures.get("brought_labels"), manifest.counts
    if not isinstance(about, Mapping) or "label_rows_in" not in counts:
        return ""
    n_read, kept = counts["label_rows_in"], counts["label_rows_out"]
    rows = f", {n_read} rows read, {n_read - kept} of them in quarantine" if n_read else ""
    left = f", left out: {', '.join(about['left_out'])}" if about["left_out"] else ""
    line = told_formats(about)
    return f", {counts['brought_labels']} votes brought{rows}{f' ({line})' if line else ''}{left}"


def _formats(manifest: Manifest) -> str:
    line = told_formats(manifest.figures)
    return f", {line}" if line else ""


def _selection_gate(manifest: Manifest) -> str:
    """Whether the model may choose the next batch's pairs, where a publish manifest tells it."""
    judged = manifest.figures.get("gate")
    return f", selection gate: {judged['state']}" if isinstance(judged, Mapping) else ""


def _arms(manifest: Manifest) -> str:
    """What a vote was expected to teach, chosen and drawn, where a model chose the batch."""
    line = arms.short_line(manifest.figures.get(arms.NAME, {}))
    return f", {line}" if line else ""


def _warned(manifest: Manifest) -> str:
    """How many figures of the pool audit are beyond their limits."""
    n = len(manifest.figures.get("audit", {}).get("warnings", []))
    return f", the pool audit warns of {n}" if n else ""


def _begun(batch: Batch, stage: str, vendor: LabelVendor | None) -> str | None:
    if stage == "expand":
        return expand.progress(batch)
    if stage == "select":
        return last_note(batch.lake, batch.folder, stage)
    if stage == "label":
        return label.progress(batch, vendor)
    if stage == "publish":
        return _published(batch)
    return None


def _published(batch: Batch) -> str | None:
    """Which version has the batch, although its last manifest is not there."""
    version = newest(batch.lake, batch.campaign.publish.dataset)
    if version is None or batch.key not in version.batches:
        return None
    path = manifest_path(batch.campaign.name, batch.key, "publish")
    return f"in {version.name}; {path} is not there yet: publish_dataset writes it last"
