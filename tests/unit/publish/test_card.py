"""The card tells what a reader needs before the data, and no text in it acts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from winnow.batch import Artifact
from winnow.publish.card import dataset_card, inert
from winnow.publish.views import VIEWS

from .report_world import campaign, version

NOTE = "**No human judged anything.**"


def test_it_says_how_to_load_who_labelled_what_was_asked_and_what_bounds_it() -> None:
    told = {"agreement_low": 0.4, "agreement_high": 0.8, "n_agreement": 33, "gold_accuracy": None}
    card = dataset_card(replace(version(), figures=told), campaign(), NOTE)
    for expected in (
        "winnow pull d@v000001 --out FOLDER",
        'load_dataset("FOLDER", "annotations")',
        "(quality/report.html)",
        "> Which helps more?",
        "rubric `helpfulness-1`",
        NOTE,
        "33 pairs of votes: it may be anything from 40% to 80%",
        "Not measured: `gold_accuracy`.",
        "cc-by-4.0",
    ):
        assert expected in " ".join(card.split())


@pytest.mark.parametrize(
    ("n_agreement", "told"),
    [
        (12, "One vote counts as 73.0 % sure, by the agreement of 12 pairs of votes."),
        (0, "Agreement was not measured, no pair having been judged by two people: that one vote"),
    ],
)
def test_it_says_how_sure_one_vote_is_and_whether_that_was_measured(n_agreement, told) -> None:
    figures = {"n_agreement": n_agreement, "vote_certainty": 0.73}
    assert told in dataset_card(replace(version(), figures=figures), campaign(), NOTE)
    before = dataset_card(replace(version(), figures={}), campaign(), NOTE)
    assert "sure, by" not in before and "assumption" not in before


def test_its_head_tells_the_columns_of_views_so_that_files_of_earlier_releases_load() -> None:
    view = replace(
        version(), files={"data/annotations/train/d1-ab.parquet": Artifact("", "", 1, 1)}
    )
    head = yaml.safe_load(dataset_card(view, campaign(), "").split("---\n")[1])
    [told] = head["dataset_info"]
    assert told["config_name"] == "annotations"
    columns = {column.pop("name"): column for column in told["features"]}
    assert list(columns) == VIEWS["annotations"].names
    assert columns["model"] == {"dtype": "string"}
    assert columns["log_odds"] == {"dtype": "float64"}
    assert columns["prompt"]["list"][0] == {"name": "role", "dtype": "string"}
    whole = dataset_card(version(), campaign(), "").split("---\n")[1]
    assert [each["config_name"] for each in yaml.safe_load(whole)["dataset_info"]] == ["reward"]


def test_it_names_every_batch_and_the_totals_of_all() -> None:
    card = dataset_card(version(2, ("d1", "d2")), campaign(), "")
    assert "## Batches\n\nd1, d2\n" in card
    assert "| `reward` | 60 |" in card
    assert "## The newest batch, d2" in card


def test_a_figure_with_parts_is_told_in_words_and_none_looks_measured() -> None:
    told = {"pii": {"email": 3, "phone": 1}, "alpha": None, "agreement": 0.5}
    card = dataset_card(replace(version(), figures=told), campaign(), "")
    assert "| pii | email: 3, phone: 1 |" in card
    assert "| alpha | not measured |" in card
    assert "chosen by `not measured`" in card


@pytest.mark.parametrize(
    "text",
    [
        "a\n---\nlicense: evil\n",
        "<script>alert(1)</script>",
        "| x | y |\n# Heading",
        "`code` ![i](javascript:x) [l](javascript:x)",
    ],
)
def test_words_of_the_campaign_stay_words(text: str) -> None:
    card = dataset_card(version(), campaign(text), "")
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "cc-by-4.0"
    usual = dataset_card(version(), campaign(), "")
    assert headings(card) == headings(usual)
    body = re.sub(r"`[^`]*`", "", card.split("---\n", 2)[2])
    assert "<script" not in body and "](javascript" not in body.replace("\\]", "]\\")


def test_a_rule_of_words_is_on_one_line() -> None:
    assert inert("one\r\ntwo\u2028three\u202e") == "one two three"


def headings(card: str) -> list[str]:
    return re.findall(r"^#+ .*$", card, re.M)
