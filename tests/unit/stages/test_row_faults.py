"""A row that breaks a rule after the money is spent: there is a way out, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

from winnow.errors import Blocked
from winnow.publish.versions import newest, read_version
from winnow.records import ANNOTATIONS, QUARANTINE, to_table
from winnow.stages import label, publish
from winnow.stages.label.set_aside import pairs_set_aside
from winnow.validate.gate import Judgement
from winnow.validate.verdict import BadRow, Check, Verdict

from .conftest import Night

CHECK = "sides_as_asked"


@pytest.fixture
def spoilt(night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch) -> Night:
    """A night whose labels are home, one of them as if its sides had been shown otherwise."""
    made = night()
    collected = label.answers_of

    def one_wrong(*args: Any) -> Any:
        found = collected(*args)
        rows = pq.read_table(found.annotations).to_pylist()
        first = next(row for row in rows if row["kind"] == "comparison")
        first["swapped"] = not first["swapped"]
        pq.write_table(to_table(rows, ANNOTATIONS), found.annotations)
        return found

    monkeypatch.setattr(label, "answers_of", one_wrong)
    monkeypatch.setattr(publish, "judge", judged_in_sql)
    made.choose(made.batch())
    made.buy(made.batch())
    return made


def judged_in_sql(measured: Any, _: Any) -> Judgement:
    """The gate without Great Expectations, which takes seconds: the checks of rows alone."""
    faults = {name: found for name, found in measured.faults.items() if found.n}
    checks = [Check(n, measured.severities[n], "fail", f.n, "no row") for n, f in faults.items()]
    rows = [row for found in faults.values() for row in found.first]
    blocks = any(check.severity == "block" for check in checks)
    return Judgement(
        Verdict("block" if blocks else "pass", checks, dict(measured.figures), bad_rows=rows),
        measured.broken,
    )


def allow(night: Night) -> None:
    limits = night.campaign.validation.model_copy(update={"row_faults": "quarantine"})
    night.campaign = night.campaign.model_copy(update={"validation": limits})


def test_the_message_names_the_ways_out(spoilt: Night) -> None:
    batch = spoilt.batch()
    with pytest.raises(Blocked) as stop:
        publish.version(batch, publish.check(batch))
    for way in (
        CHECK,
        "change the limits under `validation`",
        "`row_faults: quarantine` under `validation`",
        f"`winnow quarantine --campaign {batch.campaign.name} --batch {batch.key}`",
        f"`winnow drop {batch.key} --campaign {batch.campaign.name} --reason",
    ):
        assert way in str(stop.value)


def test_the_rest_is_published_and_every_row_is_counted(spoilt: Night) -> None:
    batch = spoilt.batch()
    with pytest.raises(Blocked):
        publish.version(batch, publish.check(batch))
    allow(spoilt)
    batch = spoilt.batch()
    number = publish.version(batch, publish.check(batch))
    manifest = publish.refit(batch, number)
    preferences = spoilt.rows("label", "preferences")
    counts = manifest.counts
    assert counts["quarantined"] == 1 and counts["rows_in"] == len(preferences)
    assert counts["rows_in"] == counts["rows_out"] + counts["quarantined"]
    version = read_version(spoilt.lake, "small", number)
    [pair] = pairs_set_aside(spoilt.lake, version, batch.key)
    assert version.figures["pairs_set_aside"] == 1 and version.figures["verdict"] == "warn"
    quarantine = spoilt.rows("publish", "quarantine")
    assert quarantine and spoilt.batch().require("publish").outputs["quarantine"].n_rows
    votes = [a for a in spoilt.rows("label", "annotations") if a["pair_id"] == pair]
    told = {row["record_id"] for row in quarantine if row["reason"] == CHECK}
    assert told >= {pair, *(vote["annotation_id"] for vote in votes)}
    assert (
        manifest.figures["posterior_labels"] <= version.figures["n_votes_left"]
        if ("n_votes_left" in version.figures)
        else True
    )
    card = spoilt.lake.read(version.files["README.md"].path).decode()
    assert "pairs_set_aside" in card


def test_what_stays_faulty_names_the_last_way_out(
    spoilt: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = BadRow("columns", "tasks", "price", "the column is missing")
    check = Check("columns", "block", "fail", 1, "no row")
    verdict = Verdict("block", [check], bad_rows=[wrong])
    empty = QUARANTINE.empty_table()
    monkeypatch.setattr(publish, "judge", lambda *_: Judgement(verdict, empty))
    allow(spoilt)
    batch = spoilt.batch()
    with pytest.raises(Blocked, match="can be set aside no further: `winnow drop"):
        publish.version(batch, publish.check(batch))
    assert newest(spoilt.lake, "small") is None
