"""How often the gate errs, how soon it finds a bad model, what it costs where the model is good.

Two parts. The first simulates campaigns of exploration labels with a model of a known kind, and
asks the product's gate after every night; beside it stands the gate as it was, which closed unless
the model beat both rivals by two standard errors on the last ten nights. The second runs whole
campaigns that learn, with the product's own choosing and fitting, on planted pools or on judged
ones: with no gate, with either gate, and always fallen back.

Always holds: both gates see the same labels, every arm the same prompts and answers; the same seeds
give the same figures.

Shapes: e labels, n responses of one prompt, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from winnow.arrays import BoolArray, FloatArray
from winnow.campaign import Select
from winnow.commands.say import progress_bar
from winnow.errors import Fatal
from winnow.ids import seed_from
from winnow.intervals import wilson
from winnow.reward import Blocks, ExplorationNight, Gate, GateState, Posterior, fit, prior_of
from winnow.reward.blocks import one_block
from winnow.reward.calibration import label_losses
from winnow.reward.logistic import Labels, most_probable, sigmoid
from winnow.select import Pool, Rules, choose_for_pools
from winnow.select.fallback import effective_dimension, effective_rules
from winnow.stages.select import pool_rules
from winnow_bench.document import machine, write_report
from winnow_bench.evaluate import POLICY_SHARPNESS, label_chance, softmax
from winnow_bench.gate_page import gate_page, labels, points, share
from winnow_bench.statistics import compare
from winnow_bench.world import World, read_worlds

NIGHTS = (5, 10, 20, 50, 100)
LABELS_A_NIGHT = 30
TURNS = 20
"""Night after which a model turns bad, or good."""

LIMITS = (
    "The models of the first table are simulated: their kind is known and changes only where that "
    "is said, every label is another prompt's, and every night has the same number of labels.",
    "The campaigns of the second table learn from answers drawn from known qualities; people are "
    "noisier in ways that are not modelled.",
    "A model that states nearly one half of every pair neither helps nor harms here, whatever it "
    "would choose.",
)

_LENGTH_SPREAD, _LENGTH_EFFECT = 0.6, 0.5
_REWARD_SPREAD = 1.1
"""Standard deviation, in logits, of what else tells two responses apart."""

_STATED = {"weak": 0.45}
_USUAL = 0.9
"""How much of it, in logits, a model comes to know; and one that turns bad or is inverted."""

_LEARNT_BY = 3.0
"""Night at which a model knows half of the variance that it will."""


@dataclass(frozen=True, slots=True, eq=False)
class _Votes:
    """A night's exploration labels with what the model stated."""

    p_e: FloatArray
    length_e: FloatArray
    preferred_e: FloatArray

    @property
    def night(self) -> ExplorationNight:
        return ExplorationNight(self.p_e, self.length_e, self.preferred_e)


Stated = Callable[[FloatArray, FloatArray, int, np.random.Generator], FloatArray]
"""What a model states: of calibrated chances, length differences, the night and a generator."""


def _boasted(p_e: FloatArray, _: FloatArray, __: int, rng: np.random.Generator) -> FloatArray:
    return rng.permutation(p_e)


def _by_length(_: FloatArray, length_e: FloatArray, night: int, rng: np.random.Generator) -> Any:
    """The length effect as about 130 labels a night, four times the exploration's, teach it."""
    error = rng.normal() / np.sqrt(130.0 * night * 0.23 * _LENGTH_SPREAD**2)
    return sigmoid((0.85 * _LENGTH_EFFECT + error) * length_e)


KINDS: Mapping[str, tuple[str, Stated]] = {
    "useful": ("knows two thirds of the reward, calibrated", lambda p, *_: p),
    "weak": ("knows a sixth of it", lambda p, *_: p),
    "useless": (
        "states about one half, at random",
        lambda p, _, __, rng: sigmoid(rng.normal(0.0, 0.1, len(p))),
    ),
    "length": ("knows the length alone", _by_length),
    "random": (
        "sure at random, by one logit",
        lambda p, _, __, rng: sigmoid(rng.normal(size=len(p))),
    ),
    "inverted": ("the useful one, upside down", lambda p, *_: 1.0 - p),
    "turns bad": (
        f"useful, and random after night {TURNS}",
        lambda p, x, night, rng: _boasted(p, x, night, rng) if night > TURNS else p,
    ),
    "turns good": (
        f"random, and useful after night {TURNS}",
        lambda p, x, night, rng: p if night > TURNS else _boasted(p, x, night, rng),
    ),
}
"""The models: what each knows, and what it states."""


class _Judge(Protocol):
    """A gate: the state after one more night."""

    def add(self, night: ExplorationNight) -> GateState: ...


class TwoErrors:
    """The gate as it was: open where the model beats both by two standard errors, else closed."""

    def __init__(self) -> None:
        self._nights: list[ExplorationNight] = []

    def add(self, night: ExplorationNight) -> GateState:
        """The state by the last ten nights; undecided below 100 labels."""
        self._nights = [*self._nights, night][-10:]
        p, x, y = (
            np.concatenate([np.asarray(getattr(each, name)) for each in self._nights])
            for name in ("p_e", "length_e", "preferred_e")
        )
        if len(p) < 100:
            return "undecided"
        voted = Labels(x[:, None], y, np.ones(len(y)))
        slope = most_probable(voted, np.array([1e-3]), np.zeros(1)).theta_k[0]
        own_e, length_e = label_losses(p, y), label_losses(sigmoid(slope * x), y)
        gains = (np.log(2.0) - own_e, length_e - own_e)
        beaten = all(g.mean() > 2.0 * g.std(ddof=1) / np.sqrt(len(g)) for g in gains)
        return "open" if beaten else "closed"


GATES: Mapping[str, Callable[[], _Judge]] = {"by evidence": Gate, "two standard errors": TwoErrors}


def run(
    out: Path, n_campaigns: int, n_seeds: int, folder: Path | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; write gate.json and gate.html to `out`.

    Raises:
        Fatal: Fewer than one campaign or two seeds.
        Corrupt: The folder does not hold judged pools.
    """
    if n_campaigns < 1 or n_seeds < 2:
        raise Fatal(f"{n_campaigns} campaigns and {n_seeds} seeds: use at least 1 and 2.")
    worlds = {"planted": planted, **({} if folder is None else _judged_worlds(folder))}
    with threadpool_limits(1), progress_bar("Cells", len(KINDS) + len(worlds)) as advance:
        rows: list[dict[str, Any]] = []
        for kind in KINDS:
            rows += operating(kind, n_campaigns)
            advance()
        costs: list[dict[str, Any]] = []
        for name, world in worlds.items():
            costs += cost(name, world, n_seeds)
            advance()
    report = {
        "campaigns": n_campaigns,
        "labels_a_night": LABELS_A_NIGHT,
        "seeds": n_seeds,
        "machine": machine(),
        "kinds": {kind: words for kind, (words, _) in KINDS.items()},
        "rows": rows,
        "costs": costs,
        "limits": LIMITS,
    }
    write_report(out, "gate", report, gate_page(report))
    say(table(report))
    return report


# Simulated campaigns of a known model.


def operating(kind: str, n_campaigns: int) -> list[dict[str, Any]]:
    """A row a gate for a kind of model: states by night, and how many labels a change takes."""
    states: dict[str, list[list[GateState]]] = {name: [] for name in GATES}
    votes: list[_Votes] = []
    for campaign in range(n_campaigns):
        judges = {name: made() for name, made in GATES.items()}
        nights = list(_nights(kind, campaign))
        for name, judge in judges.items():
            states[name].append([judge.add(votes.night) for votes in nights])
        votes += nights[len(nights) // 2 :]
    every = [np.concatenate([getattr(v, n) for v in votes]) for n in _Votes.__slots__]
    p, x, y = every
    losses = {
        "log_loss": float(label_losses(p, y).mean()),
        "length_log_loss": float(label_losses(sigmoid(0.85 * _LENGTH_EFFECT * x), y).mean()),
    }
    return [
        {"kind": kind, "gate": name, **losses, **_found(kind, own)} for name, own in states.items()
    ]


def _nights(kind: str, campaign: int) -> Iterator[_Votes]:
    rng = np.random.default_rng(seed_from("bench", "gate", campaign))
    spread, stated = _STATED.get(kind, _USUAL), KINDS[kind][1]
    for night in range(1, NIGHTS[-1] + 1):
        known = spread * np.sqrt(night / (night + _LEARNT_BY))
        rest = np.sqrt(_REWARD_SPREAD**2 - known**2)
        length_e, known_e, rest_e = rng.normal(size=(3, LABELS_A_NIGHT))
        length_e *= _LENGTH_SPREAD
        logit_e = _LENGTH_EFFECT * length_e + known * known_e
        y_e = rng.random(LABELS_A_NIGHT) < sigmoid(logit_e + rest * rest_e)
        # What is not known shrinks a calibrated chance towards one half.
        p_e = sigmoid(logit_e / np.sqrt(1.0 + np.pi / 8.0 * rest**2))
        yield _Votes(stated(p_e, length_e, night, rng), length_e, y_e.astype(np.float64))


def _found(kind: str, states: Sequence[Sequence[GateState]]) -> dict[str, Any]:
    """Shares by night, and labels until a state: since the model turned, where it did."""
    by_night, n = np.array(states), len(states)
    start = {"closed": TURNS * (kind == "turns bad"), "open": TURNS * (kind == "turns good")}
    return {
        "nights": [
            {"night": night}
            | {
                name: [int(hits.sum()) / n, *wilson(int(hits.sum()), n)]
                for name, hits in (
                    *((state, by_night[:, night - 1] == state) for state in _STATES),
                    ("ever_closed", (by_night[:, :night] == "closed").any(axis=1)),
                )
            }
            for night in NIGHTS
        ],
        **{
            f"labels_until_{state}": _labels_until(by_night[:, since:] == state)
            for state, since in start.items()
        },
    }


_STATES: tuple[GateState, ...] = ("open", "undecided", "closed")


def _labels_until(is_so: BoolArray) -> list[float | None]:
    """Median and 95th percentile of the labels until it is so; None where more never see it."""
    first = np.where(is_so.any(axis=1), is_so.argmax(axis=1) + 1.0, np.inf) * LABELS_A_NIGHT
    found = np.quantile(first, (0.5, 0.95), method="inverted_cdf").tolist()
    return [labels if np.isfinite(labels) else None for labels in found]


# Campaigns that learn.


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A pool whose responses have known qualities, in logits."""

    prompt_id: str
    response_ids: Sequence[str]
    features_nd: FloatArray
    quality_n: FloatArray
    length_n: FloatArray
    blocked_n: BoolArray
    blocks: Blocks


ARMS: Mapping[str, Callable[[], _Judge | GateState]] = {
    "no gate": lambda: "open",
    "by evidence": Gate,
    "two standard errors": TwoErrors,
    "always fallen back": lambda: "closed",
}
"""What says whether the model may choose; a state: nothing asks."""

_LABELLED, _LEARNING_NIGHTS, _PAIRS = 200, 10, 4
_METRICS = ("policy", "pair accuracy", "winners")


def cost(name: str, world: Callable[[int], Sequence[Prompt]], n_seeds: int) -> list[dict[str, Any]]:
    """Mean of each figure for each arm, and what that is beyond no gate, with intervals."""
    values: list[dict[str, Any]] = [
        {"pool": name, "strategy": arm, "labels": _PAIRS, "pool_size": 0, "seed": seed}
        | {"metric": metric, "value": value}
        for seed in range(n_seeds)
        for arm in ARMS
        for metric, value in learnt(world(seed), arm, seed).items()
    ]
    beyond = {(row.strategy, row.metric): row for row in compare(values, ["no gate"])}
    rows = []
    for arm in ARMS:
        row: dict[str, Any] = {"pool": name, "arm": arm}
        for metric in (*_METRICS, "nights closed"):
            own = [v["value"] for v in values if (v["strategy"], v["metric"]) == (arm, metric)]
            other = beyond.get((arm, metric))
            row[metric] = float(np.mean(own))
            row[f"{metric} beyond"] = other and [other.difference, other.low, other.high]
        rows.append(row)
    return rows


def learnt(prompts: Sequence[Prompt], arm: str, seed: int) -> dict[str, float]:
    """What a campaign comes to with this arm; the last prompts are never labelled.

    Returns:
        policy: Chance that a pick by softmax(4 r̂) beats a random response of an unseen pool.
        pair accuracy: Share of unseen pairs whose better response the reward names.
        winners: Chance that the winner of a bought pair beats a random response of its pool.
        nights closed: Nights chosen by the fallback after the first.
    """
    labelled, unseen = prompts[:_LABELLED], prompts[_LABELLED:]
    posterior, judge, state = prior_of(prompts[0].blocks), ARMS[arm](), "open"
    bought: list[tuple[Prompt, int, int, bool]] = []
    n_closed = 0
    for number, night in enumerate(np.array_split(np.arange(len(labelled)), _LEARNING_NIGHTS)):
        rules = _rules(posterior, judge if isinstance(judge, str) else state, seed)
        n_closed += number > 0 and rules.strategy == "diversity"
        tonight = {labelled[k].prompt_id: labelled[k] for k in night}
        votes, pairs = _buy(tonight, posterior, rules, seed)
        bought += pairs
        if posterior.n_labels and not isinstance(judge, str):
            state = judge.add(votes.night)
            if state == "undecided" and isinstance(judge, TwoErrors):
                state = "open"  # As it was: the model was trusted.
        posterior = _fitted(bought)
    return {**_figures(posterior, unseen, bought), "nights closed": float(n_closed)}


def _rules(posterior: Posterior, state: Any, seed: int) -> Rules:
    rules = replace(pool_rules(Select()), budget=_PAIRS, seed=seed)
    return effective_rules(rules, posterior.n_labels, effective_dimension(posterior), state)[0]


def _buy(
    prompts: Mapping[str, Prompt], posterior: Posterior, rules: Rules, seed: int
) -> tuple[_Votes, list[tuple[Prompt, int, int, bool]]]:
    """The exploration's votes, and every pair with whether its first response won."""
    pools = [
        Pool(name, list(p.response_ids), p.features_nd, blocked=p.blocked_n)
        for name, p in sorted(prompts.items())
    ]
    explored, pairs = [], []
    for pool, choices in choose_for_pools(pools, posterior, rules):
        prompt = prompts[pool.prompt_id]
        luck_nn = np.random.default_rng(seed_from("gate", seed, pool.prompt_id)).random(
            (len(prompt.quality_n),) * 2
        )
        for c in choices:
            # A pair has one answer, whoever asks and in whatever order.
            i, j = min(c.i, c.j), max(c.i, c.j)
            first_wins = bool(luck_nn[i, j] < label_chance(prompt.quality_n, i, j)) == (c.i == i)
            pairs.append((prompt, c.i, c.j, first_wins))
            if c.kind == "exploration":
                length = prompt.length_n[c.i] - prompt.length_n[c.j]
                explored.append((c.p_first, length, float(first_wins)))
    p, x, y = np.array(explored).reshape(-1, 3).T
    return _Votes(p, x, y), pairs


def _fitted(bought: Sequence[tuple[Prompt, int, int, bool]]) -> Posterior:
    z = np.stack([prompt.features_nd[i] - prompt.features_nd[j] for prompt, i, j, _ in bought])
    nothing = np.zeros(len(bought))
    preferred, blocks = [won for *_, won in bought], bought[0][0].blocks
    return fit(z, preferred, np.ones(len(bought)), nothing, nothing, blocks=blocks)


def _figures(
    posterior: Posterior, unseen: Sequence[Prompt], bought: Sequence[tuple[Prompt, int, int, bool]]
) -> dict[str, float]:
    policy, right = list[float](), list[float]()
    for prompt in unseen:
        mean_n = posterior.mean(prompt.features_nd)
        policy.append(float(softmax(POLICY_SHARPNESS * mean_n) @ _beats(prompt)))
        better = np.subtract.outer(prompt.quality_n, prompt.quality_n) > 0
        right.append(float((np.subtract.outer(mean_n, mean_n)[better] > 0).mean()))
    won = [float(_beats(prompt)[i if first else j]) for prompt, i, j, first in bought]
    means = (float(np.mean(values)) for values in (policy, right, won))
    return dict(zip(_METRICS, means, strict=True))


def _beats(prompt: Prompt) -> FloatArray:
    """Chance that each response is preferred to a random one of its pool (n,)."""
    index = np.arange(len(prompt.quality_n))
    chance_nn = label_chance(prompt.quality_n, index[:, None], index[None, :])
    return np.asarray(chance_nn.mean(axis=1))


def planted(seed: int) -> list[Prompt]:
    """300 pools of 20 responses: 24 features, of which length is one, tell half of a quality."""
    rng = np.random.default_rng(seed_from("bench", "gate", "planted", seed))
    weight_d = rng.normal(size=24) * 0.9 ** np.arange(24)
    weight_d *= 2.0 / np.sqrt(weight_d @ weight_d)
    prompts = []
    for number in range(300):
        features_nd = rng.normal(size=(20, 24))
        quality_n = features_nd @ weight_d + 2.0 * rng.normal(size=20)
        ids = [f"{number}-{k}" for k in range(20)]
        blocked_n = np.zeros(20, dtype=np.bool_)
        length_n = 0.5 * features_nd[:, 0]
        centred_nd = features_nd - features_nd.mean(axis=0)
        facts = quality_n, length_n, blocked_n, one_block(24)
        prompts.append(Prompt(f"{number}", ids, centred_nd, *facts))
    return prompts


def _judged_worlds(folder: Path) -> dict[str, Callable[[int], Sequence[Prompt]]]:
    return {world.name: partial(_drawn, world) for world in read_worlds(folder)}


def _drawn(world: World, seed: int) -> list[Prompt]:
    """The pools in the seed's order, each without what counts for no figure."""
    pools = world.pools
    rng = np.random.default_rng(seed_from("bench", "gate", "judged", seed))
    prompts = []
    for k in rng.permutation(len(pools)):
        pool = pools[k]
        kept = np.flatnonzero(~pool.ignored_n)
        ids = [pool.response_ids[n] for n in kept]
        prompts.append(
            Prompt(
                pool.prompt_id,
                ids,
                pool.features_nd[kept],
                pool.quality_n[kept],
                pool.length_n[kept],
                pool.blocked_n[kept],
                world.blocks,
            )
        )
    return prompts


# What it says.


def table(report: Mapping[str, Any]) -> str:
    """The report as text."""
    lines = [
        f"{report['campaigns']} campaigns a cell, {report['labels_a_night']} exploration labels a "
        "night; shares with 95 % intervals",
    ]
    for row in report["rows"]:
        lines.append(
            f"{row['kind']} ({report['kinds'][row['kind']]}), {row['gate']}: log-loss "
            f"{row['log_loss']:.3f}, length {row['length_log_loss']:.3f}"
        )
        lines += [
            f"  {at['night']:>3} nights: "
            + ", ".join(
                f"{name.replace('_', ' ')} {share(at[name])}" for name in (*_STATES, "ever_closed")
            )
            for at in row["nights"]
        ]
        lines += [
            f"  labels until {state}: {labels(row[f'labels_until_{state}'])}"
            for state in ("open", "closed")
        ]
    for row in report["costs"]:
        lines.append(f"{row['pool']}, {row['arm']}: {row['nights closed']:.1f} nights fallen back")
        lines += [
            f"  {metric}: {100 * row[metric]:.1f}{points(row[f'{metric} beyond'])}"
            for metric in _METRICS
        ]
    return "\n".join([*lines, *(f"Cannot show: {limit}" for limit in report["limits"])])
