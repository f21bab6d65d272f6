"""What the policy bench found, in words, as tables of Markdown and as a page.

Always holds: every sentence and mark is computed from the rows; "more often" and "less often" mean
that a 95 % interval, paired by seed, lies clear of zero; anything else is not told apart, never
called equal; where choosing does not pay, a sentence says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.campaign import Publish, Select
from winnow.pages.charts import Chart, Row
from winnow.pages.render import render
from winnow.pages.words import Table
from winnow_bench.charts import forest, slots
from winnow_bench.document import TEMPLATES, definitions
from winnow_bench.labels import BEFORE, BUDGETS, LABEL_USD, RESPONSE_USD, TRADITIONAL
from winnow_bench.metrics import MINUS, Metric
from winnow_bench.statistics import Comparison, Summary
from winnow_bench.verdicts import CONTROL, join, name_of, usual_size

KLS = (1, 2)
"""Mean KL to the uniform policy, in nats, at which policies are compared."""

SAME_MONEY = "same-money"
"""Traditional sampling for the dollars of the other side."""

FEW, MANY = BUDGETS
RIVAL, RANDOM_MANY = f"{TRADITIONAL}-{MANY}", f"{CONTROL}-{MANY}"
RIVAL_BEFORE = f"{TRADITIONAL} ({BEFORE})-{MANY}"
"""The rival with the features and the prior of that release."""

TRAININGS = {
    "dpo": "DPO",
    "dpo_blocks": "DPO with a ridge a block of features",
    "dpo_sure": "DPO on the pairs that the reward is sure of",
    "kto": "KTO",
    "listwise": "the listwise loss",
}
_RIVALS = {
    RIVAL: f"traditional sampling with {MANY}",
    RANDOM_MANY: f"{MANY} random pairs of the same pool",
    CONTROL: "as many random pairs of the same pool, at the same price",
    SAME_MONEY: "traditional sampling for the same money",
}
_REFERENCES = ("uniform", "length")
_BOUNDS = ("all-pairs", "linear-oracle", "oracle")
_DEFAULT = Select().strategy


def win_rate(training: str, kl: int) -> str:
    """The name of the win rate of what a training makes of the labels, at this KL."""
    return f"{training}_win_rate_kl{kl}"


def sure_gain(kl: int) -> str:
    """The name of the win rate of `dpo_sure` less that of `dpo`."""
    return f"sure_gain_kl{kl}"


def verdicts(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> list[str]:
    """The sentences on all pools, each led by its pool's name."""
    return [
        f"{pool}: {sentence}"
        for pool in _pools(summaries)
        for sentence in _Found.of(pool, summaries, comparisons).sentences()
    ]


def overview(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> Table:
    """The main figures of all pools side by side, as the documentation has them."""
    found = [_Found.of(pool, summaries, comparisons) for pool in _pools(summaries)]
    columns = [(f"less {RIVAL}, KL {kl}", kl, RIVAL) for kl in KLS]
    columns.append((f"less {RIVAL_BEFORE}, KL {KLS[0]}", KLS[0], RIVAL_BEFORE))
    heads = ["row, pool/labels", "$ a prompt"]
    for each in found:
        heads += [f"*{each.pool}*, KL {KLS[0]}", *(title for title, _, _ in columns)]
    sizes_of = [each.sizes() for each in found]
    rows = []
    for key in max(sizes_of, key=len):
        strategy, labels, _ = key
        sizes = [own[key] for own in sizes_of if key in own]
        several = "·".join(dict.fromkeys(map(str, sizes)))
        row = [_row_name(strategy, labels, several), _price(labels, sizes[0])]
        for each, sizes_here in zip(found, sizes_of, strict=True):
            own = (strategy, labels, sizes_here.get(key, 0))
            rate = each.of_row(*own, win_rate("dpo", KLS[0]))
            row.append(_mean(rate, _rate(KLS[0])))
            row += [each.difference(*own, win_rate("dpo", kl), b) for _, kl, b in columns]
        rows.append(row)
    return Table("Win rate in % of policies trained by DPO, differences in points", heads, rows)


def markdown(table: Table) -> list[str]:
    """A table in lines of Markdown."""
    heads = [_line(table.heads), _line(["---"] * len(table.heads))]
    rows = [_line([str(cell) for cell in row]) for row in table.rows]
    return [f"{table.label}:", "", *heads, *rows]


def report(summaries: Sequence[Summary], comparisons: Sequence[Comparison]) -> str:
    """Every sentence and table, in Markdown."""
    found = [_Found.of(pool, summaries, comparisons) for pool in _pools(summaries)]
    tables = [table for each in found for table in each.tables()]
    tables.insert(0, overview(summaries, comparisons))
    sentences = [f"- {sentence}" for sentence in verdicts(summaries, comparisons)]
    return "\n\n".join(["\n".join(lines) for lines in (sentences, *map(markdown, tables))]) + "\n"


def policy_page(
    summaries: Sequence[Summary],
    comparisons: Sequence[Comparison],
    facts: Mapping[str, Any],
) -> str:
    """The page as HTML; `facts` has "limits", "command" and what else is worth telling."""
    found = [_Found.of(pool, summaries, comparisons) for pool in _pools(summaries)]
    apart = ("command", "limits")
    return render(
        "policy.html",
        TEMPLATES,
        pools=[
            (each.pool, each.sentences(), each.forests(), [_bare(t) for t in each.tables()])
            for each in found
        ],
        limits=facts["limits"],
        command=facts["command"],
        others=definitions({name: v for name, v in facts.items() if name not in apart}),
    )


def _pools(summaries: Iterable[Summary]) -> list[str]:
    return sorted({row.pool for row in summaries})


def _bare(table: Table) -> Table:
    """A table without Markdown's marks."""
    rows = [[str(cell).replace("**", "") for cell in row] for row in table.rows]
    return Table(table.label, table.heads, rows)


def _row_name(strategy: str, labels: int, size: object) -> str:
    return f"{name_of(strategy)} {size}/{labels}" if labels else name_of(strategy)


def _price(labels: int, size: int) -> str:
    return f"{labels * LABEL_USD + size * RESPONSE_USD:.2f}" if labels else "–"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rate(kl: int, training: str = "dpo") -> Metric:
    title = f"Win rate at KL {kl}, {TRAININGS[training]}"
    return Metric(win_rate(training, kl), title, "How often the policy beats the reference.")


@dataclass(frozen=True, slots=True)
class _Found:
    """One pool's results; `size` is the usual size of its candidate pools."""

    pool: str
    size: int
    summaries: Mapping[tuple[str, int, int, str], Summary]
    comparisons: Sequence[Comparison]

    @classmethod
    def of(
        cls, pool: str, summaries: Sequence[Summary], comparisons: Sequence[Comparison]
    ) -> _Found:
        own = [row for row in summaries if row.pool == pool]
        chosen = [row for row in own if row.labels in BUDGETS and row.strategy != TRADITIONAL]
        return cls(
            pool,
            usual_size(chosen or own),
            {(row.strategy, row.labels, row.pool_size, row.metric): row for row in own},
            [row for row in comparisons if row.pool == pool],
        )

    def sentences(self) -> list[str]:
        """What was found, the main thing first."""
        return [
            self._against(FEW, RIVAL),
            *self._against_before(),
            *(self._against(labels, SAME_MONEY) for labels in BUDGETS),
            *(self._against(labels, CONTROL) for labels in BUDGETS),
            self._does_not_pay(),
            *self._other_trainings(),
            *self._sure_pairs(),
            *self._one_vote(),
            *self._lengths(),
            *self._ceiling(),
        ]

    def _against(self, labels: int, baseline: str) -> str:
        """Every strategy at a budget against a baseline, at the first KL."""
        better, open_, worse = self._split(labels, baseline)
        rival = _RIVALS[baseline]
        head = f"At KL {KLS[0]}, {labels} labels a prompt from pools of {self.size} against {rival}"
        parts = [
            f"{verb} {_listed(rows)}"
            for verb, rows in (
                ("more often", better),
                ("less often", worse),
                ("not told apart", open_),
            )
            if rows
        ]
        sides = "; ".join(parts) or "nothing was measured"
        return f"{head}, how often the policy wins, in points: {sides}."

    def _against_before(self) -> list[str]:
        """The default at a few labels, and the rival itself, against the rival of before."""
        kl = KLS[0]
        gaps = [
            f"{name_of(strategy)} with {labels} {_gap(row)}"
            for strategy, labels in ((_DEFAULT, FEW), (TRADITIONAL, MANY))
            for row in self.comparisons
            if (row.strategy, row.labels) == (strategy, labels)
            and row.pool_size in (labels, self.size)
            and (row.baseline, row.metric) == (RIVAL_BEFORE, win_rate("dpo", kl))
        ]
        if not gaps:
            return []
        return [
            f"At KL {kl} against traditional sampling with {MANY} as of {BEFORE}, in features and "
            f"prior, in points: {join(gaps)}."
        ]

    def _does_not_pay(self) -> str:
        """Strategies that are no better than random pairs at the same price, with the budget."""
        for_nothing = [
            f"with {labels} labels by {join(name_of(row.strategy) for row in [*open_, *worse])}"
            for labels in BUDGETS
            for _, open_, worse in [self._split(labels, CONTROL)]
            if open_ or worse
        ]
        against = f"random pairs of the same pool and price at KL {KLS[0]}"
        if not for_nothing:
            return f"Choosing pays at both budgets by every strategy, against {against}."
        return f"Choosing is not shown to pay, against {against}, {join(for_nothing)}."

    def _other_trainings(self) -> list[str]:
        kl = KLS[0]
        gaps = [
            f"{_gap(row)} by {words}"
            for training, words in TRAININGS.items()
            for row in self._rows(FEW, RIVAL, win_rate(training, kl))
            if row.strategy == _DEFAULT
        ]
        if not gaps:
            return []
        return [
            f"{name_of(_DEFAULT).capitalize()} with {FEW} labels against traditional with {MANY} "
            f"at KL {kl}, in points: {join(gaps)}."
        ]

    def _sure_pairs(self) -> list[str]:
        kl = KLS[0]
        key = (_DEFAULT, FEW, self.size)
        row, sure = self.of_row(*key, sure_gain(kl)), self.of_row(*key, "sure_pairs")
        every = self.of_row(*key, "pairs")
        if row is None or sure is None or every is None:
            return []
        return [
            f"Of {every.mean:,.0f} pairs of {name_of(_DEFAULT)} with {FEW} labels the reward gives "
            f"{sure.mean:,.0f} a P(chosen is better) of {_min_p_chosen():.2f}; trained on these "
            f"alone DPO's policy differs by {_gap(row)} points at KL {kl}."
        ]

    def _one_vote(self) -> list[str]:
        unsure = [
            f"{name_of(row.strategy)} with {row.labels} ({row.mean:.2f})"
            for (_, labels, size, metric), row in self.summaries.items()
            if metric == "one_vote_sure" and labels in BUDGETS and row.mean < _min_p_chosen()
            if size in (labels, self.size)
        ]
        if not unsure:
            return []
        return [
            f"One vote is less sure than {_min_p_chosen():.2f}, by how often two people would "
            f"agree on such pairs, so a single vote would leave the product's view dpo empty: "
            f"{join(unsure)}. The figures here train on these pairs all the same."
        ]

    def _lengths(self) -> list[str]:
        metric = "dpo_log_length"
        return [
            f"What {name_of(_DEFAULT)} with {FEW} labels draws at KL {KLS[0]} differs in log "
            f"length from what traditional with {MANY} draws by {_gap(row, 1.0)}."
            for row in self._rows(FEW, RIVAL, metric)
            if row.strategy == _DEFAULT
        ]

    def _ceiling(self) -> list[str]:
        kl = KLS[0]
        levels = [
            f"{name_of(row.strategy)} {_rate(kl).write(row.mean)}"
            for name in (*_REFERENCES, *_BOUNDS)
            for row in self.summaries.values()
            if row.strategy == name and row.metric == win_rate("dpo", kl)
        ]
        return [f"At KL {kl} the references win: {join(levels)}."] if levels else []

    def _split(
        self, labels: int, baseline: str
    ) -> tuple[list[Comparison], list[Comparison], list[Comparison]]:
        """Comparisons at the first KL that are better, open and worse; each best first."""
        rows = [r for r in self._rows(labels, baseline, win_rate("dpo", KLS[0])) if _has(r)]
        rows.sort(key=lambda row: (-(row.difference or 0.0), row.strategy))
        better = [row for row in rows if (row.low or 0.0) > 0.0]
        worse = [row for row in rows if (row.high or 0.0) < 0.0]
        return better, [row for row in rows if row not in better and row not in worse], worse

    def _rows(self, labels: int, baseline: str, metric: str) -> list[Comparison]:
        return [
            row
            for row in self.comparisons
            if (row.labels, row.baseline, row.metric) == (labels, baseline, metric)
            and row.pool_size == self.size
            and row.strategy.partition(" ")[0] == row.strategy != TRADITIONAL
        ]

    def of_row(self, strategy: str, labels: int, pool_size: int, metric: str) -> Summary | None:
        """One figure of a row; None where it was not measured."""
        return self.summaries.get((strategy, labels, pool_size, metric))

    def forests(self) -> list[tuple[str, str, Chart]]:
        """Differences at the first KL against the rivals, a chart a budget and rival."""
        kl, slot = KLS[0], slots(row.strategy for row in self.summaries.values())
        pictures = []
        for labels, baseline in ((FEW, RIVAL), (FEW, CONTROL), (MANY, SAME_MONEY)):
            rows = [row for rows in self._split(labels, baseline) for row in rows]
            title = f"Win rate at KL {kl}, {labels} labels against {_RIVALS[baseline]}, points"
            marks = [
                Row(
                    name_of(row.strategy),
                    row.difference or 0.0,
                    _gap(row),
                    row.low,
                    row.high,
                    slot[row.strategy],
                )
                for row in sorted(rows, key=lambda row: -(row.difference or 0.0))
            ]
            if marks:
                note = "hollow: the interval holds zero"
                pictures.append((title, note, forest(_rate(kl), marks, title)))
        return pictures

    def tables(self) -> list[Table]:
        """Every row trained by DPO, and the main ones by training."""
        return [self._by_row(), self._by_training()]

    def cells(self) -> list[tuple[str, int, int]]:
        """Strategy, labels and pool size of each row, in a table's order."""
        order = (*_REFERENCES, TRADITIONAL, CONTROL)

        def place(key: tuple[str, int, int]) -> tuple[int, str, int, int]:
            name, labels, size = key
            if name in _BOUNDS:
                return len(order) + 1 + _BOUNDS.index(name), name, labels, size
            kind = name.partition(" ")[0]
            rank = order.index(kind) if kind in order else len(order)
            return rank, name, labels, size

        return sorted({key[:3] for key in self.summaries}, key=place)

    def sizes(self) -> dict[tuple[str, int, int], int]:
        """Pool size of each row, by strategy, labels and whether it is the first or second size."""
        found: dict[tuple[str, int, int], int] = {}
        for strategy, labels, size in self.cells():
            found[strategy, labels, int((strategy, labels, 0) in found)] = size
        return found

    def _by_row(self) -> Table:
        heads = ["row, pool/labels", "$ a prompt", *(f"KL {kl}" for kl in KLS)]
        rivals = (RIVAL, RIVAL_BEFORE, RANDOM_MANY, SAME_MONEY)
        columns = [(kl, rival) for rival in rivals for kl in KLS]
        short = {SAME_MONEY: "traditional, same $"}
        heads += [f"less {short.get(rival, rival)}, KL {kl}" for kl, rival in columns]
        rows = []
        for strategy, labels, size in self.cells():
            rates = [self.of_row(strategy, labels, size, win_rate("dpo", kl)) for kl in KLS]
            rows.append(
                [
                    _row_name(strategy, labels, size),
                    _price(labels, size),
                    *(_mean(rate, _rate(kl)) for kl, rate in zip(KLS, rates, strict=True)),
                    *(
                        self.difference(strategy, labels, size, win_rate("dpo", kl), rival)
                        for kl, rival in columns
                    ),
                ]
            )
        return Table(f"Pool {self.pool}, DPO, win rate in %, differences in points", heads, rows)

    def _by_training(self) -> Table:
        heads = ["row, pool/labels"]
        heads += [f"{name}, KL {kl}" for name in TRAININGS for kl in KLS]
        main = (TRADITIONAL, CONTROL, _DEFAULT, "all-pairs")
        wanted = [
            (strategy, labels, size)
            for strategy, labels, size in self.cells()
            if strategy.partition(" ")[0] in main and size in (labels, self.size)
        ]
        rows = [
            [
                _row_name(strategy, labels, size),
                *(
                    _mean(self.of_row(strategy, labels, size, win_rate(name, kl)), _rate(kl))
                    + self._beside(strategy, labels, size, win_rate(name, kl))
                    for name in TRAININGS
                    for kl in KLS
                ),
            ]
            for strategy, labels, size in wanted
        ]
        label = f"Pool {self.pool}, by training, in brackets less {RIVAL}"
        return Table(label, heads, rows)

    def _beside(self, strategy: str, labels: int, size: int, metric: str) -> str:
        difference = self.difference(strategy, labels, size, metric, RIVAL)
        return "" if difference == "–" else f" ({difference})"

    def difference(self, strategy: str, labels: int, size: int, metric: str, rival: str) -> str:
        """A difference of a row in words, bold where its interval is clear of zero."""
        key = (strategy, labels, size, metric, rival)
        for row in self.comparisons:
            if (row.strategy, row.labels, row.pool_size, row.metric, row.baseline) == key:
                is_clear = (row.low or 0.0) > 0.0 or (row.high or 0.0) < 0.0
                return f"**{_gap(row)}**" if is_clear else _gap(row)
        return "–"


def _has(row: Comparison) -> bool:
    return row.low is not None and row.high is not None


def _listed(rows: Sequence[Comparison]) -> str:
    return join(f"{name_of(row.strategy)} ({_gap(row)})" for row in rows)


def _mean(row: Summary | None, metric: Metric) -> str:
    return "–" if row is None else metric.bare(row.mean)


def _gap(row: Comparison | Summary, factor: float = 100.0) -> str:
    """A difference and half of its interval, in points: "+0.31 ± 0.21"."""
    mean = row.difference if isinstance(row, Comparison) else row.mean
    if mean is None or row.high is None:
        return "–"
    sign = "+" if mean > 0 else ""
    return f"{sign}{factor * mean:z.2f} ± {factor * (row.high - mean):.2f}".replace("-", MINUS)


def _min_p_chosen() -> float:
    return float(Publish.model_fields["min_p_chosen"].default)
