"""Who is asked about the pairs of a night: people, experts instead of them, and judges beside them.

People's pairs are chosen first, by the night, as if nobody else could be asked. Then, pool by pool:

- Pairs on which two dimensions more likely than not disagree (`Choice.p_conflict`) go to the
  experts instead, as far as their share goes. What was drawn to explore stays with people: it
  measures the model by what they say.
- What people are asked to explore all judges are asked too: what they are worth is learnt there.
- A judge that is heard (`winnow.reward.judges`) is asked further pairs, those whose answer lowers
  most, for its price, what people's answers leave uncertain and the policy cares for
  (`winnow.select.asking`).
- One that is not heard keeps to these pairs, by which it may come to be heard.

Always holds: judges cost no more than their share of what people's answers cost so far; the choice
depends on the pools in their order alone; a pair is asked of a source once.

Shapes: n distinct responses, d features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.ids import PEOPLE, seed_from
from winnow.reward.judges import Teachers
from winnow.reward.model import OVERALL
from winnow.reward.posterior import Head
from winnow.select.asking import Asked, ask_judges
from winnow.select.gains import preference_by_mixture
from winnow.select.packing import packed_pairs
from winnow.select.pool import Pool
from winnow.select.rules import FOR_JUDGE, Choice, Rules

EXPERTS_FROM = 0.5
"""Chance that two dimensions disagree above which a pair is one for experts. Lower, their share
fills with pairs that are merely uncertain: of those above 0.3 on planted data 0.71 were at odds, of
those above 0.5 0.84 (docs/choosing_pairs.md, "Several objectives")."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What is paid.

    Attributes:
        people: Micro-dollars that a pair of people's costs, second votes included.
        judges: Of a verdict, by the name of the judge's model.
        judge_share: What judges may cost, of what people's pairs cost.
        expert_share: Pairs that experts get, of all that people get, at most.
    """

    people: int
    judges: Mapping[str, int]
    judge_share: float
    expert_share: float


@dataclass(slots=True, eq=False)
class BesidePeople:
    """Asks others beside people, of one pool after the other.

    Attributes:
        heads: What is believed of people's reward, by dimension.
        teachers: What is believed of the judges, by head.
        rules: Of the night.
        prices: What is paid, and how much at most.
        sources: Name of each judge's source, by its model.
        experts: Name of the source that conflicts go to; None: they stay with people.
        left: Micro-dollars that judges may still cost, of what they may by the pools so far.
        n_pairs: Pairs of people and experts so far.
        n_expert: Those of experts.
    """

    heads: Mapping[str, Head]
    teachers: Mapping[str, Teachers]
    rules: Rules
    prices: Prices
    sources: Mapping[str, str]
    experts: str | None = None
    left: float = 0.0
    n_pairs: int = 0
    n_expert: int = 0

    def of(self, pool: Pool, choices: Sequence[Choice]) -> list[Choice]:
        """The choices of a pool with who is asked, then those that only judges are asked."""
        asked = [replace(each, sources=(self._person(each),)) for each in choices]
        if not self.sources or not choices:
            return asked
        self.left += self.prices.judge_share * self.prices.people * len(choices)
        beside = self._beside(pool, asked)
        pairs = {(each.i, each.j): n for n, each in enumerate(asked)}
        alone: dict[tuple[int, int], Choice] = {}
        for each in beside:
            pair, name = (each.i, each.j), self.sources[each.teacher]
            if pair in pairs:
                held = asked[pairs[pair]]
                asked[pairs[pair]] = replace(held, sources=(*held.sources, name))
            elif pair in alone:
                alone[pair] = replace(alone[pair], sources=(*alone[pair].sources, name))
            else:
                rank = len(asked) + len(alone)
                alone[pair] = self._judged(pool, each, rank, name)
        self.left -= sum(each.price for each in beside)
        return [*asked, *alone.values()]

    def _person(self, choice: Choice) -> str:
        """Who of people is asked: the experts of a conflict, as far as their share goes."""
        self.n_pairs += 1
        is_split = choice.p_conflict is not None and choice.p_conflict > EXPERTS_FROM
        if self.experts is None or not is_split or choice.arm == "explore":
            return PEOPLE
        if self.n_expert + 1 > self.prices.expert_share * self.n_pairs:
            return PEOPLE
        self.n_expert += 1
        return self.experts

    def _beside(self, pool: Pool, asked: Sequence[Choice]) -> list[Asked]:
        """What judges are asked of a pool."""
        budget, teachers = self.left, self.teachers.get(pool.asked or OVERALL)
        heard = {judge.name for judge in teachers.joint.judges} if teachers else set()
        chosen: list[Asked] = []
        for model, price in sorted(self.prices.judges.items()):
            for each in asked:
                if each.arm == "explore" and price <= budget:
                    chosen.append(Asked(model, each.i, each.j, 0.0, price))
                    budget -= price
        heard &= self.prices.judges.keys()
        if teachers is None or not heard:
            return chosen
        order_m = pool.distinct()
        place = {int(n): k for k, n in enumerate(order_m)}
        people = [Asked(PEOPLE, each.i, each.j, 0.0, 0) for each in asked]
        first = [each._replace(i=place[each.i], j=place[each.j]) for each in (*people, *chosen)]
        features_nd = np.asarray(pool.features_nd, np.float64)[order_m]
        more = ask_judges(
            features_nd - features_nd.mean(axis=0),
            _log_lengths(pool, order_m),
            _open_pairs(pool, order_m),
            teachers.joint,
            self.rules,
            {name: price for name, price in self.prices.judges.items() if name in heard},
            int(budget),
            _draws(self.rules, features_nd.shape[1]),
            first,
        )
        return chosen + [
            each._replace(i=int(order_m[each.i]), j=int(order_m[each.j])) for each in more
        ]

    def _judged(self, pool: Pool, each: Asked, rank: int, name: str) -> Choice:
        """A pair that nobody but judges is asked."""
        name_of_head = pool.asked or OVERALL
        pair_2d = np.asarray(pool.features_nd[[each.i, each.j]], np.float64)
        head = self.heads[name_of_head]
        mean_2, cov_22 = head.mean(pair_2d), head.cov(pair_2d)
        sd = np.sqrt(cov_22[0, 0] + cov_22[1, 1] - 2.0 * cov_22[0, 1])
        return Choice(
            i=each.i,
            j=each.j,
            arm="exploit",
            rank=rank,
            score=each.gain,
            propensity=None,
            reason=FOR_JUDGE,
            info_gain=0.0,
            decision_gain=each.gain,
            contested=name_of_head,
            fisher=0.0,
            fishers=(),
            p_first=float(preference_by_mixture(mean_2[0] - mean_2[1], sd)),
            p_conflict=None,
            conflict=False,
            sources=(name,),
        )


@lru_cache(maxsize=4)
def _draws(rules: Rules, d: int) -> FloatArray:
    """Standard normal draws (draws, d), the same for every pool of a night."""
    rng = np.random.default_rng(seed_from("draws", rules.seed))
    return rng.standard_normal((rules.n_draws, d))


def _log_lengths(pool: Pool, order_m: IndexArray) -> FloatArray:
    """Log lengths, by tokens; a refit has characters, whose differences are nearly the same."""
    if pool.n_tokens is None:
        return np.zeros(len(order_m))
    return np.log1p(np.asarray(pool.n_tokens, np.float64)[order_m])


def _open_pairs(pool: Pool, order_m: IndexArray) -> BoolArray:
    m = len(order_m)
    open_nn = np.zeros((m, m), np.bool_)
    open_nn[packed_pairs(m)] = pool.open_pairs(order_m)
    return open_nn | open_nn.T
