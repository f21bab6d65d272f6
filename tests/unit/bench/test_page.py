"""The pages say what the rows hold, escape what the rows hold, and load nothing."""

from __future__ import annotations

import re
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.pages.render import piece
from winnow.publish.reliability import reliability
from winnow.reward.calibration import ReliabilityBin
from winnow_bench.page import labels_page
from winnow_bench.speed_page import speed_page
from winnow_bench.statistics import compare, summarise
from winnow_bench.verdicts import OURS, sentences

VOID = {"meta", "input"}
BASELINES = ("traditional-8", "random")


class Outline(HTMLParser):
    """Checks that tags are balanced, and gathers elements with their classes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.text.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def cell(
    strategy: str, labels: int, values: list[float], metric: str = "win_rate", **others: Any
) -> list[dict[str, Any]]:
    """Rows of one cell, a seed per value."""
    size = 8 if strategy == "traditional" else 50
    row = {"pool": "easy", "strategy": strategy, "labels": labels, "pool_size": size, **others}
    return [{**row, "seed": i, "metric": metric, "value": value} for i, value in enumerate(values)]


def around(mean: float) -> list[float]:
    """Four seeds that share their noise with every other cell, and a little of their own."""
    return [mean + noise + mean / 100 * i for i, noise in enumerate((-0.02, 0.0, 0.01, 0.01))]


def page(*cells: list[dict[str, Any]], **facts: Any) -> str:
    rows = [row for each in cells for row in each]
    known = {row["strategy"] for row in rows}
    baselines = [name for name in BASELINES if name.partition("-")[0] in known]
    summaries = [asdict(row) for row in summarise(rows)]
    return labels_page(summaries, [asdict(row) for row in compare(rows, baselines)], facts)


RIVAL = cell("traditional", 8, around(0.50))
CONTROL = cell("random", 4, around(0.45))


def test_the_verdict_names_who_beats_the_rival_and_by_how_much() -> None:
    said = Outline(
        page(RIVAL, cell("hybrid", 4, [0.54, 0.56, 0.57, 0.57]), cell("dts", 4, around(0.50)[::-1]))
    ).said
    assert re.search(
        r"With 4 labels per prompt from pools of 50, hybrid \(\+5\.\d points, [^)]+\) wins more "
        r"often than traditional sampling with 8\.",
        said,
    )


def test_the_verdict_says_plainly_where_nobody_wins() -> None:
    said = Outline(page(RIVAL, CONTROL, cell("hybrid", 4, around(0.48)))).said
    assert "no strategy wins more often than traditional sampling with 8: the best, hybrid" in said


def test_lower_is_better_where_it_is() -> None:
    losses = [
        cell("traditional", 8, around(0.60), "log_loss"),
        cell("hybrid", 4, around(0.50), "log_loss"),
        cell("delta", 4, around(0.70), "log_loss"),
    ]
    said = Outline(page(*losses)).said
    assert "Log-loss hybrid delta" in said  # the columns better and worse of the verdict's table
    assert "no strategy with 4 labels is better" not in said


def test_a_metric_that_nobody_wins_is_named() -> None:
    accuracy = [
        cell("traditional", 8, around(0.70), "pair_accuracy"),
        cell("hybrid", 4, around(0.69), "pair_accuracy"),
    ]
    assert "On pair accuracy, no strategy with 4 labels is better" in Outline(page(*accuracy)).said


@pytest.mark.parametrize(("hybrid", "counts"), [(0.40, (0, 1)), (0.60, (1, 0))])
def test_the_verdict_counts_hybrid_against_random(hybrid: float, counts: tuple[int, int]) -> None:
    said = Outline(page(CONTROL, cell("hybrid", 4, around(hybrid)))).said
    better, worse = counts
    assert f"it is better in {better} and worse in {worse}" in said
    assert ("win rate with 4 labels from pools of 50 (−5." in said) == bool(worse)


def test_the_verdict_counts_nothing_undecided_and_nobody_but_hybrid() -> None:
    said = Outline(
        page(CONTROL, cell("dts", 4, around(0.60)), cell("hybrid", 4, [0.60, 0.40, 0.50, 0.46]))
    ).said
    assert "Of 1 comparison of hybrid" in said
    assert "it is better in 0 and worse in 0." in said


def test_a_better_mean_alone_wins_nothing() -> None:
    said = Outline(page(RIVAL, cell("hybrid", 4, [0.60, 0.40, 0.70, 0.46]))).said
    assert "the best, hybrid, differs by +3." in said
    assert "Win rate – –" in said


PEER, BETTER_PEER = "drts (ActiveUltraFeedback)", "ee-ts (SEA)"


def versus_peers(ours: list[float], *peers: list[float]) -> str:
    cells = [cell(OURS, 4, ours)]
    cells += [
        cell(name, 4, values) for name, values in zip((PEER, BETTER_PEER), peers, strict=False)
    ]
    rows = [row for each in cells for row in each]
    names = [f"{name}-4" for name in (PEER, BETTER_PEER)[: len(peers)]]
    return sentences(summarise(rows), compare(rows, names))[-1]


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (around(0.60), r"wins more often than BEST \(\+10\.\d points, 9\.\d to 10\.\d\)\.$"),
        (
            around(0.40),
            r"wins less often than BEST \(−10\.\d points.*\): it is not the best",
        ),
        (
            [0.60, 0.42, 0.52, 0.50],
            r"it is undecided whether .* more often than BEST \(\+\d.*\)",
        ),
    ],
)
def test_our_rule_is_held_against_the_best_of_the_peers(ours: list[float], verdict: str) -> None:
    best = r"the best of 2 rules of peers, ee ts \(SEA\)"
    assert re.search(verdict.replace("BEST", best), versus_peers(ours, around(0.45), around(0.50)))


def test_one_seed_or_no_peer_says_nothing_of_peers() -> None:
    assert "rules of peers" not in versus_peers([0.6], [0.5], [0.4])
    assert "peers" not in versus_peers(around(0.5))
    assert "the one rule of a peer, drts" in versus_peers(around(0.6), around(0.5))


def test_a_peer_is_no_strategy_and_has_no_curve() -> None:
    peer = cell(PEER, 4, around(0.60))
    shown = page(RIVAL, CONTROL, cell("hybrid", 4, around(0.48)), peer)
    said = Outline(shown).said
    assert "no strategy wins more often than traditional sampling with 8: the best, hybrid" in said
    legend = shown[shown.index("<legend>") : shown.index("</fieldset>")]
    assert "hybrid" in legend and "drts" not in legend and "drts (ActiveUltraFeedback)" in said


def test_verdicts_are_about_the_usual_pool_size() -> None:
    said = Outline(
        page(
            RIVAL,
            cell("hybrid", 4, around(0.55)),
            cell("hybrid", 2, around(0.50)),
            cell("hybrid", 4, around(0.90), pool_size=90),
        )
    ).said
    assert "from pools of 50, hybrid (+5." in said and "from pools of 90" not in said


def test_sentences_keep_pools_apart() -> None:
    easy = RIVAL + cell("hybrid", 4, around(0.55))
    hard = [{**row, "pool": "hard"} for row in RIVAL + cell("hybrid", 4, around(0.45))]
    found = sentences(summarise(easy + hard), compare(easy + hard, ["traditional-8"]))
    assert [sentence for sentence in found if "wins more often" in sentence] == [found[0], found[2]]
    assert found[0].startswith("easy: With 4 labels per prompt from pools of 50, hybrid (+5.")
    assert found[2].startswith("hard: With 4 labels per prompt from pools of 50, no strategy")


def test_what_was_not_measured_is_said_to_be_so() -> None:
    said = Outline(page(cell("hybrid", 4, [0.5]))).said
    assert "Nothing was measured with 4 labels per prompt against traditional" in said
    assert "Nothing was measured of hybrid against random" in said


def test_costs_are_dollars() -> None:
    said = Outline(
        page(cell("traditional", 8, [160.8], "cost_usd"), cell("hybrid", 4, [85.0], "cost_usd"))
    ).said
    assert "Hybrid with 4 labels per prompt costs $85.00 in all, traditional with 8 $160.80" in said


def test_results_show_means_half_intervals_and_the_best() -> None:
    made = page(cell("hybrid", 4, [0.50, 0.60]), cell("random", 4, [0.30, 0.40]))
    # t(0.975, 1) = 12.706, standard error 0.05.
    assert "<b>55.0</b> <small>±63.5</small>" in made
    assert "35.0 <small>±63.5</small>" in made and "<b>35.0</b>" not in made


def test_losses_have_three_decimals_and_no_negative_zero() -> None:
    made = page(
        cell("random", 4, [0.6931, 0.6931], "log_loss"),
        cell("hybrid", 4, [0.69314] * 2, "log_loss"),
    )
    assert "0.693 <small>±0.000</small>" in made
    assert ">0.000, 0.000 to 0.000<" in made


@pytest.mark.parametrize(("mean", "side"), [(0.60, "up"), (0.30, "down")])
def test_cells_clear_of_random_are_marked(mean: float, side: str) -> None:
    tags = Outline(page(CONTROL, cell("hybrid", 4, around(mean)))).tags
    assert [tag["class"] for name, tag in tags if name == "td" and "class" in tag] == [side]


def test_cells_that_random_may_equal_are_not_marked() -> None:
    tags = Outline(page(cell("random", 4, [0.4, 0.5]), cell("hybrid", 4, [0.5, 0.4]))).tags
    assert not [tag for name, tag in tags if name == "td" and "class" in tag]


def test_references_are_levels_and_no_budgets() -> None:
    made = page(
        CONTROL,
        cell("random", 8, around(0.47)),
        cell("all-pairs", 1225, around(0.48)),
        cell("best-response", 0, around(0.90)),
    )
    (curves,) = re.findall(r'<svg [^>]*aria-label="Win rate against labels.*?</svg>', made)
    assert re.findall(r'class="tick">(\d+)</text>', curves) == ["4", "8"]
    assert "all pairs 48" in curves and "best response" not in curves
    assert "off the scale: best response 91." in made


def test_one_dot_is_no_curve() -> None:
    assert "Budget curves" not in page(cell("hybrid", 4, around(0.5)))
    assert "Budget curves" in page(CONTROL, cell("hybrid", 4, around(0.5)))


def test_a_strategy_keeps_its_colour_in_every_picture_and_page() -> None:
    one = page(RIVAL, CONTROL, cell("hybrid", 4, around(0.55)))
    other = page(cell("hybrid", 4, around(0.55)), cell("aardvark", 4, around(0.5)))
    speed = speed_page({"rows": [speed_row("hybrid")]})
    for made in (one, other, speed):
        assert re.search(r'class="[^"]*\bk0\b', made)
    assert '<label class="k0"><input type="checkbox" id="show-k0"' in one
    assert '<g class="k0"><title>hybrid: ' in one and '<g class="k0"><polyline' in one


def test_names_and_facts_are_escaped() -> None:
    bad = "<script>alert('x')</script>"
    rows = cell("<b>&", 4, around(0.5), pool=bad) + cell("random", 4, around(0.4), pool=bad)
    made = page(
        rows,
        limits=[bad],
        command=bad,
        machine={bad: [bad]},
        about={bad: bad},
        reliability={bad: []},
    )
    assert "script" not in {tag for tag, _ in Outline(made).tags}
    assert Outline(made).said.count("<script>alert") >= 8


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    made = page(RIVAL, CONTROL, cell("hybrid", 4, around(0.55)))
    tags = Outline(made).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert not [tag for _, tag in tags if {"src", "href", "style"} & tag.keys()]
    assert "url(" not in made and "@import" not in made and "http" not in made


def test_wide_tables_scroll_by_keyboard() -> None:
    tags = Outline(page(CONTROL)).tags
    boxes = [tag for _, tag in tags if tag.get("class") == "scroll"]
    assert boxes and all(tag["tabindex"] == "0" and tag["aria-label"] for tag in boxes)


def test_limits_and_the_way_to_reproduce_are_shown() -> None:
    said = Outline(
        page(CONTROL, limits=["No human judged."], command="winnow bench", seeds=24)
    ).said
    assert "What this bench cannot show No human judged." in said
    assert "winnow bench seeds 24" in said


def test_the_order_of_rows_changes_nothing() -> None:
    rows = RIVAL + CONTROL + cell("hybrid", 4, around(0.55)) + cell("best", 0, around(0.6))
    summaries = [asdict(row) for row in summarise(rows)]
    comparisons = [asdict(row) for row in compare(rows, BASELINES)]
    assert labels_page(summaries, comparisons, {}) == labels_page(
        summaries[::-1], comparisons[::-1], {}
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hybrid", "random", "traditional", "odd_one"]),
            st.sampled_from([0, 1, 4, 8, 500]),
            st.sampled_from(["win_rate", "log_loss", "cost_usd", "blocked_pairs"]),
            st.lists(st.floats(0, 1), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda each: each[:3],
    )
)
def test_any_results_make_a_page_without_holes(cells: list[Any]) -> None:
    rows = [
        row for name, labels, metric, values in cells for row in cell(name, labels, values, metric)
    ]
    summaries = [asdict(row) for row in summarise(rows)]
    cells_at = {(row["strategy"], row["labels"]) for row in rows}
    baselines = ["random"] * any(name == "random" for name, _ in cells_at)
    baselines += ["traditional-8"] * (("traditional", 8) in cells_at)
    comparisons = [asdict(row) for row in compare(rows, baselines)]
    made = labels_page(summaries, comparisons, {})
    Outline(made)
    assert not re.search(r"\b(nan|inf|None)\b", made)


def test_a_page_of_nothing_is_refused() -> None:
    with pytest.raises(Corrupt, match="no results"):
        labels_page([], [], {})


def test_a_metric_without_a_known_direction_is_refused() -> None:
    with pytest.raises(Fatal, match="wit"):
        page(cell("hybrid", 4, [0.5], "wit"))


def test_an_honest_bin_lies_on_the_diagonal() -> None:
    bins = [ReliabilityBin(100, 0.25, 0.25), ReliabilityBin(50, 0.5, 0.9)]
    drawn = piece("chart", reliability(bins))
    diagonal = re.search(r'class="zero" x1="(.+?)" y1="(.+?)" x2="(.+?)" y2="(.+?)"', drawn)
    assert diagonal
    x1, y1, x2, y2 = map(float, diagonal.groups())
    honest, modest = (
        (float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)
    )
    assert honest == pytest.approx((x1 + (x2 - x1) / 4, y1 + (y2 - y1) / 4), abs=0.1)
    assert modest[1] < y1 + (y2 - y1) * (modest[0] - x1) / (x2 - x1) - 10
    assert "preferred 90.0 % (78.6 to 95.7) of 50 labels" in drawn


def test_no_bins_make_an_empty_picture() -> None:
    assert "<circle" not in piece("chart", reliability([]))


def speed_row(strategy: str, ratio: float = 2.0, **others: Any) -> dict[str, Any]:
    typical = {"pool": 100, "dimension": 128, "picks": 8, "threads": 1}
    rates = {"prompts_per_second": 1200 / ratio, "floor_prompts_per_second": 1200.0}
    return {"strategy": strategy, **typical, **rates, "ratio_to_floor": ratio, **others}


def test_the_speed_page_leads_with_the_typical_setting() -> None:
    rows = [speed_row("hybrid", 2.0), speed_row("info_gain", 1.5), speed_row("dts", 1.0, pool=10)]
    said = Outline(speed_page({"rows": rows})).said
    assert "one thread chooses with hybrid for 600 prompts per second and info gain for 800" in said
    assert "dts 10 128 8 1 1,200 1,200 1.00" in said and "own floor" not in said.split("Every")[1]


def test_the_speed_page_shows_a_strategys_own_floor_where_it_was_measured() -> None:
    said = Outline(speed_page({"rows": [speed_row("dts", 2.0, ratio_to_own_floor=7.25)]})).said
    assert "dts 100 128 8 1 600 1,200 7.25 2.00" in said


def test_the_speed_page_shows_whatever_else_was_measured() -> None:
    made = speed_page(
        {
            "rows": [speed_row("hybrid")],
            "loop_ratio": 812.5,
            "batchbald": {"time_ratio": 43.25},
            "memory": [{"prompts": 1000, "peak_mb": 130.5}, {"prompts": 100_000}],
        }
    )
    said = Outline(made).said
    assert "loop ratio 812.5" in said and "time ratio 43.25" in said
    assert "prompts peak mb 1,000 130.5 100,000 –" in said


def test_a_speed_page_without_the_typical_setting_has_its_rows_alone() -> None:
    made = speed_page({"rows": [speed_row("dts", pool=10)]})
    assert "<svg" not in made and "dts 10 128" in Outline(made).said


def test_a_speed_page_of_no_rows_is_refused() -> None:
    with pytest.raises(Corrupt, match="no rows"):
        speed_page({"rows": []})
