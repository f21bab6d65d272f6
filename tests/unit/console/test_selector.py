"""The page Selector: every figure of a manifest in its place, and none where there is none."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.batch import Batch, Manifest
from winnow.console import selector
from winnow.console.memory import Memory
from winnow.console.selector.figures import (
    bake_off_of,
    heard_of,
    moved,
    night_of,
    reliability_of,
    verdict,
)
from winnow.console.shell import Site
from winnow.console.stages import Done, parse_done
from winnow.lake import FolderLake
from winnow.publish.rollback import roll_back
from winnow.publish.versions import read_version
from winnow.reward.drift import stored_drift
from winnow.select.bake_off import COMPARED, UNIFORM
from winnow.select.bake_off_tally import (
    Contender,
    Measured,
    Tally,
    as_figures,
    contenders,
    together,
)

from ...console_world import World, campaign

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def figures(night: int) -> dict[str, Any]:
    """What a publish manifest tells after so many nights."""
    state = "undecided" if night < 2 else "closed" if night == 2 else "open"
    loss = None if night < 2 else 0.7 - 0.01 * night
    return {
        "posterior_labels": 100 * night,
        "temperature": 1.25,
        "ece": 0.05,
        "ece_low": 0.021,
        "ece_high": 0.093,
        "reliability": [[40, 0.2, 0.25], [40, 0.8, 0.7]],
        "gate": {
            "state": state,
            "n": 60 * night,
            "log_loss": loss,
            "length_log_loss": None if loss is None else 0.69,
            "margin_ln2": None,
            "margin_length": None,
            "reason": f"The gate is {state} after night {night}.",
        },
        "listens_to": {"style": 0.2, "embedding": 1.25, "score:acme/rm": 0.75},
        "bake_off": baked(),
        "drift": DRIFT,
    }


DRIFT = {
    "pairs": 60,
    "turned": 6,
    "decided": 50,
    "foreseen": 35,
    "older_votes": 12_000,
    "foreseen_by_older": 33,
    "only_model": 5,
    "only_older": 3,
}


def baked(**gains: tuple[float, float, float]) -> dict[str, Any]:
    """The figures of a bake-off as the stage writes them."""
    found = [
        Contender(
            name,
            40.0,
            Measured(0.02, 0.01, 0.03),
            Measured(0.001, 0.0005, 0.0015),
            Measured(*gains.get(name, (None, None, None))),
        )
        for name in COMPARED
    ]
    return as_figures(found, 4, together([]))


class Trusted(World):
    """A world whose publish manifests tell of the selector; `changed` replaces figures."""

    nights = 0
    changed: Mapping[str, Any] = {}

    def commit_publish(
        self, batch: Batch, label: Manifest, version: str, folder: str, rows: int
    ) -> None:
        self.nights += 1
        n = label.counts["rows_out"]
        batch.commit(
            "publish",
            inputs=[label],
            outputs={},
            counts={"rows_in": n, "rows_out": n, "quarantined": 0},
            figures={"folder": folder, **figures(self.nights), **self.changed},
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Trusted:
    """Four nights, and one that is not published."""
    made = Trusted(FolderLake(tmp_path_factory.mktemp("selector")))
    for day in range(20, 24):
        made.make(f"2026-11-{day}")
    made.make("2026-11-24", upto="select")
    return made


def text(page: Any) -> str:
    """What a reader sees of a page."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page.body).split()))


def test_the_state_after_the_last_published_batch_comes_first(world: Trusted, site: Site) -> None:
    page = selector.page(world.lake, world.campaign, {}, site)
    shown = text(page)
    assert "After batch 2026-11-23 : gate open The gate is open after night 4." in shown
    assert "400 labels" in shown and "240 exploration votes" in shown
    assert "0.660 log-loss" in shown and "0.050 calibration error 0.021 to 0.093" in shown
    assert "1.25 temperature" in shown
    assert "The campaign asks for the strategy decision_gain, with 15.0 %" in shown


def test_the_batch_published_last_counts_and_not_the_greatest_key(
    tmp_path: Path, site: Site
) -> None:
    by_hand = campaign(schedule={"cron": None, "key": "text"})
    made = Trusted(FolderLake(tmp_path), by_hand)
    made.make("2026-11-24")
    for night in range(3):
        made.make(f"2026-10-{10 + night}")
    made.make("2026-09-01", upto="label")
    made.publish(made.batch("2026-09-01", 25 + 24 * 85), "")
    for number in range(70):
        made.take(made.batch(f"z{number:03d}|2026-11-24"))
    shown = text(selector.page(made.lake, made.campaign, {}, site))
    assert "After batch 2026-09-01 : gate open The gate is open after night 5." in shown


def test_calibration_is_drawn_with_its_numbers(world: Trusted, site: Site) -> None:
    page = selector.page(world.lake, world.campaign, {}, site)
    assert "On 80 exploration votes" in text(page)
    assert "20.0 % 25.0 % 40 80.0 % 70.0 % 40" in text(page)
    assert "stated 20.0 %, preferred 25.0 %" in page.body


def test_what_the_model_listens_to_is_told_loudest_first(world: Trusted, site: Site) -> None:
    page = selector.page(world.lake, world.campaign, {}, site)
    row = "what it says (embedding) 1.25 score of acme/rm 0.75 length and form 0.20"
    assert row in text(page)
    assert "length and form: 0.20 logits" in page.body


def test_judges_beside_people_are_told(tmp_path: Path, site: Site) -> None:
    made = Trusted(FolderLake(tmp_path))
    told = {"verdicts": 120, "is_heard": True, "evidence": 6.25, "kappa": -0.5, "taste": 0.75}
    alone = {"right": 0.61, "log_loss": 0.655}
    heard = {"right": 0.7, "log_loss": 0.6}
    made.changed = {
        "judges": {"overall": {"small-model": {**told, "taught_nats": 2.5}}},
        "people_alone": {"votes": 40, "heard": heard, "alone": alone},
    }
    made.make("2026-11-24")
    shown = text(selector.page(made.lake, made.campaign, {}, site))
    assert "small-model overall 120 yes 6.25 −0.50 0.75 not measured 2.50" in shown
    assert "foresaw 70.0 % (log loss 0.600)" in shown and "judges 61.0 % (0.655)" in shown


def test_labels_that_were_brought_are_told_with_their_licence(tmp_path: Path, site: Site) -> None:
    made = Trusted(FolderLake(tmp_path))
    made.changed = {
        "brought_labels": {
            "votes": 1200,
            "files": ["s3://labels/2025/a.jsonl", "b.jsonl"],
            "license": "CC-BY-4.0",
            "counts_for": {"overall": 125},
        }
    }
    made.make("2026-11-24")
    shown = text(selector.page(made.lake, made.campaign, {}, site))
    told = "started by 1,200 votes that were brought (a.jsonl, b.jsonl), under CC-BY-4.0. Beside"
    assert f"{told} the campaign's own they count for 125." in shown
    brings = made.campaign.model_dump(mode="json")
    brings |= {"brought_labels": {"sources": ["a"], "license": "MIT"}}
    before = FolderLake(tmp_path / "before")
    shown = text(selector.page(before, type(made.campaign).model_validate(brings), {}, site))
    assert "It starts from labels that are brought, under MIT" in shown


def test_no_judges_no_table(world: Trusted, site: Site) -> None:
    assert "Judges beside people" not in text(selector.page(world.lake, world.campaign, {}, site))


def test_what_the_last_night_changed_is_told_with_what_to_do(world: Trusted, site: Site) -> None:
    shown = text(selector.page(world.lake, world.campaign, {}, site))
    assert "turned the other way round 10.0 % 6 60" in shown
    assert "the model that chose foresaw 70.0 % 35 50" in shown
    assert "12,000 older votes alone would have foreseen 66.0 % 33 50" in shown
    assert "there is nothing to do" in shown and "has moved" not in shown


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({**DRIFT, "only_model": 14}, "What people want has moved: on 14 votes the model"),
        ({**DRIFT, "older_votes": 0}, "Every vote is read one by one"),
        ({}, "no model with labels chose its pairs"),
        ({**DRIFT, "turned": 61}, "no model with labels chose its pairs"),
        ({**DRIFT, "decided": 0, "foreseen": 0}, "no model with labels chose its pairs"),
    ],
)
def test_what_a_night_changed_is_said_in_words(
    tmp_path: Path, site: Site, told: dict[str, Any], words: str
) -> None:
    made = Trusted(FolderLake(tmp_path))
    made.changed = {"drift": told}
    made.make("2026-11-24")
    assert words in text(selector.page(made.lake, made.campaign, {}, site))


def test_nights_are_told_with_when_the_gate_moved(world: Trusted, site: Site) -> None:
    page = selector.page(world.lake, world.campaign, {}, site)
    shown = text(page)
    row = "2026-11-21 decision_gain gate closed 120 0.680 0.690 0.050 0.021 to 0.093 1.25 200"
    assert row in shown
    moved = shown.partition("When the gate moved")[2]
    assert [each in moved for each in ("night 4", "night 3", "night 2", "night 1")] == [
        False,
        True,
        True,
        True,
    ]
    assert page.body.count("2026-11-20, model") == 0 and "2026-11-22, model: 0.670" in page.body


def test_an_undecided_gate_says_what_to_do_and_nothing_is_drawn_of_one_night(
    tmp_path: Path, site: Site
) -> None:
    made = Trusted(FolderLake(tmp_path))
    few = [Contender(name, 3.0, *[Measured(None, None, None)] * 3) for name in COMPARED]
    made.changed = {"bake_off": as_figures(few, 1, together([])), "reliability": [[40, 0.2, 0.25]]}
    made.make("2026-11-23")
    page = selector.page(made.lake, made.campaign, {}, site)
    shown = text(page)
    assert "gate undecided The gate is undecided after night 1." in shown
    assert page.body.count("<svg") == 1, "what the model listens to needs no second night"
    bake_off = shown.partition("Bake-off of the strategies")[2].partition("Night by night")[0]
    assert bake_off.count("ot enough votes") == 2, "a sentence and a line, no table"
    assert f"Not enough votes for any figure of {', '.join(sorted(COMPARED))}." in bake_off
    made.make("2026-11-24")
    again = selector.page(made.lake, made.campaign, {}, replace(site, memory=Memory()))
    assert again.body.count("<svg") == 2, "labels of two nights"


def test_a_night_without_figures_says_not_measured(tmp_path: Path, site: Site) -> None:
    older = World(FolderLake(tmp_path))
    older.make("2026-11-24")
    shown = text(selector.page(older.lake, older.campaign, {}, site))
    assert "Not measured: the last published batch tells of no exploration vote" in shown
    assert "is of a time before the bake-off" in shown
    assert "not measured log-loss" in shown


def test_before_the_first_batch_nothing_is_measured(tmp_path: Path, site: Site) -> None:
    page = selector.page(FolderLake(tmp_path), campaign(), {}, site)
    assert "No batch was published yet" in page.body


def test_a_fallback_says_why(tmp_path: Path, site: Site) -> None:
    class Falling(Trusted):
        def select(self, batch: Batch, text: str) -> None:
            figures = {"strategy": "diversity", "fallback": f"Because {HOSTILE}"}
            batch.commit(
                "select",
                inputs=[],
                outputs={},
                counts={"rows_in": 0, "rows_out": 0, "quarantined": 0, "comparisons": 1},
                figures=figures,
            )

    made = Falling(FolderLake(tmp_path))
    made.make("2026-11-24")
    page = selector.page(made.lake, made.campaign, {}, site)
    assert "fell back. Because <img" in text(page) and "<img" not in page.body


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ""),
        ({"strategy": "random"}, "That strategy reads no model"),
        ({"exploration": 0.0}, "its gate gets no evidence"),
    ],
)
def test_what_a_baseline_or_no_exploration_means_is_said(
    tmp_path: Path, site: Site, settings: dict[str, Any], words: str
) -> None:
    asked = campaign()
    asked = asked.model_copy(update={"select": asked.select.model_copy(update=settings)})
    shown = text(selector.page(FolderLake(tmp_path), asked, {}, site))
    for sentence in ("That strategy reads no model", "its gate gets no evidence"):
        assert (sentence in shown) == (sentence == words)


def test_hostile_figures_are_shown_as_text(tmp_path: Path, site: Site) -> None:
    made = Trusted(FolderLake(tmp_path))
    strategies = [{"strategy": HOSTILE, "prompts": 30.0, "gain": [0.1, 0.0, 0.2]}]
    made.changed = {
        "gate": {"state": HOSTILE, "reason": HOSTILE, "n": HOSTILE, "log_loss": HOSTILE},
        "reliability": [[HOSTILE, 0.1, 0.1]],
        "listens_to": {HOSTILE: 0.5, f"score:{HOSTILE}": 0.1},
        "drift": {**DRIFT, "pairs": HOSTILE},
        "judges": {HOSTILE: {HOSTILE: {"verdicts": HOSTILE, "kappa": HOSTILE}, "x": HOSTILE}},
        "people_alone": {"votes": 1, "heard": HOSTILE, "alone": {"right": HOSTILE}},
        "brought_labels": {
            "votes": 3,
            "files": [HOSTILE],
            "license": HOSTILE,
            "counts_for": {HOSTILE: 1, "x": HOSTILE},
        },
        "temperature": HOSTILE,
        "bake_off": {"batches": HOSTILE, "votes": True, "strategies": strategies},
    }
    made.make("2026-11-24")
    page = selector.page(made.lake, made.campaign, {}, site)
    assert "<img" not in page.body
    assert "\u202e" not in page.body


def test_a_model_that_learnt_nothing_listens_to_nothing(tmp_path: Path, site: Site) -> None:
    """As after a night of ties, by which no weight leaves zero."""
    made = Trusted(FolderLake(tmp_path))
    made.changed = {"listens_to": {"embedding": 0.0, "style": 0.0}}
    made.make("2026-11-24")
    assert "length and form 0.00" in text(selector.page(made.lake, made.campaign, {}, site))


def test_blocks_of_one_kind_are_told_apart() -> None:
    folder = "/models/" + "long/" * 12
    names = ["embedding", "embedding:policy", f"score:{folder}rm-1", f"score:{folder}rm-2"]
    heard = heard_of(done(listens_to=dict.fromkeys(names, 1.0)))
    assert len({each.block for each in heard}) == len(names)
    assert all(len(each.block) < 80 for each in heard)


def test_a_rollback_since_then_is_told(tmp_path: Path, site: Site) -> None:
    made = Trusted(FolderLake(tmp_path))
    made.make("2026-11-23")
    made.make("2026-11-24")
    assert "is a rollback" not in text(selector.page(made.lake, made.campaign, {}, site))
    first = read_version(made.lake, "nightly", 1)
    roll_back(made.lake, first, "guessed", "Ann", made.at("2026-11-25"))
    shown = text(selector.page(made.lake, made.campaign, {}, replace(site, memory=Memory())))
    assert "v000003 is a rollback to v000001 : the model was fitted again" in shown


def test_nights_come_in_pages(world: Trusted, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "NIGHTS", 2)
    page = selector.page(world.lake, world.campaign, {"page": "2"}, site)
    nights = text(page).partition("Night by night")[2]
    assert "2026-11-22" in nights and "2026-11-21" in nights and "2026-11-23" not in nights
    assert 'href="selector?page=3"' in page.body
    assert "After batch 2026-11-23" in text(page)


def done(**figures: Any) -> Done:
    """A publish stage that tells these figures."""
    manifest = Manifest("c", "b", "publish", {}, {}, "", "0", {}, 0, figures)
    return parse_done(manifest.to_bytes())


@pytest.mark.parametrize(
    ("gains", "sentence"),
    [
        ({}, "Not enough votes yet"),
        (
            {"delta": (0.05, -0.1, 0.2), "dts": (-0.05, -0.2, 0.1)},
            "No strategy's picks taught measurably more or less",
        ),
        (
            {"info_gain": (0.2, 0.1, 0.3), "dts": (0.2, 0.1, 0.3), "delta": (-0.2, -0.3, -0.1)},
            "Picks of dts and info_gain taught more than uniform draws. "
            "Picks of delta taught less than uniform draws.",
        ),
        (
            {"hybrid": (0.2, 0.1, 0.3), "decision_gain": (0.0, -0.1, 0.1)},
            "Picks of hybrid taught more than uniform draws. "
            "For decision_gain, which chose the last batch, the votes do not decide it.",
        ),
    ],
)
def test_the_verdict_follows_from_the_intervals(gains: Any, sentence: str) -> None:
    found = bake_off_of(done(bake_off=baked(**gains)))
    assert found is not None
    assert verdict(found, "decision_gain").startswith(sentence)


def test_what_the_stage_writes_is_what_the_page_reads() -> None:
    of = Tally.from_bytes(together([]).to_bytes())
    found = bake_off_of(done(bake_off=as_figures(contenders(of), 0, of)))
    assert found is not None
    assert {each.strategy for each in found.contenders} == set(COMPARED) and UNIFORM in COMPARED
    assert "Not enough votes yet: 0 exploration votes of 0 batches" in verdict(found, None)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(gate=json_like, bins=json_like, found=json_like, rows=st.lists(json_like, max_size=3))
def test_no_manifest_breaks_the_page(gate: Any, bins: Any, found: Any, rows: Any) -> None:
    for baked_off in (found, {"strategies": rows}):
        stage = Done(
            "publish",
            {},
            0,
            {"gate": gate, "reliability": bins, "bake_off": baked_off, "listens_to": found},
            parse_done(Manifest("c", "b", "s", {}, {}, "", "", {}).to_bytes()).committed_at,
            {},
        )
        night_of("b", stage, None)
        assert all(each.logits >= 0.0 for each in heard_of(stage))
        for each in reliability_of(stage):
            assert each.n > 0 and 0 <= each.stated <= 1 and 0 <= each.observed <= 1
        for drift in (gate, {**DRIFT, "turned": gate}, dict.fromkeys(DRIFT, found)):
            held = stored_drift(drift)
            assert held is None or all(n <= of for _, n, of in moved(held))
        told_of = bake_off_of(stage)
        if told_of is not None:
            assert verdict(told_of, None)
