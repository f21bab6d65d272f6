"""The quality report on the labels: agreement, annotators, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from winnow.label.agreement import wilson
from winnow.page.markup import figure, paragraphs
from winnow.page.reliability import reliability_svg
from winnow.publish.report_charts import Interval, intervals_svg
from winnow.publish.report_facts import BatchFacts
from winnow.publish.report_text import (
    between,
    certainty_told,
    count,
    number,
    percent,
    said,
    table,
)

_MOST_ANNOTATORS = 100


def agreement(facts: BatchFacts) -> str:
    """Figures of the batch's answers with their intervals."""
    found = facts.manifests["label"].figures
    rows = agreement_intervals(found)
    key = "Dots are the figures, bars their 95 % intervals: Wilson's, for alpha a bootstrap."
    label = "Agreement of the labels"
    drawn = figure(label, key, intervals_svg(rows, label), "wide") if rows else ""
    absent = [name for name, value in _asked(found).items() if value is None]
    missing = f"Not measured in this batch: {', '.join(absent)}." if absent else ""
    told = [_longer(facts), certainty_told(found), missing]
    return drawn + paragraphs([each for each in told if each], "soft")


def agreement_intervals(found: Mapping[str, Any]) -> list[Interval]:
    """Those of the label stage's figures that were measured, with their intervals."""
    return [each for each in (_agreement(found), _alpha(found), *_shares(found)) if each]


def annotators(facts: BatchFacts) -> str:
    """A row per annotator, the busiest first."""
    if not facts.annotators:
        return paragraphs(["Annotators: not measured."], "soft")
    ordered = sorted(facts.annotators, key=lambda row: (-row["votes"], row["annotator"]))
    rows = [
        (
            f"<code>{said(str(row['annotator']), 16)}</code>",
            count(row["votes"]),
            _of(row["agreement"], row["n_agreement"]),
            _of(row["gold_accuracy"], row["n_gold"]),
            _known(row["side_share"], percent),
            _known(row["tie_share"], percent),
            _known(row["median_seconds"], lambda seconds: f"{number(seconds, 0)} s"),
            _known(row["skill"], number),
        )
        for row in ordered[:_MOST_ANNOTATORS]
    ]
    heads = ["Annotator", "Votes", "Agrees", "Gold right", "First side", "Ties", "Median", "Skill"]
    caption = (
        "By salted hash. Agrees: with others who named a side of the same pair; first side: of "
        "answers that name a side, those for the one shown first; skill: estimated share of "
        "answers that were meant and not guessed. A dash: not measured."
    )
    left = len(ordered) - len(rows)
    more = paragraphs([f"{left:,} more annotators are not shown."], "soft") if left > 0 else ""
    listed = table("Annotators", heads, rows)
    return paragraphs([caption], "soft") + listed + more + _suspects(facts)


def _suspects(facts: BatchFacts) -> str:
    """Annotators that fail a limit of their own, and the batch without them."""
    found = facts.verdict.get("suspects") or ()
    rows = [
        (
            f"<code>{said(str(each['annotator']), 16)}</code>",
            said(str(each["check"]).replace("_", " ")),
            number(each["measured"]),
            said(str(each["limit"])),
            count(each["votes"]),
            percent(each["agreement"]),
            percent(each["gold_accuracy"]),
        )
        for each in found
    ]
    if not rows:
        return ""
    heads = ["Annotator", "Check", "Figure", "Limit", "Votes", "Agreement without", "Gold without"]
    told = "These fail a limit of their own; beside it stand the batch's figures without them."
    return f"<h3>Annotators to look at</h3>{paragraphs([told], 'soft')}" + table(
        "Annotators to look at", heads, rows, ["Check", "Limit"]
    )


def calibration(facts: BatchFacts) -> str:
    """What the model stated before the votes, against the votes, on uniformly drawn pairs."""
    found = facts.calibration
    if found is None:
        return paragraphs(["Not measured: no uniformly drawn pair of this batch has a vote."])
    n = sum(each.n for each in found.bins)
    labels = facts.figure("select", "posterior_labels")
    about = (
        f"On {n:,} votes on pairs drawn uniformly, never on those that the model chose for itself. "
        f"The model knew {count(labels)} labels when it spoke. Its calibration error is "
        f"{number(found.ece, 3)} ({number(found.low, 3)} to {number(found.high, 3)}), which on few "
        "votes is more noise than error."
    )
    if labels == 0:
        about += " A model that knows no label says one half of every pair."
    rows = [
        (
            percent(each.stated),
            percent(each.observed),
            _interval(each.observed, each.n),
            f"{each.n}",
        )
        for each in found.bins
    ]
    heads = ["Stated", "Preferred", "Interval", "Votes"]
    drawn = figure(
        "Stated probability against votes",
        "A tie counts half. An honest model lies on the line.",
        reliability_svg(found.bins),
        "narrow",
    )
    both = f'<div class="plots">{drawn}{table("Calibration", heads, rows)}</div>'
    return paragraphs([about]) + both


def _asked(found: Mapping[str, Any]) -> dict[str, Any]:
    names = ("agreement", "alpha", "gold accuracy", "repeat consistency", "tie rate", "side bias")
    return {name: found.get(name.replace(" ", "_")) for name in names}


def _agreement(found: Mapping[str, Any]) -> Interval | None:
    value = found.get("agreement")
    if value is None:
        return None
    low, high = found.get("agreement_low"), found.get("agreement_high")
    words = f"{percent(value)} {between(low, high)} of {count(found.get('n_agreement'))}"
    return Interval("two votes name one side", value, low, high, words)


def _alpha(found: Mapping[str, Any]) -> Interval | None:
    value = found.get("alpha")
    if value is None:
        return None
    low, high = found.get("alpha_low"), found.get("alpha_high")
    words = f"{number(value)} ({number(low)} to {number(high)})"
    return Interval("Krippendorff's alpha", value, low, high, words)


def _shares(found: Mapping[str, Any]) -> list[Interval | None]:
    return [
        _share(found, "gold_accuracy", "gold answered right", "n_gold"),
        _share(found, "repeat_consistency", "repeats answered alike", "n_repeats"),
        _share(found, "tie_rate", "no difference seen", None),
        _share(found, "side_bias", "distance from one half per side", None),
        _share(found, "completion", "tasks answered", None),
    ]


def _share(
    found: Mapping[str, Any], figure_name: str, name: str, n_name: str | None
) -> Interval | None:
    value = found.get(figure_name)
    if value is None:
        return None
    n = found.get(n_name) if n_name else None
    if not n:
        return Interval(name, value, None, None, percent(value))
    low, high = wilson(round(value * n), n)
    return Interval(name, value, low, high, f"{percent(value)} {between(low, high)} of {n:,}")


def _longer(facts: BatchFacts) -> str:
    found = facts.longer
    if found is None:
        return ""
    return (
        f"The longer response was preferred in {percent(found.hits / found.n)} "
        f"{between(*found.interval)} of {found.n:,} decided pairs of unequal length."
    )


def _interval(share: float, n: int) -> str:
    return between(*wilson(round(share * n), n)).strip("()")


def _of(share: float | None, n: int) -> str:
    return "–" if share is None else f"{percent(share)} <small>of {n:,}</small>"


def _known(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)
