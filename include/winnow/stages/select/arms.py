"""What choosing bought: the pairs of a night that a model chose beside those drawn uniformly.

Both arms share the night's prompts, pools, model and annotators, so what sets them apart is the
choice. What a vote is expected to teach is the model's own word, as it was when the pair was taken:
the drawn ones first, the chosen ones by what is left to learn beside them. What the votes say is
measured.

Always holds: only a batch whose pairs a model chose is measured, one that labels or a score taught;
a pair that is set aside counts in no arm; a second vote on a pair makes no interval narrower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import hypot
from statistics import fmean
from typing import Any

from winnow.batch import Batch, read_table
from winnow.intervals import wilson
from winnow.label.aggregation.votes import votes_in
from winnow.select.rules import is_guided

NAME = "arms"
"""Among the figures of the publish stage."""

_OF_PAIR = ("pair_id", "kind", "info_gain", "decision_gain", "p_first")

CHOSEN, DRAWN = "selected", "exploration"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm of a night.

    Attributes:
        pairs: How many pairs.
        info_gain: What a vote on one was expected to teach, mean over the pairs, nats.
        decision_gain: What it was expected to teach of which responses are best, mean over the
            pairs; None where the night did not reckon it.
        votes: How many votes they got.
        voted: Pairs with a vote.
        decided: Votes for a side: no tie, no "both bad".
        foreseen: Those of them for the side that the model held to be the likelier one.
    """

    pairs: int
    info_gain: float
    decision_gain: float | None
    votes: int
    voted: int
    decided: int
    foreseen: int

    def share(self, name: str) -> tuple[float, float, float] | None:
        """The share of votes that are "decided", or of decided ones "foreseen", with its bounds.

        The 95 % interval is that of as many votes as pairs have one; None without votes.
        """
        counts = {"decided": (self.decided, self.votes), "foreseen": (self.foreseen, self.decided)}
        hits, n = counts[name]
        if not n:
            return None
        alone = min(n, self.voted)
        return hits / n, *wilson(round(hits / n * alone), alone)


def figures(batch: Batch, aside: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Both arms of a batch whose labels are in; empty where no model chose or nothing was drawn.

    Pairs that are set `aside` are left out.
    """
    selected, labelled = batch.require("select"), batch.require("label")
    if not is_guided(selected.figures["strategy"]):
        return {}
    rows = read_table(batch.lake, selected.outputs["comparisons"], _OF_PAIR).to_pylist()
    pairs = [row for row in rows if row["pair_id"] not in aside]
    votes = votes_in(read_table(batch.lake, labelled.outputs["annotations"]))
    of_kind = {kind: [row for row in pairs if row["kind"] == kind] for kind in (CHOSEN, DRAWN)}
    if not all(of_kind.values()):
        return {}
    return {kind: asdict(_arm(of_kind[kind], votes)) for kind in of_kind}


def _arm(pairs: Sequence[Row], votes: Sequence[Row]) -> Arm:
    likelier = {row["pair_id"]: "first" if row["p_first"] > 0.5 else "second" for row in pairs}
    own = [vote for vote in votes if vote["pair_id"] in likelier]
    decisions = [row["decision_gain"] for row in pairs]
    decided = [vote for vote in own if vote["preferred"] in ("first", "second")]
    return Arm(
        pairs=len(pairs),
        info_gain=fmean(row["info_gain"] for row in pairs),
        decision_gain=fmean(decisions) if None not in decisions else None,
        votes=len(own),
        voted=len({vote["pair_id"] for vote in own}),
        decided=len(decided),
        foreseen=sum(vote["preferred"] == likelier[vote["pair_id"]] for vote in decided),
    )


def lines(stored: Mapping[str, Any]) -> list[str]:
    """For people: a line an arm, then what the numbers can tell; none where none were measured."""
    arms = _read(stored)
    if arms is None:
        return []
    chosen, drawn = arms
    return [
        f"{chosen.pairs} pairs chosen: {_line(chosen)}",
        f"{drawn.pairs} drawn uniformly: {_line(drawn)}",
        _verdict(chosen, drawn),
    ]


def short_line(stored: Mapping[str, Any]) -> str:
    """What a vote was expected to teach in each arm; empty where it was not measured."""
    arms = _read(stored)
    if arms is None:
        return ""
    chosen, drawn = arms
    return f"choosing: {chosen.info_gain:.3f} nats a vote, uniform {drawn.info_gain:.3f}"


def _read(stored: Mapping[str, Any]) -> tuple[Arm, Arm] | None:
    return (Arm(**stored[CHOSEN]), Arm(**stored[DRAWN])) if stored else None


def _line(arm: Arm) -> str:
    expected = f"{arm.info_gain:.3f} nats expected of a vote; {arm.votes} votes"
    decided, foreseen = arm.share("decided"), arm.share("foreseen")
    if decided:
        expected += f", {decided[0]:.0%} for a side"
    return f"{expected}, {foreseen[0]:.0%} of these foreseen" if foreseen else expected


def _verdict(chosen: Arm, drawn: Arm) -> str:
    """What the model expected of choosing, and what the votes show or are too few to show."""
    gain = "By the model's own reckoning a vote on a chosen pair teaches "
    gain += f"{_times(chosen.info_gain, drawn.info_gain)} as much"
    if chosen.decision_gain is not None and drawn.decision_gain is not None:
        times = _times(chosen.decision_gain, drawn.decision_gain)
        gain += f", and {times} as much of which responses are best"
    apart = [
        words
        for name, what in (("decided", "for a side"), ("foreseen", "foreseen"))
        if (words := _apart(chosen, drawn, name, what))
    ]
    n = f"{chosen.votes} and {drawn.votes} votes"
    if not apart:
        return f"{gain}; {n} are too few to tell how the arms' votes differ."
    return f"{gain}; of {n} those on chosen pairs are {' and '.join(apart)}."


def _times(gain: float, other: float) -> str:
    return f"{gain / other if other else 1.0:.1f} times"


def _apart(chosen: Arm, drawn: Arm, name: str, what: str) -> str:
    """How the arms' shares differ where the 95 % interval of the difference excludes none.

    Newcombe (1998), "Interval estimation for the difference between independent proportions".
    """
    of_chosen, of_drawn = chosen.share(name), drawn.share(name)
    if of_chosen is None or of_drawn is None:
        return ""
    (share, low, high), (other, other_low, other_high) = of_chosen, of_drawn
    least = share - other - hypot(share - low, other_high - other)
    most = share - other + hypot(high - share, other - other_low)
    if least <= 0.0 <= most:
        return ""
    return f"{'more' if least > 0.0 else 'less'} often {what}"
