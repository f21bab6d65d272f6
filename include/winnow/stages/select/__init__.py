"""Select: score every pair of every pool, choose the few that are worth a label.

The pairs depend on the pools, the reward model and the campaign's settings alone. The model that
was used is stored with them, and each pair says why it was chosen.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

import pyarrow as pa

from winnow.batch import Batch, Manifest, quarantine_table
from winnow.campaign import Campaign, Label, Select
from winnow.expand.features import vectors_table
from winnow.ids import PEOPLE, pair_id, ranking_id
from winnow.pace import Pace, noted
from winnow.records import COMPARED, COMPARISONS, RANKINGS, Quarantined, to_table
from winnow.reward import OVERALL, GateState, Posterior, RewardModel, fit_projection, prior_of
from winnow.select import Choice, Pool, Rules, one_blas_thread
from winnow.select.beside_people import BesidePeople, Prices
from winnow.select.budget import Capacity, NightRules
from winnow.select.fallback import effective_dimension, effective_rules, untrusted_because
from winnow.select.night import Night, NightReport
from winnow.select.ranking_night import RankingNight
from winnow.stages.compared import with_pool_columns
from winnow.stages.expand.brought_labels import LISTED as LABELS
from winnow.stages.select import reward_model
from winnow.stages.select.brought_labels import brought_rows
from winnow.stages.select.candidates import Candidates, NightCandidates

STAGE = "select"

_OF_CHOICE = (
    *("kind", "rank", "reason", "info_gain", "decision_gain", "score"),
    *("p_first", "contested", "conflict", "p_conflict", "propensity"),
)
"""Columns of `records.COMPARISONS` that a choice has."""


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for cycles of objects a hundredth as often.

    Selection makes none, and looking at all that a part holds took a tenth of its time.
    """
    often = gc.get_threshold()
    gc.set_threshold(100 * often[0], *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)


@one_blas_thread()
@_rare_collections()
def run(batch: Batch, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Choose the batch's comparisons; a line of progress now and then goes to `say`."""
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    ingested, expanded = batch.require("ingest"), batch.require("expand")
    candidates = NightCandidates(batch)
    current = _newest(batch, candidates)
    model, gate = _model_of(batch, candidates, current)
    rated = {*batch.campaign.taught_dimensions} - candidates.dimensions
    rules, fallback = night_rules(batch.campaign.select, model, gate, rated)
    seen = candidates.seen(rules)
    beside = _beside_people(batch.campaign, model, rules)
    chosen = _Chosen(batch, candidates, rules, model, beside)
    say = noted(batch.lake, batch.folder, STAGE, say, batch.clock)
    pace = Pace("prompts", seen.n_prompts, say)
    with ExitStack() as stack:
        comparisons, compared = (
            stack.enter_context(batch.table_writer(STAGE, name, schema))
            for name, schema in (("comparisons", COMPARISONS), ("compared", COMPARED))
        )

        rankings = None
        if batch.campaign.label.size is not None:
            rankings = stack.enter_context(batch.table_writer(STAGE, "rankings", RANKINGS))

        def write(part: Part) -> None:
            if rankings is not None:
                rankings.add(chosen.rankings(part))
            comparisons.add(chosen.comparisons(part))
            compared.add(chosen.compared(part))

        # A part is written while the next one is chosen from.
        last: Future[None] | None = None
        writer = stack.enter_context(ThreadPoolExecutor(1))
        for each in stack.enter_context(closing(chosen.parts(seen.capacity))):
            if last is not None:
                last.result()
            last = writer.submit(write, each)
            pace.at(chosen.n_prompts)
        if last is not None:
            last.result()
    report = chosen.report
    return batch.commit(
        STAGE,
        inputs=[ingested, expanded],
        outputs={
            "comparisons": comparisons.artifact,
            "compared": compared.artifact,
            **({"rankings": rankings.artifact} if rankings is not None else {}),
            "reward_model": batch.write_bytes(STAGE, "reward_model", "npz", model.to_bytes()),
            "quarantine": batch.write_table(STAGE, "quarantine", quarantine_table(chosen.alone)),
        },
        counts={
            "rows_in": seen.n_prompts,
            "rows_out": seen.n_prompts - len(chosen.alone),
            "quarantined": len(chosen.alone),
            "pairs_scored": seen.n_pairs,
            "comparisons": comparisons.n_rows,
            "exploration": report.explored,
            "blocked_responses": seen.n_blocked,
            **chosen.asked,
        },
        figures={
            "strategy": rules.pool_rules.strategy,
            "fallback": fallback,
            "gate": gate,
            "gate_reason": current.gate_reason if current else "",
            "posterior_version": model.version,
            "posterior_labels": _n_labels(model),
            "mean_info_gain": report.mean_info_gain,
            "mean_decision_gain": report.mean_decision_gain,
            "unspent_pairs": report.unspent,
            "floors": [asdict(floor) for floor in report.floors],
            "unmet_floors": [floor.stratum for floor in report.unmet],
            "conflicts": chosen.n_conflicts,
            **({LABELS: dict(current.brought)} if current and current.brought else {}),
        },
    )


class Part(NamedTuple):
    """A part of the pools, by its number, and what was chosen of each prompt's, in their order."""

    number: int
    candidates: Candidates
    chosen: list[list[Choice]]


class _Chosen:
    """A night being chosen, part by part.

    Attributes:
        n_prompts: Prompts so far.
        n_conflicts: Pairs on which two dimensions disagree.
        asked: Where a campaign has several sources, pairs asked of each, `asked_NAME`.
        alone: Prompts without a pair.
        report: What the night did.
    """

    report: NightReport

    def __init__(
        self,
        batch: Batch,
        candidates: NightCandidates,
        rules: NightRules,
        model: RewardModel,
        beside: BesidePeople | None,
    ) -> None:
        self._batch, self._candidates, self._rules = batch, candidates, rules
        self._model, self._version, self._beside = model, model.version, beside
        self.n_prompts = self.n_conflicts = 0
        self.asked = {f"asked_{name}": 0 for name in _prices(batch.campaign.label) if beside}
        self.alone: list[Quarantined] = []

    def parts(self, capacity: Capacity) -> Generator[Part, None, None]:
        """What was chosen of one part of the pools after another."""
        waiting: deque[Part] = deque()

        def pools() -> Iterator[Pool]:
            for number, (part, features_rd) in enumerate(self._candidates.parts(self._model)):
                waiting.append(Part(number, part, []))
                yield from part.pools(features_rd)

        night = self._night(pools(), capacity)
        self.report = night.report
        for pool, choices in night:
            while len(waiting[0].chosen) == len(waiting[0].candidates.rows_of):
                yield waiting.popleft()
            if self._beside is not None:
                choices = self._beside.of(pool, choices)
            waiting[0].chosen.append(choices)
            self._count(pool, choices)
        yield from waiting

    def _night(self, pools: Iterator[Pool], capacity: Capacity) -> Night | RankingNight:
        size, heads = self._batch.campaign.label.size, self._model.people_heads
        if size is None:
            return Night(pools, heads, self._rules, capacity)
        return RankingNight(pools, heads, self._rules, size, capacity.n_prompts)

    def _count(self, pool: Pool, choices: Sequence[Choice]) -> None:
        self.n_prompts += 1
        self.n_conflicts += sum([choice.conflict for choice in choices])
        for name in chain.from_iterable(choice.sources for choice in choices):
            self.asked[f"asked_{name}"] += 1
        if not choices:
            detail = (
                f"the pool holds {len(set(pool.response_ids))} distinct response(s) and no pair of "
                "them is worth comparing"
            )
            self.alone.append(Quarantined(STAGE, "no_pair", detail, record_id=pool.prompt_id))

    def comparisons(self, part: Part) -> pa.Table:
        """The pairs of a part, as `COMPARISONS`."""
        candidates = part.candidates
        prompts = [
            prompt
            for prompt, choices in zip(candidates.rows_of, part.chosen, strict=True)
            for _ in choices
        ]
        pairs = [tuple(candidates.response_ids[row] for row in pair) for pair in _places(part)]
        choices = [choice for of_pool in part.chosen for choice in of_pool]
        alike = {
            "strategy": self._rules.pool_rules.strategy,
            "posterior_version": self._version,
        }
        costs = _prices(self._batch.campaign.label)
        columns = {
            "pair_id": [pair_id(*pair) for pair in pairs],
            "prompt_id": prompts,
            "first_id": [first for first, _ in pairs],
            "second_id": [second for _, second in pairs],
            "dimension": [candidates.prompts[prompt]["dimension"] for prompt in prompts],
            **{name: list(map(attrgetter(name), choices)) for name in _OF_CHOICE},
            **{name: [value] * len(choices) for name, value in alike.items()},
            # What a vote of people would teach: nobody asks for it there.
            "info_gain": [None if c.kind == "judged" else c.info_gain for c in choices],
            "expected_cost": [
                sum(costs[name] for name in choice.sources or (PEOPLE,)) for choice in choices
            ],
            "sources": [choice.sources or None for choice in choices],
        }
        return pa.table(columns, schema=COMPARISONS)

    def rankings(self, part: Part) -> pa.Table:
        """The sets of responses of a part that are ranked together, as `RANKINGS`."""
        candidates = part.candidates
        found = []
        for (prompt, rows), choices in zip(candidates.rows_of.items(), part.chosen, strict=True):
            if choices:
                places = {rows.start + place for each in choices for place in (each.i, each.j)}
                ids = sorted(candidates.response_ids[row] for row in places)
                found.append(
                    {
                        "ranking_id": ranking_id(ids),
                        "prompt_id": prompt,
                        "dimension": candidates.prompts[prompt]["dimension"],
                        "kind": choices[0].kind,
                        "response_ids": ids,
                    }
                )
        return to_table(found, RANKINGS)

    def compared(self, part: Part) -> pa.Table:
        """The compared responses of a part with all that later stages read of them."""
        candidates = part.candidates
        # Rows of a part are in order of their prompts, then of their own ids.
        rows = sorted({row for pair in _places(part) for row in pair})
        ids = [candidates.response_ids[row] for row in rows]
        vectors = vectors_table(ids, candidates.raw_rc[rows], self._model.feature_version)
        prompts = self._candidates.prompts_of(candidates.rows_of)
        return with_pool_columns(vectors, self._candidates.responses(part.number), prompts)


def _places(part: Part) -> Iterator[tuple[int, int]]:
    """Rows of both responses of each pair."""
    for rows, choices in zip(part.candidates.rows_of.values(), part.chosen, strict=True):
        for choice in choices:
            yield rows.start + choice.i, rows.start + choice.j


def reward_model_for(batch: Batch, candidates: NightCandidates) -> tuple[RewardModel, GateState]:
    """The newest reward model with the state of its gate.

    Before any label on features of this version, own or brought, it is a prior over this batch's
    own features, and so is the head of a dimension that no label spoke of yet.
    """
    return _model_of(batch, candidates, _newest(batch, candidates))


def _newest(batch: Batch, candidates: NightCandidates) -> reward_model.Current | None:
    columns = candidates.columns
    brought = brought_rows(batch.lake, batch.require("expand").outputs, columns.version)
    return reward_model.newest_for(batch.lake, batch.campaign, columns, brought)


def _model_of(
    batch: Batch, candidates: NightCandidates, current: reward_model.Current | None
) -> tuple[RewardModel, GateState]:
    columns = candidates.columns
    if current is not None:
        projection, heads_so_far, gate = current.model.projection, current.model.heads, current.gate
    else:
        projection = fit_projection(
            candidates.sample(), columns.blocks, batch.campaign.select.max_components
        )
        heads_so_far, gate = {}, "undecided"
    unknown = prior_of(projection.blocks)
    names = {OVERALL}
    if batch.campaign.select.head_per_dimension:
        names = candidates.dimensions | {*batch.campaign.taught_dimensions}
    heads = {name: heads_so_far.get(name, unknown) for name in sorted(names)}
    teachers = current.model.teachers if current is not None else {}
    return RewardModel(projection, heads, columns.version, teachers), gate


def pool_rules(settings: Select) -> Rules:
    """How the campaign asks to choose from one pool."""
    return Rules(
        budget=settings.pairs_per_prompt,
        strategy=settings.strategy,
        exploration=settings.exploration,
        max_pairs_per_response=settings.max_pairs_per_response,
        fresh_first=settings.fresh_first,
        seed=settings.seed,
        kappa=settings.kappa,
        residual_sd=settings.residual_sd,
        traditional_k=settings.traditional_k,
        dimension_weights=tuple(sorted(settings.dimension_weights.items())),
    )


def night_rules(
    settings: Select, model: RewardModel, gate: GateState, rated: Collection[str] = ()
) -> tuple[NightRules, str]:
    """What the campaign asks for, or what is done instead with the reason.

    Ratings, of the dimensions `rated`, do not make the model more trusted: the gate sees choices.
    """
    least, most = settings.pair_limits
    chosen, reason = effective_rules(
        pool_rules(settings),
        *_learnt(model, rated),
        gate,
        has_score=model.projection.has_score,
    )
    rules = NightRules(
        chosen, least, most, floors=settings.floors, shard_size=settings.prompts_per_shard
    )
    return rules, reason


def why_untrusted(model: RewardModel, gate: GateState, rated: Collection[str] = ()) -> str:
    """Why the model may not choose or steer; empty where it may. `rated` as in `night_rules`."""
    return untrusted_because(*_learnt(model, rated), gate)


def _learnt(model: RewardModel, rated: Collection[str]) -> tuple[int, float]:
    """Labels of the heads that choices teach, and how many directions these have pinned down."""
    chosen = [head for name, head in model.heads.items() if name not in rated]
    heads = chosen or list(model.heads.values())
    linear = [head for head in heads if isinstance(head, Posterior)]
    return sum(head.n_labels for head in heads), sum(map(effective_dimension, linear))


def _n_labels(model: RewardModel) -> int:
    return sum(head.n_labels for head in model.heads.values())


def _beside_people(
    campaign: Campaign, model: RewardModel, rules: NightRules
) -> BesidePeople | None:
    """Who asks others beside people; None where a campaign has nobody else."""
    label = campaign.label
    if not label.sources:
        return None
    costs, judges = _prices(label), label.judges
    return BesidePeople(
        heads=model.heads,
        teachers=model.teachers,
        rules=rules.pool_rules,
        prices=Prices(
            people=costs[PEOPLE],
            judges={judge.model: costs[name] for name, judge in judges.items()},
            judge_share=label.judge_share,
            expert_share=label.expert_share,
        ),
        sources={judge.model: name for name, judge in judges.items()},
        experts=label.experts,
    )


def _prices(label: Label) -> dict[str, int]:
    """What a pair costs, micro-dollars, by who is asked."""
    return {name: expected_cost(own) for name, own in label.asked.items()}


def expected_cost(label: Label) -> int:
    """Price of a comparison with its share of second votes, micro-dollars.

    Of a ranking it is the share of one of its pairs.
    """
    n_pairs = 1 if label.size is None else label.size * (label.size - 1) // 2
    return round(label.price * (1.0 + label.second_vote_share) / n_pairs)
