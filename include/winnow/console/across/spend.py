"""The money of several campaigns in a month, by campaign and by team.

Of a team only the campaigns that the viewer may read are counted, and the page says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from winnow.campaign import Campaign
from winnow.console.memory import at_once
from winnow.console.parts import Field
from winnow.console.scope import Scope
from winnow.console.shell import Page, Site, page_of
from winnow.console.spend.figures import committed_on, is_month, month_of, spent_on
from winnow.console.spend.nights import days_of, labels_of, nights_of
from winnow.console.stages import keys_of
from winnow.label.purchases import spent
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.damage import Damage, whole

_MONTHS = 12

Days = Mapping[str, date | None]


@dataclass(frozen=True, slots=True)
class Money:
    """What was spent, is with vendors and is planned in a month, micro-dollars.

    Attributes:
        batches: Batches that began in it.
        spent: What vendors charged for those whose labels are in.
        committed: What is with vendors and not booked.
        planned: What is planned and not bought.
        estimated: Whether that is from settings and not from a plan's prices.
    """

    batches: int = 0
    spent: int = 0
    committed: int = 0
    planned: int = 0
    estimated: bool = False

    @classmethod
    def of(cls, several: Iterable[Money]) -> Money:
        """The money of several campaigns together."""
        known = list(several)
        return cls(
            batches=sum(each.batches for each in known),
            spent=sum(each.spent for each in known),
            committed=sum(each.committed for each in known),
            planned=sum(each.planned for each in known),
            estimated=any(each.estimated for each in known),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A campaign's money; `why` says why it cannot be told."""

    campaign: Campaign
    money: Money = Money()
    why: str = ""

    @property
    def month_budget(self) -> int | None:
        """What the campaign may buy for in a month, micro-dollars; None: any."""
        most = self.campaign.label.budget_month_usd
        return None if most is None else round(most * MICROS)


def page(
    lake: Lake, scope: Scope, fields: Sequence[Field], query: Mapping[str, str], site: Site
) -> Page:
    """One month's money; the month of the newest batch unless the query names another."""
    days = at_once(lambda name: whole(lambda: _days(lake, name, site)), scope.campaigns)
    known = {day for own in days.values() if not isinstance(own, Damage) for day in own.values()}
    months = sorted({month_of(day) for day in known if day}, reverse=True)
    asked = query.get("month", "")
    newest = months[0] if months else month_of(site.now.date())
    month = asked if is_month(asked) else newest
    choice = sorted({month, *months[:_MONTHS]}, reverse=True)

    def look(name: str) -> Row:
        campaign, own = scope.campaigns[name], days[name]
        money = (
            own if isinstance(own, Damage) else whole(lambda: _of(lake, campaign, own, month, site))
        )
        return Row(campaign, why=money.cause) if isinstance(money, Damage) else Row(campaign, money)

    rows = list(at_once(look, scope.campaigns).values())
    return page_of(
        f"Spend in {month}",
        "across_spend.html",
        site,
        gone=scope.gone,
        month=month,
        fields=[*fields, Field("month", "Month", [(each, each) for each in choice])],
        query={**query, "month": month},
        whole=Money.of(row.money for row in rows),
        rows=sorted(rows, key=lambda row: (-row.money.spent, row.campaign.name)),
        teams=_by_team(rows),
        budgets=_team_budgets(lake, scope, month),
    )


def _days(lake: Lake, name: str, site: Site) -> Days:
    return days_of(lake, name, keys_of(lake, name, site.memory), site.memory)


def _of(lake: Lake, campaign: Campaign, days: Days, month: str, site: Site) -> Money:
    """A campaign's month: one read a batch whose labels are in, more only of the others."""
    year, number = int(month[:4]), int(month[5:])
    keys = [key for key, day in days.items() if day and (day.year, day.month) == (year, number)]
    labels = labels_of(lake, campaign.name, keys, site.memory)
    waiting = [key for key, done in labels.items() if done is None]
    nights = nights_of(lake, campaign, waiting, days, site.memory)
    return Money(
        len(keys),
        sum(done.cost for done in labels.values() if done is not None) + spent_on(nights),
        committed_on(nights),
        sum(night.planned for night in nights),
        any(night.estimated for night in nights),
    )


def _team_budgets(lake: Lake, scope: Scope, month: str) -> Mapping[str, tuple[int, int | None]]:
    """What a team spent and reserved in a month, and its budget, micro-dollars."""
    if not scope.team_budgets:
        return {}
    totals = whole(lambda: spent(lake, month))
    if isinstance(totals, Damage):
        return {}
    return {name: (totals.teams.get(name, 0), most) for name, most in scope.team_budgets.items()}


def _by_team(rows: Sequence[Row]) -> list[tuple[str, int, Money]]:
    """Teams with the number of their campaigns, and their money."""
    of: defaultdict[str, list[Money]] = defaultdict(list)
    for row in rows:
        if row.campaign.team:
            of[row.campaign.team].append(row.money)
    return [(team, len(each), Money.of(each)) for team, each in sorted(of.items())]
