"""The quality report tells what was measured and nothing else, and no text in it acts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.ids import digest
from winnow.lake import FolderLake
from winnow.publish.labelled import Labelled
from winnow.publish.report import figures, quality_report
from winnow.publish.report.shares import largest_shifts, traits
from winnow.publish.versions import REPORT, Card, Version, publish

from ...batch_rows import BatchRows
from ...sampling import examples
from .report_world import (
    FIRST,
    annotation,
    facts,
    labelled,
    preference,
    response,
    second,
    version,
)

HOSTILE = (
    "</style></title></blockquote><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\u202e\"'&<svg/onload=alert(1)>javascript:alert(1)\x00\u2028"
)
VOID = {"meta", "img", "br", "hr", "input", "link", "base"}


class Outline(HTMLParser):
    """Every element, attribute and text of a page, and whether the elements are nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said: list[str] = []
        self.open: list[str] = []
        self.nested = True
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.nested &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def of(batch: BatchRows, figure: Callable[[Labelled], Any]) -> Any:
    """A figure of a batch."""
    with batch.opened() as found:
        return figure(found)


def words(page: str) -> str:
    """What a reader sees, on one line."""
    return " ".join(" ".join(Outline(page).said).split())


def report(batch: Any = None, **told: Any) -> str:
    return quality_report(version(), facts(batch or labelled(), **told), FIRST)


def test_it_is_one_page_of_sound_markup_that_loads_nothing_and_allows_nothing() -> None:
    for page in (report(), report(bare=True), quality_report(*second())):
        outline = Outline(page)
        assert outline.nested and not outline.open
        assert not {"script", "link", "img", "iframe", "form", "object"} & set(outline.elements)
        names = {name for name, _ in outline.attributes}
        assert not {"style", "src"} & names
        assert all(value.startswith("#") for name, value in outline.attributes if name == "href")
        policy = next(v for _, v in outline.attributes if v and v.startswith("default-src"))
        assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_policy_allows_the_page_s_own_style() -> None:
    import base64
    import hashlib

    page = report()
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page


@pytest.mark.parametrize("where", ["text", "languages"])
def test_hostile_text_stays_text(where: str) -> None:
    plain, hostile = report(), ""
    if where == "text":
        hostile = report(labelled(text=HOSTILE), text=HOSTILE)
    else:
        hostile = report(labelled(languages=HOSTILE.replace(" ", "")))
    outline = Outline(hostile)
    assert outline.nested
    assert set(outline.elements) == set(Outline(plain).elements)
    assert not [n for n, _ in outline.attributes if n.startswith("on")]
    assert "\u202e" not in hostile and "\x00" not in hostile
    assert "<script>alert(1)" in words(hostile)


@pytest.fixture(scope="module")
def usual() -> Outline:
    return Outline(quality_report(*second("words")))


@pytest.mark.sampled
@settings(max_examples=examples(30), deadline=None)
@given(text=st.text(max_size=60))
def test_no_text_adds_an_element_or_an_attribute(usual: Outline, text: str) -> None:
    ours, theirs = usual, Outline(quality_report(*second(text)))
    assert theirs.nested
    assert set(theirs.elements) - {"em"} <= set(ours.elements)
    assert {n for n, _ in theirs.attributes} == {n for n, _ in ours.attributes}


def test_long_texts_are_cut_and_say_so() -> None:
    page = report(labelled(text="x" * 100_000))
    assert len(page) < 100_000
    assert "more characters" in page


def test_the_same_batch_gives_the_same_bytes() -> None:
    batch = labelled()
    turned = replace(
        batch,
        responses=dict(reversed(batch.responses.items())),
        comparisons=dict(reversed(batch.comparisons.items())),
        preferences=batch.preferences[::-1],
        annotations=batch.annotations[::-1],
    )
    assert report(batch) == report(labelled()) == report(turned)
    later = replace(version(), published_at="2030-01-01T00:00:00+00:00")
    assert quality_report(later, facts(batch), FIRST) == report(batch)


def test_what_was_not_measured_says_so_and_is_no_number() -> None:
    told = words(report(bare=True))
    assert "not measured pairs of not measured were put before annotators" in told
    assert "Annotators: not measured." in told
    assert "Audit of the pools: not measured." in told
    assert "Not measured in this batch: agreement, alpha, gold accuracy" in told


def test_the_figures_of_the_batch_are_in_it() -> None:
    told = words(report())
    assert "40 pairs of 240 were put before annotators for $4.00, and 30 became preferences" in told
    assert "The gate warns: tie rate : 0.6 , limit <= 0.5" in told
    assert "every pair of 4 responses 6.0 $0.60 computed" in told
    assert "this batch, as bought 1.0 $0.10 measured" in told
    assert "duplicate 5 3 not met" in told
    assert "On 20 votes on pairs drawn uniformly" in told


def test_what_only_judges_were_asked_makes_no_pair_of_peoples_cheaper() -> None:
    batch = facts(labelled())
    asked = {"tasks": 20, "answered": 20, "charged": 3_000_000}
    select, label = batch.manifests["select"], batch.manifests["label"]
    several = {
        **batch.manifests,
        "select": replace(select, counts={**select.counts, "asked_people": 20}),
        "label": replace(label, figures={**label.figures, "sources": {"people": asked}}),
    }
    page = quality_report(version(), replace(batch, manifests=several), FIRST)
    told = words(page)
    assert "this batch, as bought 1.0 $0.10 measured" in told
    assert "every pair of 4 responses 6.0 $0.90 computed" in told


def test_files_are_named_without_the_folders_they_lay_in() -> None:
    page = report()
    assert "a.jsonl:6" in page
    assert "/home/me" not in page


def test_a_later_version_tells_totals_and_what_changed() -> None:
    told = words(quality_report(*second()))
    assert "v000002 adds batch d2 to v000001" in told
    assert "rows of reward 30 60" in told
    assert "agreement 60.0 % 70.0 %" in told
    assert "paid for all batches $8.00" in told
    assert "and 30 became preferences" in told


def test_calibration_is_of_exploration_pairs_alone() -> None:
    batch = labelled(80)
    found = of(batch, figures.calibration)
    assert found is not None
    assert sum(each.n for each in found.bins) == 40
    chosen = {k: {**p, "kind": "selected"} for k, p in batch.comparisons.items()}
    assert of(replace(batch, comparisons=chosen), figures.calibration) is None


def test_a_withdrawn_vote_calibrates_nothing() -> None:
    batch = labelled(80)
    withdrawn = [
        {**row, "revision": 1, "status": "retracted"} for row in batch.annotations[: 2 * 10]
    ]
    found = of(replace(batch, annotations=[*batch.annotations, *withdrawn]), figures.calibration)
    assert found is not None
    assert sum(each.n for each in found.bins) == 30


def test_gain_by_rank_keeps_the_arms_apart() -> None:
    ranks = of(labelled(6), figures.gain_by_rank)
    assert [(r.rank, r.kind, r.n) for r in ranks] == [
        (0, "exploration", 1),
        (0, "selected", 1),
        (1, "exploration", 1),
        (1, "selected", 1),
        (2, "exploration", 1),
        (2, "selected", 1),
    ]
    assert ranks[0].mean == pytest.approx(0.3)


def test_the_longer_response_is_counted_where_lengths_differ() -> None:
    batch = labelled(2)
    pairs = list(batch.comparisons.values())
    batch = replace(
        batch, preferences=[preference(pairs[0], "second"), preference(pairs[1], "tie")]
    )
    assert of(batch, figures.longer_wins) == figures.LongerWins(1, 1)
    alike = {**batch.responses, "q000r0": batch.responses["q000r1"]}
    assert of(replace(batch, responses=alike), figures.longer_wins) is None


def test_a_share_that_moves_is_marked_and_one_that_stays_is_not() -> None:
    batch = labelled(100)
    rows = {trait.name: trait for trait in of(batch, traits)}
    assert rows["language en"].bought.shift == ""
    assert (rows["truncated"].pool.share, rows["truncated"].bought.share) == (0.25, 0.0)
    assert rows["truncated"].bought.shift == "down"
    refusing = {
        name: response(row["prompt_id"], row["message"], ["refusal"] if name[-1] in "01" else [])
        for name, row in batch.responses.items()
    }
    moved = {t.name: t for t in of(replace(batch, responses=refusing), traits)}
    assert moved["refusal"].bought.shift == "up"
    assert "▼ fewer" in report(batch)


def speaking(batch: BatchRows, of: str, numbers: str, every: int = 1) -> BatchRows:
    """The batch with responses of these numbers, to every so many prompts, speaking of something.

    Of each pair the response of number 0 is chosen.
    """
    responses = {
        name: {**row, "flags": [f"content {of}"]}
        if name[-1] in numbers and int(name[1:4]) % every == 0
        else row
        for name, row in batch.responses.items()
    }
    pairs = batch.comparisons.values()
    preferences = [preference(pair, "first") for pair in pairs]
    annotations = [annotation(pair, "first") for pair in pairs]
    return replace(batch, responses=responses, preferences=preferences, annotations=annotations)


def test_what_responses_speak_of_shifts_by_its_own_share() -> None:
    bought = of(speaking(labelled(200), "women", "01", every=10), traits)
    women = next(trait for trait in bought if trait.name == "content women")
    assert (women.pool.share, women.bought.share) == (0.05, 0.1)
    assert (women.bought.shift, women.chosen.shift) == ("up", "")
    moved = largest_shifts(bought)
    assert (moved["content_selection_shift"], moved["content_choice_shift"]) == (1.0, 0.0)
    # In shares of all responses it is little, and no trait of form.
    assert moved["selection_shift"] == 0.25

    chosen = largest_shifts(of(speaking(labelled(200), "blame of men", "02", every=5), traits))
    assert (chosen["content_selection_shift"], chosen["content_choice_shift"]) == (0.0, 1.0)
    assert chosen["choice_shift"] == 0.0
    page = report(speaking(labelled(200), "blame of men", "02", every=5))
    assert "content blame of men 10.0 % (80) 10.0 % (40) 20.0 % (40) ▲ more" in words(page)
    assert largest_shifts(of(labelled(20), traits))["content_choice_shift"] is None


def test_texts_that_speak_to_a_judge_have_a_row_and_a_share_of_the_chosen() -> None:
    clean = of(labelled(20), traits)
    assert next(trait for trait in clean if trait.name == "injection").pool.share == 0.0
    assert largest_shifts(clean)["injected_chosen"] == 0.0
    batch = speaking(labelled(20), "x", "0", every=5)
    injected = {
        name: {**row, "flags": ["injection"] if row["flags"] == ["content x"] else row["flags"]}
        for name, row in batch.responses.items()
    }
    moved = largest_shifts(of(replace(batch, responses=injected), traits))
    assert moved["injected_chosen"] == 0.2
    assert largest_shifts([])["injected_chosen"] is None


def test_few_responses_mark_nothing() -> None:
    assert all(not t.bought.shift and not t.chosen.shift for t in of(labelled(2), traits))


def test_rare_languages_share_a_row() -> None:
    many = " ".join(f"l{i}" for i in range(20))
    rows = [t for t in of(labelled(40, languages=many), traits) if t.name.startswith("language")]
    assert len(rows) == 13
    assert rows[-1].name == "language other"
    assert sum(t.pool.hits for t in rows) == 160


def test_examples_differ_in_kind_and_none_comes_twice() -> None:
    batch = labelled(20)
    pair = list(batch.comparisons.values())[1]
    split = {**preference(pair, "first"), "agreement": 0.5, "votes": 2}
    preferences = [split, *(p for p in batch.preferences if p["pair_id"] != pair["pair_id"])]
    shown = of(replace(batch, preferences=preferences), figures.examples)
    assert [each.why for each in shown] == [
        "Most information expected",
        "Annotators disagreed",
        "No difference seen",
        "The model was most surprised",
    ]
    assert len({each.prompt for each in shown}) == 4


def test_a_batch_without_votes_has_a_report_all_the_same() -> None:
    batch = replace(labelled(), preferences=[], annotations=[])
    told = words(report(batch))
    assert "No pair of this batch has a vote." in told
    assert "no uniformly drawn pair of this batch has a vote" in told


def test_an_exploration_vote_that_was_skipped_is_none() -> None:
    batch = labelled(2)
    pair = batch.comparisons["pq001"]
    skipped = {**annotation(pair, "first"), "preferred": None}
    assert of(replace(batch, annotations=[skipped]), figures.calibration) is None


def test_a_check_with_two_limits_is_one_row_and_those_without_a_fault_are_folded() -> None:
    def check(name: str, severity: str, outcome: str, value: Any, limit: str) -> dict[str, Any]:
        told = {"name": name, "severity": severity, "outcome": outcome}
        return {**told, "value": value, "limit": limit}

    checks = [
        check("sides_differ", "block", "pass", 0, "no row"),
        check("tie_rate", "warn", "fail", 0.6, "<= 0.5"),
        check("tie_rate", "block", "pass", 0.6, "<= 0.9"),
    ]
    told = replace(facts(labelled()), verdict={"verdict": "warn", "checks": checks})
    page = quality_report(version(), told, FIRST)
    assert "tie rate fail 0.600 <= 0.5 <= 0.9" in words(page)
    folded = page[page.index("<details>") : page.index("</details>")]
    assert "1 more checks passed" in folded and "sides differ" in folded
    assert "tie rate" not in folded


def test_a_lone_pair_is_shown_once_for_its_first_reason() -> None:
    batch = labelled(1)
    assert [each.why for each in of(batch, figures.examples)] == ["Most information expected"]


def test_the_report_is_a_file_of_its_own_version_and_never_its_parent_s(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    now = datetime(2026, 11, 23, tzinfo=UTC)

    def put(batch: str, page: Card | None) -> Version:
        return publish(lake, "d", batch, {}, {}, lambda _: "card", now, report=page)

    first = put("d1", lambda new: quality_report(new, facts(labelled()), FIRST))
    stored = lake.read(f"{first.folder}/{REPORT}")
    assert digest(stored) == first.files["quality/report.html"].sha256
    assert "d v000001" in words(stored.decode())
    assert REPORT not in put("d2", None).files


def test_what_was_measured_of_nobody_is_a_line_and_no_column_of_dashes() -> None:
    page = report()
    assert "Not measured of anybody here: agrees, gold right, first side" in words(page)
    listed = page[page.index('aria-label="Annotators"') :].split("</table>")[0]
    assert re.findall(r"<th scope=\"col\">(.*?)</th>", listed) == ["Annotator", "Votes"]
    assert "held against no limit: alpha." in words(page)


def test_one_figure_is_told_and_not_drawn() -> None:
    batch = labelled(1)
    page = report(batch)
    assert "<svg" not in page.split("Annotators</h2>")[0].split("Gain against rank</h2>")[1]
    assert "0.300 nats" in words(page)
    assert "Two votes name one side: 75.0 %." in words(page)


def test_answers_early_and_late_in_a_session_are_told() -> None:
    ends = {"n": 90, "early": 0.9, "n_early": 20, "late": 0.7, "n_late": 20}
    told = {**ends, "change": -0.25, "low": -0.4, "high": -0.1}
    slower = {**ends, "early": 3.0, "late": 2.0, "change": -0.5, "low": -0.7, "high": -0.3}
    sessions = {
        "n_sessions": 12,
        "minutes": 41.3,
        "decline": 0.2,
        "low": 0.1,
        "high": 0.3,
        "changes": [{**told, "measure": "gold"}, {**slower, "measure": "seconds"}],
    }
    before = facts(labelled())
    assert "Within a session" not in words(quality_report(version(), before, FIRST))
    after = replace(before, verdict={**before.verdict, "sessions": sessions})
    said = words(quality_report(version(), after, FIRST))
    assert "12 sessions, half of them longer than 41 min" in said
    assert "fall by 20.0 % (10.0 % to 30.0 %) over a session" in said
    assert "Gold answered right 90.0 % 70.0 % -25.0 % -40.0 % to -10.0 % 90" in said
    assert "Time of an answer 20.1 s 7.4 s -39.3 % -50.3 % to -25.9 % 90" in said
