"""Publish: hold the labels against the gate, publish a version, refit the posterior.

Three steps that may each be run again alone. The stage is committed by the last one, when the
version is out and the next batch can learn from it. Then the version is pushed to a hub, where a
campaign names one; nothing waits for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import pyarrow as pa

from winnow.addresses import ServerAddress
from winnow.batch import Artifact, Batch, Manifest, read_artifact, read_table, table_files
from winnow.errors import Blocked
from winnow.label.vendors import kind_of
from winnow.publish import hub
from winnow.publish.card import dataset_card
from winnow.publish.labelled import LISTS, TABLES, Labelled, labelled, pool_tables
from winnow.publish.shards import cut, store_shards
from winnow.publish.versions import newest, publish, read_version, shelf
from winnow.publish.views import dataset_info, left_out
from winnow.stages.expand.brought_labels import LISTED as LABELS
from winnow.stages.gate_input import measured, tables_of
from winnow.stages.label.drop import refuse_dropped
from winnow.stages.publish import quality
from winnow.stages.publish.suites import keep_suites, suites_of
from winnow.stages.select import arms, bake_off, history, reward_model
from winnow.stored import parsed
from winnow.validate.aside import Aside, find_aside, noted, without
from winnow.validate.gate import judge
from winnow.validate.limits import setting_of, suites_way_out
from winnow.validate.verdict import DATA_DOCS, Verdict

STAGE = "publish"


def check(batch: Batch) -> str:
    """Judge the batch's labels and store the verdict; returns where it lies in the lake.

    The rows behind failed checks go to the stage's quarantine, which the verdict names. With
    `row_faults: quarantine` those that would block the batch are set aside, and the rest is judged.

    Raises:
        Fatal: The evaluation prompts or a suite of the team's cannot be read.
    """
    limits = batch.campaign.validation
    suites = suites_of(batch)
    with measured(batch, suites=suites) as figures:
        verdict, broken, docs = judge(figures, limits)
    if limits.row_faults == "quarantine":
        with tables_of(batch) as tables:
            aside, along = find_aside(tables, verdict, broken)
        if aside:
            with measured(batch, aside, suites) as left:
                rest = judge(left, limits)
            verdict, docs = noted(rest.verdict, aside, verdict), rest.docs
            broken = pa.concat_tables([broken, along])
    keep_suites(batch, suites, verdict)
    stored = batch.write_table(STAGE, "quarantine", broken)
    verdict = replace(verdict, quarantine=asdict(stored))
    if docs is not None:
        page = batch.write_bytes(STAGE, DATA_DOCS, "html", docs.encode())
        verdict = replace(verdict, data_docs=asdict(page))
    return batch.write_bytes(STAGE, "verdict", "json", verdict.to_bytes()).path


def version(batch: Batch, verdict_path: str) -> int:
    """Publish the batch as a dataset version, unless the verdict blocks it; returns its number.

    Raises:
        Blocked: A check failed that the campaign makes blocking, each figure and limit is named; or
            the batch was given up.
    """
    verdict_bytes = batch.lake.read(verdict_path)
    verdict = parsed(batch.lake, verdict_path, Verdict.from_bytes, verdict_bytes)
    if verdict.verdict == "block":
        raise Blocked(
            f"Batch {batch.key} is not published. {'; '.join(verdict.reasons())}. To let it pass, "
            "change the limits under `validation` and clear check_labels"
            f"{_way_out(batch, verdict)}; to choose other pairs of the same pools, start another "
            "campaign with `pools_from`."
        )
    refuse_dropped(batch)
    batch.check_whole("label")
    dataset = batch.campaign.publish.dataset
    parent = newest(batch.lake, dataset)
    objects = shelf(batch.lake, dataset, parent)
    with _opened(batch, Aside.of(verdict)) as tables:
        test_share = cut(tables, batch.campaign.publish, parent)
        shards = store_shards(objects, tables, test_share)
        lost = left_out(tables)
        facts = quality.facts_of(batch, tables, asdict(verdict))
    note = kind_of(batch.campaign.label.vendor).note
    published = publish(
        batch.lake,
        dataset,
        batch.key,
        {
            f"quality/{batch.key}.json": objects.put(verdict_bytes, "json"),
            "dataset_info.json": objects.put(dataset_info(dataset), "json"),
            **shards,
        },
        {**_figures(batch, verdict), "test_share": test_share, "left_out": lost},
        lambda new: dataset_card(new, batch.campaign, note),
        batch.clock(),
        report=lambda new: quality.report_of(batch, facts, new, parent),
        paid=partial(quality.paid_with, batch),
        known=parent,
    )
    # Whoever gave the batch up at this very moment may not have seen the version.
    refuse_dropped(batch)
    return published.number


def refit(batch: Batch, number: int) -> Manifest:
    """Refit the posterior on every label up to version `number`, and commit the stage."""
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    published = read_version(batch.lake, batch.campaign.publish.dataset, number)
    fitted = reward_model.refit(batch.lake, batch.campaign, published)
    path = reward_model.store(batch.lake, batch.campaign.name, fitted, number)
    baked = bake_off.run(batch, STAGE, published)
    collected = batch.require("label")
    stored = published.files[f"quality/{batch.key}.json"]
    verdict = Verdict.from_bytes(read_artifact(batch.lake, stored))
    aside = Aside.of(verdict)
    preferences = read_table(batch.lake, collected.outputs["preferences"])
    n_undecided = sum(
        row["preferred"] not in ("first", "second") and aside.leaves(row["pair_id"])
        for row in preferences.select(["preferred", "pair_id"]).to_pylist()
    )
    return batch.commit(
        STAGE,
        inputs=[collected],
        outputs={
            **baked.outputs,
            **(history.outputs_of(batch, fitted.past) if fitted.past else {}),
            # The rows behind failed checks, by the verdict that the version carries.
            **({"quarantine": Artifact(**verdict.quarantine)} if verdict.quarantine else {}),
            **({DATA_DOCS: Artifact(**verdict.data_docs)} if verdict.data_docs else {}),
        },
        counts={
            "rows_in": preferences.num_rows,
            # What lies in the version's files, not what is left of the rows that came in.
            "rows_out": published.n_new_rows("reward") + n_undecided,
            "quarantined": aside.n_rows.get("preferences", 0),
        },
        cost=collected.cost,
        figures={
            "version": published.name,
            "digest": published.digest,
            "folder": published.folder,
            "verdict": published.figures["verdict"],
            "reward_rows": published.n_rows("reward"),
            "dpo_rows": published.n_rows("dpo"),
            "posterior": path,
            "posterior_labels": sum(head.n_labels for head in fitted.model.heads.values()),
            "annotators_guessing": fitted.guessing,
            "listens_to": fitted.listens_to,
            "drift": fitted.drift,
            **({"judges": fitted.judges} if fitted.judges else {}),
            **({LABELS: fitted.brought} if fitted.brought else {}),
            **({"people_alone": fitted.people_alone} if fitted.people_alone else {}),
            **fitted.trust.figures(),
            **baked.figures,
            arms.NAME: arms.figures(batch, aside.pairs),
        },
    )


def push(batch: Batch, number: int, address: ServerAddress | None) -> str | None:
    """Push version `number` to the campaign's hub; its commit there, None where none is made.

    Raises as `winnow.publish.hub.push`.
    """
    settings = batch.campaign.publish
    if settings.hub is None or address is None:
        return None
    published = read_version(batch.lake, settings.dataset, number)
    pushed = hub.push(batch.lake, published, settings.hub, address, batch.clock())
    return pushed.commit if pushed else None


def _way_out(batch: Batch, verdict: Verdict) -> str:
    """What to do about rows and suites that no limit lets pass; nothing where there are none."""
    blocking = [c for c in verdict.failed() if c.severity == "block" or c.outcome == "error"]
    suites = suites_way_out(blocking)
    told = f"; {suites}" if suites else ""
    own = [c for c in blocking if c.outcome == "fail" and not c.suite]
    if all(setting_of(check.name, "block") for check in own):
        return told
    name = batch.campaign.name
    drop = f'`winnow drop {batch.key} --campaign {name} --reason "..."` gives the batch up'
    if batch.campaign.validation.row_faults == "quarantine":
        return f"{told}; what is faulty still can be set aside no further: {drop}"
    return (
        f"{told}. Rows that break a rule have no limit: `winnow quarantine --campaign {name} "
        f"--batch {batch.key}` shows them; `row_faults: quarantine` under `validation` publishes "
        f"the batch without them and the votes on their pairs, or {drop}"
    )


@contextmanager
def _opened(batch: Batch, aside: Aside) -> Iterator[Labelled]:
    stored = {table: batch.require(stage).outputs[table] for table, stage in TABLES.items()}
    outputs = batch.require("label").outputs
    stored |= {LISTS: outputs[LISTS]} if LISTS in outputs else {}
    stored |= pool_tables(*(batch.require(stage).outputs for stage in ("expand", "select")))
    with (
        table_files(batch.lake, stored) as whole,
        without(whole, aside) as files,
        labelled(batch.key, files) as tables,
    ):
        yield tables


def _figures(batch: Batch, verdict: Verdict) -> dict[str, Any]:
    """What the card and the manifest tell of this batch, each figure measured on it."""
    ingest, expand, select, label = (
        batch.require(s) for s in ("ingest", "expand", "select", "label")
    )
    aside, rest = Aside.of(verdict), {}
    if aside:
        # Figures of the labels without what is set aside, and how many pairs that is.
        rest = {name: verdict.figures[name] for name in label.figures if name in verdict.figures}
        rest["pairs_set_aside"] = len(aside.pairs)
    brought = {}
    if expand.counts.get(LABELS):
        about = {"votes": expand.counts[LABELS], "license": expand.figures[LABELS]["license"]}
        brought = {LABELS: about}
    return {
        "verdict": verdict.verdict,
        "prompts": ingest.counts["rows_out"],
        "prompts_quarantined": ingest.counts["quarantined"],
        "responses": expand.counts["responses"],
        "pairs_scored": select.counts["pairs_scored"],
        "comparisons": select.counts["comparisons"],
        "strategy": select.figures["strategy"],
        "exploration": select.counts["exploration"],
        "unmet_floors": ", ".join(select.figures["unmet_floors"]) or "none",
        "mean_info_gain": select.figures["mean_info_gain"],
        **label.figures,
        **rest,
        **brought,
        "cost": label.cost,
    }
