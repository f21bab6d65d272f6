"""What publish manifests tell of the selector, night by night.

A manifest of an older version of the code lacks some figures; what is not there, or is not what it
should be, is None, and the pages say that it was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from winnow.console.stages import Done, Stages
from winnow.reward.calibration import ReliabilityBin
from winnow.reward.drift import Drift
from winnow.text import plain_text

STATES = ("open", "closed", "undecided")
"""What the gate can say."""


@dataclass(frozen=True, slots=True)
class Night:
    """A batch as it speaks of the selector.

    Attributes:
        key: The batch.
        strategy: What chose its pairs; None: not known.
        fallback: Why that is not the campaign's own strategy; may be empty.
        state: What the gate said after the batch; None: not measured.
        reason: The gate's sentence.
        n: Exploration labels that the gate was judged on.
        log_loss: Of the model, nats a label.
        length_log_loss: Of the advice to expect the longer response to win.
        ece: Calibration error, with its interval.
        temperature: Of the posterior that came out.
        labels: Labels behind that posterior.
    """

    key: str
    strategy: str | None
    fallback: str
    state: str | None
    reason: str
    n: int | None
    log_loss: float | None
    length_log_loss: float | None
    ece: tuple[float, float, float] | None
    temperature: float | None
    labels: int | None


_BLOCKS = {
    "embedding": "what it says (embedding)",
    "embedding:policy": "what it says (states of the policy)",
    "style": "length and form",
    "pool": "its place in the pool",
    "logprob": "log-probability by the policy",
    "model": "which model wrote it",
    "score": "score of",
    "state": "hidden state of",
}
"""What a block of features tells of a response, by its name or its kind."""

_NAMED = frozenset({"score", "state"})
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Heard:
    """A block of features in words, and what it adds to a pair's reward difference, logits."""

    block: str
    logits: float


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy of the bake-off: (mean, low, high) each, None where too few votes speak of it."""

    strategy: str
    prompts: float
    information: tuple[float, float, float] | None
    taught: tuple[float, float, float] | None
    gain: tuple[float, float, float] | None

    @property
    def is_measured(self) -> bool:
        """Whether any figure speaks of it."""
        return any((self.information, self.taught, self.gain))


@dataclass(frozen=True, slots=True)
class ToldJudge:
    """A judge beside people's votes, as `winnow.reward.judges` has it; None: not told."""

    head: str
    name: str
    verdicts: int | None
    is_heard: bool
    evidence: float | None
    kappa: float | None
    taste: float | None
    noise: float | None
    taught_nats: float | None


@dataclass(frozen=True, slots=True)
class PeopleAlone:
    """How many votes of a night two models foresaw: with judges, and by people's votes alone."""

    votes: int
    heard_right: float
    heard_loss: float
    alone_right: float
    alone_loss: float


@dataclass(frozen=True, slots=True)
class BakeOff:
    """What the last batches' exploration votes say of every strategy."""

    batches: int
    prompts: int
    votes: int
    contenders: Sequence[Contender]


def night_of(key: str, published: Done, stages: Stages | None) -> Night:
    """A published batch; its strategy only where its other stages are known."""
    found = published.figures
    told = found.get("gate")
    gate: Mapping[str, Any] = told if isinstance(told, dict) else {}
    state = gate.get("state")
    select = stages.done.get("select") if stages else None
    strategy = select.figures.get("strategy") if select else None
    fallback = select.figures.get("fallback") if select else None
    return Night(
        key=key,
        strategy=strategy if isinstance(strategy, str) else None,
        fallback=fallback if isinstance(fallback, str) else "",
        state=state if state in STATES else None,
        reason=str(gate.get("reason") or ""),
        n=_whole(gate.get("n")),
        log_loss=_number(gate.get("log_loss")),
        length_log_loss=_number(gate.get("length_log_loss")),
        ece=_three([found.get(name) for name in ("ece", "ece_low", "ece_high")]),
        temperature=_number(found.get("temperature")),
        labels=_whole(found.get("posterior_labels")),
    )


def reliability_of(published: Done) -> list[ReliabilityBin]:
    """Bins of stated against seen probability; empty where the manifest has none."""
    rows = published.figures.get("reliability")
    bins = []
    for row in rows if isinstance(rows, list) else []:
        n, shares = (row[0], row[1:]) if isinstance(row, list) and len(row) == 3 else (None, [])
        known = [_number(share) for share in shares]
        stated, observed = known if len(known) == 2 else (None, None)
        count = _whole(n)
        if not count or stated is None or observed is None:
            return []
        if not (0.0 <= stated <= 1.0 and 0.0 <= observed <= 1.0):
            return []
        bins.append(ReliabilityBin(count, stated, observed))
    return bins


def heard_of(published: Done) -> list[Heard]:
    """What the model listens to, the loudest first; empty where the manifest does not tell."""
    rows = published.figures.get("listens_to")
    logits = {
        plain_text(str(name)): value
        for name, each in (rows.items() if isinstance(rows, dict) else ())
        if (value := _number(each)) is not None and value >= 0.0
    }
    loudest = sorted(logits, key=lambda name: (-logits[name], name))
    return [Heard(_block_in_words(name), logits[name]) for name in loudest]


_OF_JUDGE = ("evidence", "kappa", "taste", "noise", "taught_nats")


def people_alone_of(published: Done) -> PeopleAlone | None:
    """The night with people alone; None where the model that chose it heard no judge."""
    told = published.figures.get("people_alone")
    if not isinstance(told, dict):
        return None
    votes = _whole(told.get("votes"))
    parts = [told.get(name) for name in ("heard", "alone")]
    found = [
        _number(each.get(of)) if isinstance(each, dict) else None
        for each in parts
        for of in ("right", "log_loss")
    ]
    known = [value for value in found if value is not None]
    return PeopleAlone(votes, *known) if votes and len(known) == len(found) else None


def judges_of(published: Done) -> list[ToldJudge]:
    """What is believed of the judges, by head and name; empty where nobody but people was asked."""
    told = published.figures.get("judges")
    rows = []
    for head, judges in sorted(told.items()) if isinstance(told, dict) else ():
        for name, each in sorted(judges.items()) if isinstance(judges, dict) else ():
            if isinstance(each, dict):
                rows.append(
                    ToldJudge(
                        plain_text(str(head)),
                        plain_text(str(name)),
                        _whole(each.get("verdicts")),
                        each.get("is_heard") is True,
                        *(_number(each.get(of)) for of in _OF_JUDGE),
                    )
                )
    return rows


def moved(drift: Drift) -> list[tuple[str, int, int]]:
    """Rows of the table of what the last night changed: what, how many, of how many."""
    rows = [
        ("pairs that its labels turned the other way round", drift.turned, drift.pairs),
        ("votes for a side that the model that chose foresaw", drift.foreseen, drift.decided),
    ]
    if drift.older_votes:
        older = f"votes that the {drift.older_votes:,} older votes alone would have foreseen"
        rows.append((older, drift.foreseen_by_older, drift.decided))
    return rows


def _block_in_words(name: str) -> str:
    kind, _, whose = name.partition(":")
    words = _BLOCKS.get(name) or _BLOCKS.get(kind, kind)
    if len(whose) > _LONGEST_NAME:  # The end of a path tells models apart.
        whose = f"…{whose[1 - _LONGEST_NAME :]}"
    return f"{words} {whose}" if kind in _NAMED else words


def bake_off_of(published: Done) -> BakeOff | None:
    """The bake-off that a manifest tells of; None where it has none."""
    told = published.figures.get("bake_off")
    if not isinstance(told, dict) or not isinstance(told.get("strategies"), list):
        return None
    found = [
        Contender(
            plain_text(str(row.get("strategy")))[:40],
            _number(row.get("prompts")) or 0.0,
            _three(row.get("information")),
            _three(row.get("taught")),
            _three(row.get("gain")),
        )
        for row in told["strategies"]
        if isinstance(row, dict)
    ]
    batches, prompts, votes = (_whole(told.get(n)) or 0 for n in ("batches", "prompts", "votes"))
    return BakeOff(batches, prompts, votes, found)


def verdict(found: BakeOff, used: str | None) -> str:
    """What follows from the bake-off, in a sentence or two."""
    measured = [each for each in found.contenders if each.gain is not None]
    if not measured:
        return (
            f"Not enough votes yet: {found.votes:,} exploration votes of {found.batches:,} "
            "batches that a model chose. About 20 prompts must have a vote on one of a strategy's "
            "own picks, which is a tenth of the pairs."
        )
    better = [each.strategy for each in measured if each.gain and each.gain[1] > 0]
    worse = [each.strategy for each in measured if each.gain and each.gain[2] < 0]
    told = []
    if better:
        told.append(f"Picks of {_and(better)} taught more than uniform draws.")
    if worse:
        told.append(f"Picks of {_and(worse)} taught less than uniform draws.")
    if not told:
        told.append("No strategy's picks taught measurably more or less than uniform draws.")
    own = next((each for each in measured if each.strategy == used), None)
    if own is not None and own.strategy not in (*better, *worse):
        told.append(f"For {own.strategy}, which chose the last batch, the votes do not decide it.")
    return " ".join(told)


def _and(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _three(values: Any) -> tuple[float, float, float] | None:
    if not isinstance(values, list) or len(values) != 3:
        return None
    mean, low, high = (_number(value) for value in values)
    return None if mean is None or low is None or high is None else (mean, low, high)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isfinite(value) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
