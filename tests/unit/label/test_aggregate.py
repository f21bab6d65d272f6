"""Preferences keep their invariants under each model; majority's equal Bayes' rule, enumerated."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.campaign import Aggregation
from winnow.errors import Corrupt, Fatal
from winnow.label.aggregation.aggregate import METHODS
from winnow.label.aggregation.certainty import error_rates

from ...label_rows import aggregate, aggregate_by_each
from ...sampling import examples

Row = dict[str, Any]
MIRROR = {"first": "second", "second": "first"}
EVERY_METHOD = pytest.mark.parametrize("method", sorted(METHODS))


def comparison(pair: str = "p", p_first: float = 0.5) -> Row:
    return {
        "pair_id": pair,
        "prompt_id": "q",
        "first_id": f"{pair}-one",
        "second_id": f"{pair}-two",
        "p_first": p_first,
    }


def vote(preferred: str | None, pair: str = "p", annotator: str = "ann", **changes: Any) -> Row:
    choice = {"first": "a", "second": "b", None: "skip"}.get(preferred, preferred)
    base = {
        "annotation_id": f"{pair}/{annotator}",
        "revision": 0,
        "task_id": f"task/{pair}/{annotator}",
        "pair_id": pair,
        "kind": "comparison",
        "annotator": annotator,
        "choice": choice,
        "swapped": False,
        "strength": None,
        "preferred": preferred,
        "status": "submitted",
        "price": 100,
    }
    return {**base, **changes}


def votes_on(pair: str, *preferred: str | None) -> list[Row]:
    return [vote(p, pair, f"ann-{i}") for i, p in enumerate(preferred)]


def one(*preferred: str | None, p_first: float = 0.5, method: str = "majority") -> Any:
    [found] = aggregate(votes_on("p", *preferred), [comparison(p_first=p_first)], method)
    return found


def seen_to_agree(annotations: list[Row]) -> tuple[int, int]:
    """Of all two decisive votes on one pair, how many agree, and how many there are."""
    decisive = [r for r in annotations if r["preferred"] in MIRROR]
    twos = [(a, b) for a, b in combinations(decisive, 2) if a["pair_id"] == b["pair_id"]]
    return sum(a["preferred"] == b["preferred"] for a, b in twos), len(twos)


preferences = st.sampled_from(["first", "second", "tie", "both_bad", None])


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    comparisons, annotations = [], []
    for i in range(draw(st.integers(0, 6))):
        pair = f"pair-{i}"
        comparisons.append(comparison(pair, draw(st.floats(0.0, 1.0))))
        for row in votes_on(pair, *draw(st.lists(preferences, max_size=4))):
            strength = draw(st.sampled_from([None, 0, 1, 2, 3]))
            annotations.append({**row, "swapped": draw(st.booleans()), "strength": strength})
    return annotations, comparisons


def by_enumeration(names: list[str], n_agreed: int, n_pairs: int) -> float:
    """P(first is better): at each error rate both truths weighed by their votes' likelihood."""
    rates = error_rates(n_agreed, n_pairs)
    decided = 0.0
    for e, chance in zip(rates.rate_g.tolist(), rates.chance_g.tolist(), strict=True):
        weights = dict.fromkeys(MIRROR, 1.0)
        for truth in weights:
            for name in names:
                if name in MIRROR:
                    weights[truth] *= 1 - e if name == truth else e
        decided += chance * weights["first"] / sum(weights.values())
    share = sum(name in MIRROR for name in names) / len(names)
    return share * decided + (1 - share) / 2


@given(batches())
@pytest.mark.sampled
@settings(max_examples=examples(60), deadline=None)
def test_the_probability_is_bayes_rule(batch: tuple[list[Row], list[Row]]) -> None:
    annotations, comparisons = batch
    agreed = seen_to_agree(annotations)
    for preference in aggregate(annotations, comparisons, "majority"):
        rows = [r for r in annotations if r["pair_id"] == preference.pair_id]
        names = [r["preferred"] for r in rows if r["preferred"]]
        expected = by_enumeration(names, *agreed)
        assert preference.p_preferred == pytest.approx(expected, abs=2e-6)
        assert preference.votes == len(names)
        assert preference.cost == 100 * len(rows)


@given(batch=batches(), data=st.data())
@pytest.mark.sampled
@settings(max_examples=examples(25), deadline=None)
def test_no_belief_of_the_model_makes_a_pair_surer_than_people_agree(
    batch: Any, data: st.DataObject
) -> None:
    annotations, comparisons = batch
    believed = [{**c, "p_first": data.draw(st.floats(0.0, 1.0))} for c in comparisons]
    plain = aggregate_by_each(annotations, comparisons)
    allowed = sum(abs(each.p_preferred - 0.5) for each in plain["majority"])
    for method, found in aggregate_by_each(annotations, believed).items():
        if method != "bradley_terry":
            assert found == plain[method], method
        assert sum(abs(each.p_preferred - 0.5) for each in found) <= allowed + 1e-6, method


@given(batch=batches(), rng=st.randoms(use_true_random=False))
@pytest.mark.sampled
@settings(max_examples=examples(25), deadline=None)
def test_the_order_of_annotations_does_not_matter(batch: Any, rng: random.Random) -> None:
    annotations, comparisons = batch
    shuffled = rng.sample(annotations, len(annotations))
    in_order = aggregate_by_each(annotations, comparisons)
    assert aggregate_by_each(shuffled, comparisons) == in_order


@given(batch=batches())
@pytest.mark.sampled
@settings(max_examples=examples(40), deadline=None)
def test_exchanging_first_and_second_mirrors_the_result(batch: Any) -> None:
    annotations, comparisons = batch
    mirrored = aggregate_by_each(
        [
            {
                **r,
                "preferred": MIRROR.get(r["preferred"], r["preferred"]),
                "swapped": not r["swapped"],
            }
            for r in annotations
        ],
        [{**c, "p_first": 1.0 - c["p_first"]} for c in comparisons],
    )
    for method, plain_rows in aggregate_by_each(annotations, comparisons).items():
        for plain, mirror in zip(plain_rows, mirrored[method], strict=True):
            opposite = 1.0 - plain.p_preferred
            assert mirror.p_preferred == pytest.approx(opposite, abs=1e-6), method
            assert mirror.preferred == MIRROR.get(plain.preferred, plain.preferred), method


@given(batch=batches())
@pytest.mark.sampled
@settings(max_examples=examples(25), deadline=None)
def test_each_comparison_with_a_vote_has_one_preference(batch: Any) -> None:
    annotations, comparisons = batch
    voted = {row["pair_id"] for row in annotations if row["preferred"] is not None}
    expected = [c["pair_id"] for c in comparisons if c["pair_id"] in voted]
    n_votes = sum(row["preferred"] is not None for row in annotations)
    for method, found in aggregate_by_each(annotations, comparisons).items():
        assert [p.pair_id for p in found] == expected, method
        assert sum(p.votes for p in found) == n_votes, method
        assert all(0.0 <= p.p_preferred <= 1.0 for p in found), method


@given(batch=batches(), data=st.data())
@pytest.mark.sampled
@settings(max_examples=examples(25), deadline=None)
def test_gold_and_repeats_are_no_votes(batch: Any, data: st.DataObject) -> None:
    annotations, comparisons = batch
    extra = [
        vote("first", "a-gold-pair", "ann-0", kind="gold"),
        *(
            vote(data.draw(preferences), c["pair_id"], f"repeat-{n}", kind="repeat")
            for n, c in enumerate(comparisons)
        ),
    ]
    with_extra = aggregate_by_each([*annotations, *extra], comparisons)
    for method, plain in aggregate_by_each(annotations, comparisons).items():
        found = with_extra[method]
        counted = [(p.pair_id, p.votes, p.agreement, p.cost) for p in plain]
        assert [(p.pair_id, p.votes, p.agreement, p.cost) for p in found] == counted, method
        if method != "bradley_terry":
            assert found == plain, method


@EVERY_METHOD
def test_each_method_is_one_that_a_campaign_can_name(method: str) -> None:
    assert sorted(METHODS) == sorted(get_args(Aggregation))
    assert one("first", "first", method=method).preferred == "first"
    assert one("second", method=method).preferred == "second"
    assert one("tie", "both_bad", method=method).preferred == "tie"
    assert one("first", "second", method=method).preferred == "tie"
    assert one("first", "second", method=method).p_preferred == pytest.approx(0.5)


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(Fatal, match="dawid_skene"):
        aggregate([], [], "loudest")


@EVERY_METHOD
def test_the_posterior_alone_never_decides_what_is_preferred(method: str) -> None:
    assert one("second", p_first=0.99, method=method).preferred == "second"
    assert one("tie", p_first=0.99, method=method).preferred == "tie"


@pytest.mark.parametrize(
    ("votes", "preferred", "agreement"),
    [
        (("first",), "first", None),
        (("both_bad",), "tie", None),
        (("second", "second"), "second", 1.0),
        (("first", "second"), "tie", 0.5),
        (("first", "tie"), "tie", 0.5),
        (("tie", "both_bad"), "tie", 1.0),
        (("second", "second", "first"), "second", 2 / 3),
        (("second", None), "second", None),
    ],
)
def test_the_side_that_most_votes_chose_is_preferred(votes, preferred, agreement) -> None:
    result = one(*votes)
    assert result.preferred == preferred
    assert result.agreement == (None if agreement is None else pytest.approx(agreement))


def test_ties_pull_to_one_half() -> None:
    assert one("tie", p_first=0.99).p_preferred == 0.5
    assert 0.5 < one("first", "tie").p_preferred < one("first").p_preferred


@EVERY_METHOD
def test_ties_pull_towards_one_half_in_every_model(method: str) -> None:
    with_tie, without = (
        one(*votes, p_first=0.8, method=method).p_preferred
        for votes in (("first", "tie"), ("first", "first"))
    )
    assert 0.5 < with_tie < without


@EVERY_METHOD
def test_a_comparison_with_nothing_but_skips_has_no_preference(method: str) -> None:
    comparisons = [comparison(), comparison("unanswered")]
    assert aggregate(votes_on("p", None, None), comparisons, method) == []
    assert aggregate([], [], method) == []


@EVERY_METHOD
def test_only_the_latest_revision_counts_and_a_retracted_one_does_not(method: str) -> None:
    rows = [
        vote("first", revision=0),
        vote("second", revision=2),
        vote("first", revision=1),
        vote("first", annotator="ann-2", revision=0),
        vote("first", annotator="ann-2", revision=1, status="retracted"),
        vote("first", annotator="ann-3", status="rejected"),
    ]
    [preference] = aggregate(rows, [comparison()], method)
    assert (preference.preferred, preference.votes, preference.cost) == ("second", 1, 300)


@pytest.mark.parametrize("kind", ["comparison", "repeat"])
def test_an_annotation_of_an_unknown_pair_is_corrupt(kind: str) -> None:
    with pytest.raises(Corrupt, match="collect"):
        aggregate([vote("first", "elsewhere", kind=kind)], [comparison()], "majority")


@EVERY_METHOD
def test_a_single_vote_has_no_agreement(method: str) -> None:
    rows = [*votes_on("pair-0", "first", "first"), *votes_on("pair-1", "tie")]
    found = aggregate(rows, [comparison("pair-0"), comparison("pair-1")], method)
    assert [each.agreement for each in found] == [1.0, None]
    assert None not in [each.p_preferred for each in found]
