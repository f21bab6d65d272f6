"""What one answer of a judge says, and what the answers to both orders of a task say together.

The log-odds of a task are the mean over both orders, taken before anything is decided: what an
order adds for the side that comes first cancels. Three modes, by what the server tells:

    logits    the log-probability of each label, at temperature 0
    verdict   a label alone; it counts as one answer beside half a one for each label
    samples   several labels of each order, at temperature 1, counted likewise

What cannot be read as one label, is refused, or puts more than half of its chance on something
else, makes the task a skip with its reason, and never a tie or a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from winnow.campaign import Judge
from winnow.chat_server import REFUSED, Misshapen
from winnow.label.vendor import MOST_ODDS
from winnow.label.vendors.judge.prompt import LABELS

LEAST_MASS = 0.5
"""Chance of the labels together below which an answer says nothing."""
_LOWEST = -50.0
"""Log-probability of what cannot be: servers say -9999 or -inf."""
_HIGHEST = 0.01
"""Log-probability above which a number is none; a server may round."""
_MOST_TOKENS = 10_000_000
"""Of one answer; a server that tells more tells nothing."""
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: log-probabilities of the labels, or one label, or why it is none.

    `fault` begins with `refused` or `unparsed`; `cost` is in micro-dollars, None where the server
    does not tell its tokens.
    """

    logs: tuple[float, ...] | None = None
    mass: float | None = None
    label: str | None = None
    fault: str = ""
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a task's answers come to; numbers are of side a, `rationale` is why it is a skip."""

    choice: str
    rationale: str | None = None
    log_odds: float | None = None
    order_effect: float | None = None
    label_mass: float | None = None


def read(response: httpx.Response, judge: Judge, wants_logs: bool) -> Said:
    """What an answer says.

    Raises:
        Misshapen: It is no completion.
    """
    if response.status_code in REFUSED:
        return Said(fault=f"refused: HTTP {response.status_code}", cost=0)
    try:
        answer = _Answer.model_validate_json(response.content)
        choice = answer.choices[0]
    except (ValidationError, IndexError):
        raise Misshapen("its answer is no chat completion") from None
    usage = answer.usage
    cost = None if usage is None else judge.cost(usage.prompt_tokens, usage.completion_tokens)
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        return Said(fault="refused: by the server or the model", cost=cost)
    content = (choice.message.content or "").strip()
    if not content:
        return Said(fault=f"unparsed: no content ({choice.finish_reason})", cost=cost)
    told = choice.logprobs.content if choice.logprobs is not None else None
    if wants_logs and told and told[0].top_logprobs:
        if not all(t.logprob <= _HIGHEST for t in told[0].top_logprobs):
            return Said(fault="unparsed: its log-probabilities are none", cost=cost)
        logs, mass = _label_logs({t.token: t.logprob for t in told[0].top_logprobs})
        fault = "" if mass >= LEAST_MASS else f"unparsed: {mass:.3f} of its chance is on a label"
        return Said(logs, mass, fault=fault, cost=cost)
    label = _label(content)
    if wants_logs or label is None:
        missing = "log-probabilities" if wants_logs else "label"
        return Said(label=label, fault=f"unparsed: no {missing}", cost=cost)
    return Said(label=label, cost=cost)


def together(orders: tuple[Sequence[Said], Sequence[Said]]) -> Verdict:
    """The verdict of a task by its answers, those with side a first and those with side b first."""
    mass = min((s.mass for said in orders for s in said if s.mass is not None), default=None)
    faults = [s.fault for said in orders for s in said if s.fault]
    if faults:
        return Verdict("skip", faults[0], label_mass=mass)
    (a_first, b_second, tie_one), (b_first, a_second, tie_other) = map(_order, orders)
    first, other = a_first - b_second, a_second - b_first
    a, b, tie = a_first + a_second, b_first + b_second, tie_one + tie_other
    choice = "tie" if tie > max(a, b) or abs(a - b) < _SAME else "a" if a > b else "b"
    return Verdict(
        choice,
        log_odds=_cut((first + other) / 2.0),
        order_effect=_cut((first - other) / 2.0),
        label_mass=mass,
    )


def _order(said: Sequence[Said]) -> tuple[float, ...]:
    """Log-chances of the labels in one order, up to a constant."""
    if said[0].logs is not None:
        return said[0].logs
    return tuple(math.log(0.5 + sum(s.label == label for s in said)) for label in LABELS)


def _cut(odds: float) -> float:
    return max(-MOST_ODDS, min(MOST_ODDS, odds))


def _label_logs(told: Mapping[str, float]) -> tuple[tuple[float, ...], float]:
    """Log-probability of each label, all ways to write it, and their sum as a chance.

    A label that is not among the likeliest is no likelier than the least of them, nor than what
    they leave.
    """
    chances = {token: math.exp(max(_LOWEST, min(0.0, log))) for token, log in told.items()}
    rest = max(math.exp(_LOWEST), 1.0 - math.fsum(chances.values()))
    unseen = min(*chances.values(), rest) if chances else rest
    found = {
        label: [p for token, p in chances.items() if _label(token) == label] for label in LABELS
    }
    logs = tuple(math.log(math.fsum(found[x]) if found[x] else unseen) for x in LABELS)
    return logs, min(1.0, math.fsum(p for some in found.values() for p in some))


def _label(text: str) -> str | None:
    """The label that a token or a whole answer is.

    >>> _label(' "a'), _label("A."), _label("All")
    ('A', 'A', None)
    """
    bare = text.strip(" \t\n\r\"'`*().:[]Ġ▁").upper()
    return bare if bare in LABELS else None


class _Token(BaseModel):
    token: str
    logprob: float


class _Place(BaseModel):
    top_logprobs: list[_Token] = []


class _Logprobs(BaseModel):
    content: list[_Place] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


_Count = Annotated[int, Field(ge=0, le=_MOST_TOKENS)]


class _Usage(BaseModel):
    prompt_tokens: _Count
    completion_tokens: _Count


def _usage_or_none(usage: Any, read: ValidatorFunctionWrapHandler) -> _Usage | None:
    """None of what is no count of tokens: an answer is not refused for that."""
    try:
        found: _Usage | None = read(usage)
    except ValidationError:
        return None
    return found


class _Answer(BaseModel):
    choices: list[_Choice]
    usage: Annotated[_Usage | None, WrapValidator(_usage_or_none)] = None
