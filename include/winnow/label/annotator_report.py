"""What a batch tells of each annotator, a row each: how much, how well, how fast, how even-handed.

A figure that cannot be measured (no gold task, no pair that anybody else judged) is None, never a
number that looks measured. Shares lie in [0, 1]. Withdrawn answers and skips are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from winnow.label.agreement import wilson
from winnow.label.annotator_skill import JudgedBatch, judge_batch
from winnow.label.votes import (
    CHOICE_OF,
    COMPARISON,
    GOLD,
    NO_DIFFERENCE,
    REPEAT,
    Row,
    kind_of,
    latest_revisions,
    standing,
)


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """One annotator of a batch.

    Attributes:
        annotator: The salted hash.
        votes: Answers to comparisons.
        agreement: How often others who also named a side of a pair named the same side.
        n_agreement: Pairs of votes that it is counted on.
        gold_accuracy: Share of gold tasks answered as expected.
        gold_low: Its 95 % Wilson interval, lower end.
        gold_high: Upper end.
        n_gold: Gold tasks answered.
        side_share: Share of answers naming a side that name the one shown first.
        tie_share: Share of votes that see no difference.
        median_seconds: Median time of an answer, seconds.
        consistency: Share of repeats answered as the first time, of the pair's own order.
        n_repeats: Repeats whose first answer is known.
        skill: Estimated share of answers that were meant and not guessed.
        side_bias: How much likelier they name the side shown first than the other, where neither
            response is better; -1 to 1.
    """

    annotator: str
    votes: int
    agreement: float | None
    n_agreement: int
    gold_accuracy: float | None
    gold_low: float | None
    gold_high: float | None
    n_gold: int
    side_share: float | None
    tie_share: float | None
    median_seconds: float | None
    consistency: float | None
    n_repeats: int
    skill: float | None
    side_bias: float | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, as JSON takes them."""
        return asdict(self)


def annotator_report(
    annotations: Iterable[Row], comparisons: Sequence[Row], expected: Mapping[str, str]
) -> list[AnnotatorFigures]:
    """A row per annotator with an answer, sorted by hash.

    Args:
        annotations: Rows of `records.ANNOTATIONS`, every revision and kind.
        comparisons: Rows of `records.COMPARISONS`.
        expected: The known answer ("first", "second" or "tie") to each gold task, by task id.
    """
    rows = standing(latest_revisions(annotations))
    votes = [row for row in rows if kind_of(row) == COMPARISON]
    estimated = _estimates(judge_batch(rows, comparisons, expected))
    agreed, first_answer = _agreed(votes), _answers(votes)
    answers: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        answers[row["annotator"]].append(row)
    return [
        _figures(
            name, answers[name], agreed[name], first_answer, expected, estimated.get(name, _UNKNOWN)
        )
        for name in sorted(answers)
    ]


_UNKNOWN: tuple[float | None, float | None] = (None, None)


def _figures(
    name: str,
    answers: Sequence[Row],
    agreed: tuple[int, int],
    first_answer: Mapping[tuple[str, str], int],
    expected: Mapping[str, str],
    estimated: tuple[float | None, float | None],
) -> AnnotatorFigures:
    votes = [CHOICE_OF[row["preferred"]] for row in answers if kind_of(row) == COMPARISON]
    gold = [
        CHOICE_OF[row["preferred"]] == CHOICE_OF[expected[row["task_id"]]]
        for row in answers
        if kind_of(row) == GOLD and row["task_id"] in expected
    ]
    repeats = [
        CHOICE_OF[row["preferred"]] == first_answer[name, row["pair_id"]]
        for row in answers
        if kind_of(row) == REPEAT and (name, row["pair_id"]) in first_answer
    ]
    sides = [row["choice"] == "a" for row in answers if row["choice"] in ("a", "b")]
    seconds = [s for s in map(_seconds, answers) if s is not None]
    low, high = wilson(sum(gold), len(gold)) if gold else (None, None)
    return AnnotatorFigures(
        annotator=name,
        votes=len(votes),
        agreement=_share(*agreed),
        n_agreement=agreed[1],
        gold_accuracy=_share(sum(gold), len(gold)),
        gold_low=low,
        gold_high=high,
        n_gold=len(gold),
        side_share=_share(sum(sides), len(sides)),
        tie_share=_share(votes.count(NO_DIFFERENCE), len(votes)),
        median_seconds=median(seconds) if seconds else None,
        consistency=_share(sum(repeats), len(repeats)),
        n_repeats=len(repeats),
        skill=estimated[0],
        side_bias=estimated[1],
    )


def _share(n_hits: int, n: int) -> float | None:
    return n_hits / n if n else None


def _seconds(answer: Row) -> float | None:
    """Active time if the vendor tells it, else from start to finish."""
    if answer.get("active_seconds") is not None:
        return float(answer["active_seconds"])
    started, finished = answer.get("started_at"), answer.get("finished_at")
    if started is None or finished is None:
        return None
    return float((finished - started).total_seconds())


def _answers(votes: Iterable[Row]) -> dict[tuple[str, str], int]:
    """What each annotator first said of each pair, in order of annotation id."""
    found: dict[tuple[str, str], int] = {}
    for row in votes:
        found.setdefault((row["annotator"], row["pair_id"]), CHOICE_OF[row["preferred"]])
    return found


def _agreed(votes: Iterable[Row]) -> defaultdict[str, tuple[int, int]]:
    """(agreed, counted) by annotator, over votes of others that name a side of the same pair."""
    sides = [(row["pair_id"], row["annotator"], row["preferred"]) for row in votes]
    sides = [each for each in sides if CHOICE_OF[each[2]] != NO_DIFFERENCE]
    of_pair, of_choice = Counter(s[0] for s in sides), Counter((s[0], s[2]) for s in sides)
    own, own_choice = Counter(s[:2] for s in sides), Counter(sides)
    found: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for pair, name, choice in sides:
        agreed, counted = found[name]
        found[name] = (
            agreed + of_choice[pair, choice] - own_choice[pair, name, choice],
            counted + of_pair[pair] - own[pair, name],
        )
    return found


def _estimates(batch: JudgedBatch) -> dict[str, tuple[float | None, float | None]]:
    guess_a, habit_ak = batch.judged.guess_a, batch.judged.habit_ak
    bias_a = guess_a * (habit_ak[:, 0] - habit_ak[:, 1])
    return {
        name: (float(1.0 - guess_a[a]), float(bias_a[a])) for a, name in enumerate(batch.annotators)
    }
