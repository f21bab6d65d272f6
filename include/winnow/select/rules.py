"""What goes into choosing and what comes out of it: rules, candidates and choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from winnow.errors import Fatal
from winnow.select.labels import Prospects

FOR_JUDGE = "judge"
"""Why a pair is chosen that nobody but judges is asked."""

UNGUIDED = frozenset({"random", "traditional"})
"""Strategies that draw uniformly, whatever the model, its gate and `fresh_first` say."""


def is_guided(strategy: str) -> bool:
    """Whether a strategy reads the reward model, so that labels teach it what to choose.

    >>> is_guided("decision_gain"), is_guided("diversity"), is_guided("random")
    (True, False, False)
    """
    return strategy not in UNGUIDED and strategy != "diversity"


@dataclass(frozen=True, slots=True)
class Rules:
    """How many pairs to choose from each pool, and how.

    Attributes:
        budget: Pairs per pool at most.
        strategy: A name in `winnow.select.STRATEGIES`, or in what the chooser is given instead;
            it refuses another.
        exploration: Share of the budget drawn uniformly.
        max_pairs_per_response: Pairs that a response may be greedily chosen for; None: no cap.
        fresh_first: Whether a response is greedily chosen again only when no open pair of two
            responses is left of which neither was chosen.
        seed: Together with the prompt id it decides every random draw.
        kappa: Sharpness of the policy softmax(κ r) that `decision_gain` has in mind, per logit.
        alpha: Weight of the information gain in `hybrid`, in [0, 1]; None: 1 before any label and
            0.1 after.
        spread: Whether `hybrid` prefers pairs unlike the chosen ones.
        cost_base: Cost of a pair whatever its texts, second votes included; any unit.
        cost_per_token: Further cost of each token that the annotator reads, in the same unit.
        traditional_k: Responses that `traditional` draws; None: the budget, at least two.
        residual_sd: Standard deviation τ, logits, of the part of each response's reward that no
            feature tells.
        n_draws: Joint draws of the rewards that `decision_gain` and `dts` work with.
        dimension_weights: What some dimensions count for in the policy's reward, at least 0; the
            others count 1.

    Raises:
        Fatal: A number is out of range.
    """

    budget: int
    strategy: str = "info_gain"
    exploration: float = 0.15
    max_pairs_per_response: int | None = 2
    fresh_first: bool = False
    seed: int = 0
    kappa: float = 4.0
    alpha: float | None = None
    spread: bool = True
    cost_base: float = 1.0
    cost_per_token: float = 0.0
    traditional_k: int | None = None
    residual_sd: float = 0.0
    n_draws: int = 64
    dimension_weights: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        cap, k = self.max_pairs_per_response, self.traditional_k
        if self.budget < 0 or not 0.0 <= self.exploration <= 1.0 or (cap is not None and cap < 1):
            raise Fatal(
                f"{self}: budget must be at least 0, exploration within [0, 1] and "
                "max_pairs_per_response at least 1 or none."
            )
        if not 0.0 < self.kappa < float("inf") or not 0.0 <= (self.alpha or 0.0) <= 1.0:
            raise Fatal(f"{self}: kappa must be finite and above 0, alpha within [0, 1] or none.")
        if not 0.0 < self.cost_base < float("inf") or not 0.0 <= self.cost_per_token < float("inf"):
            raise Fatal(f"{self}: cost_base must be above 0 and cost_per_token at least 0.")
        if not 0.0 <= self.residual_sd < float("inf"):
            raise Fatal(f"{self}: residual_sd must be finite and at least 0.")
        if self.n_draws < 2 or (k is not None and k < 2):
            raise Fatal(f"{self}: n_draws and traditional_k must be at least 2.")
        if not all(0.0 <= weight < float("inf") for _, weight in self.dimension_weights):
            raise Fatal(f"{self}: dimension_weights must be finite and at least 0.")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that could be taken next.

    Attributes:
        pair: Its position among the packed pairs of its `PoolChooser`.
        i: Index in the pool of the response with the smaller id.
        j: Index of the other one.
        score: What the strategy gives it now.
        prospects: What its label is expected to say, in units that compare across prompts.
    """

    pair: int
    i: int
    j: int
    score: float
    prospects: Prospects


@dataclass(frozen=True, slots=True)
class Choice:
    """A pair worth a label, with its `Prospects` as they were when it was chosen.

    Attributes:
        i: Index in the pool of the response with the smaller id.
        j: Index of the other one.
        arm: "explore" when drawn uniformly, "exploit" when the best of its round.
        rank: 0 for the first pair chosen from the pool.
        score: What the strategy gave it.
        propensity: Chance that the exploration arm draws this pair; None for the other arm.
        reason: Why it was taken: "exploration", "best", or what the caller gave.
        sources: Who is asked, where not people alone can be (`winnow.select.beside_people`).
    """

    i: int
    j: int
    arm: Literal["explore", "exploit"]
    rank: int
    info_gain: float
    decision_gain: float | None
    score: float
    contested: str
    fisher: float
    fishers: tuple[float, ...]
    p_first: float
    p_conflict: float | None
    conflict: bool
    propensity: float | None
    reason: str
    sources: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["exploration", "judged", "selected"]:
        """Its kind of comparison; `judged` where no person is asked."""
        if self.reason == FOR_JUDGE:
            return "judged"
        return "exploration" if self.arm == "explore" else "selected"
