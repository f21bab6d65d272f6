"""What all campaigns of a lake buy in a month: reserved before a purchase, settled after it.

    purchases/2026-11/000123.json    an entry: an amount, and what the month comes to with it
    purchases/2026-11.json           pointer: the newest entry that was noted
    batches/…/label/round-0/reserved-000.json
                                     that an entry is wanted, and after which one it comes

Entries are only ever created, each at the number after the newest, and hold what the month comes to
with them. So two purchases at once are put in one order: who finds the number taken reads what came
there and decides again. The amounts of a round's entries add up to what is reserved for it, and
once its cost is known to that, in the month in which it was reserved.

A round notes what it wants before it is entered, below its own folder. Killed in between, it finds
by the note whether its entry was made, and makes it then. A note whose amount is not allowed any
more, or of a month that is over, is entered with 0: an entry a note and no second one, whoever
works on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from winnow.campaign.teams import Limits
from winnow.errors import Blocked, Corrupt
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.stored import (
    RESTORE,
    StoredTime,
    as_json,
    parsed,
    reader,
    refuse_lost,
    sealed_json,
)

FOLDER = "purchases"
_BEFORE_ALL = -1


@dataclass(frozen=True, slots=True)
class Totals:
    """What is spent and reserved in a month, micro-dollars, by campaign and by team."""

    campaigns: Mapping[str, int] = field(default_factory=dict)
    teams: Mapping[str, int] = field(default_factory=dict)

    def plus(self, campaign: str, team: str | None, amount: int) -> Totals:
        """With an amount of a campaign and its team, if it has one."""
        teams = self.teams if team is None else _plus(self.teams, team, amount)
        return Totals(_plus(self.campaigns, campaign, amount), teams)


@dataclass(frozen=True, slots=True)
class Entry:
    """A change of what a month comes to, and what it comes to with it.

    `part` is the number of the note, of the round of the batch, whose entry this is; `amount` is in
    micro-dollars, below 0 where a purchase cost less than was reserved.
    """

    campaign: str
    batch: str
    round: int
    part: int
    team: str | None
    amount: int
    at: StoredTime
    totals: Totals


@dataclass(frozen=True, slots=True)
class _Note:
    """That an entry of an amount is wanted in a month, after number `after` (-1: from the first).

    `settles` where it corrects what was reserved to what was charged.
    """

    month: str
    after: int
    amount: int
    team: str | None
    settles: bool = False


@dataclass(frozen=True, slots=True)
class _Newest:
    number: int


@dataclass(frozen=True, slots=True)
class OverMonth:
    """A month's budget that does not allow a purchase: why, and what to do first."""

    cause: str
    mend: str


Decision = Callable[[_Note, Totals], int]
"""The amount to enter for a note, when the month comes to so much."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """The money of one round of a batch."""

    lake: Lake
    campaign: str
    folder: str
    batch: str
    round: int

    @property
    def is_noted(self) -> bool:
        """Whether anything was ever reserved for it, or was about to be."""
        return self._note(0) is not None

    def reserve(self, wanted: int, limits: Limits) -> None:
        """Have `wanted` micro-dollars reserved for all of the round; what is so already counts.

        Raises:
            Blocked: A month's budget does not allow it; nothing was reserved.
            Corrupt: What was bought this month cannot be read, or is lost.
        """

        def decide(note: _Note, totals: Totals) -> int:
            if note.settles:
                return note.amount
            is_past = note.month != month_of(self.lake.now())
            over = is_past or self._over(limits, note.month, totals, note.amount)
            return 0 if over else note.amount

        while True:
            entered = self._entered(decide)
            missing = wanted - sum(amount for _, amount in entered)
            if missing <= 0:
                break
            month = month_of(self.lake.now())
            newest, totals = _newest(self.lake, month)
            over = self._over(limits, month, totals, missing)
            if over is not None:
                self._note_over(over)
                raise Blocked(
                    f"{over.cause} Nothing was sent: {over.mend}, and clear submit_tasks (or run "
                    "this again)."
                )
            self._write_note(len(entered), _Note(month, newest, missing, limits.team))
        if self.lake.exists(_over_path(self.folder)):
            self.lake.remove(_over_path(self.folder))

    def settle(self, charged: int) -> None:
        """Correct what is reserved to what the round cost, micro-dollars, where it was reserved.

        Raises:
            Corrupt: What was bought in that month cannot be read, or is lost.
        """

        def decide(note: _Note, totals: Totals) -> int:
            return note.amount if note.settles else 0

        while True:
            entered = self._entered(decide)
            held: dict[tuple[str, str | None], int] = {}
            for note, amount in entered:
                place = (note.month, note.team)
                held[place] = held.get(place, 0) + amount
            if (wrong := _first_difference(held, charged)) is None:
                return
            (month, team), amount = wrong
            newest, _ = _newest(self.lake, month)
            self._write_note(len(entered), _Note(month, newest, amount, team, settles=True))

    def _over(self, limits: Limits, month: str, totals: Totals, wanted: int) -> OverMonth | None:
        spent = totals.campaigns.get(self.campaign, 0)
        who, where = f"campaign {self.campaign}", f"label.budget_month_usd of {self.campaign}"
        budget = limits.campaign_month
        if budget is None or spent + wanted <= budget:
            spent, budget = totals.teams.get(limits.team or "", 0), limits.team_month
            who = f"team {limits.team}"
            where = f"budget_month_usd of {limits.team} in {limits.teams_file}"
        if budget is None or spent + wanted <= budget:
            return None
        return OverMonth(
            f"Labels of batch {self.batch} of {self.campaign} may cost {_usd(wanted)} more, and of "
            f"the {_usd(budget)} that {who} may buy for in {month}, {_usd(spent)} is spent or "
            "reserved.",
            f"raise {where}, or wait for the next month",
        )

    def _note_over(self, over: OverMonth) -> None:
        path, content = _over_path(self.folder), sealed_json(as_json(over))
        while True:
            data, tag = self.lake.read_tagged(path)
            if data == content or self.lake.swap(path, content, tag):
                return

    def _entered(self, decide: Decision) -> list[tuple[_Note, int]]:
        """Every note of the round, and the amount of its entry, made unless it is there."""
        entered: list[tuple[_Note, int]] = []
        while (note := self._note(len(entered))) is not None:
            entered.append((note, self._enter(len(entered), note, decide)))
        return entered

    def _enter(self, part: int, note: _Note, decide: Decision) -> int:
        number = note.after
        totals = Totals() if number == _BEFORE_ALL else _entry(self.lake, note.month, number).totals
        while True:
            for at, entry in _later(self.lake, note.month, number):
                if self._owns(entry, part):
                    return entry.amount
                number, totals = at, entry.totals
            amount = decide(note, totals)
            entry = Entry(
                campaign=self.campaign,
                batch=self.batch,
                round=self.round,
                part=part,
                team=note.team,
                amount=amount,
                at=self.lake.now().isoformat(),
                totals=totals.plus(self.campaign, note.team, amount),
            )
            if self.lake.create(_path(note.month, number + 1), sealed_json(as_json(entry))):
                _note_newest(self.lake, note.month, number + 1)
                return amount

    def _owns(self, entry: Entry, part: int) -> bool:
        own = (self.campaign, self.batch, self.round, part)
        return (entry.campaign, entry.batch, entry.round, entry.part) == own

    def _note(self, part: int) -> _Note | None:
        path = self._note_path(part)
        try:
            return parsed(self.lake, path, reader(_Note))
        except FileNotFoundError:
            refuse_lost(self.lake, path, [self._note_path(part + 1)])
            return None

    def _write_note(self, part: int, note: _Note) -> None:
        # A twin may have noted its own: then both go on with that.
        self.lake.create(self._note_path(part), sealed_json(as_json(note)))

    def _note_path(self, part: int) -> str:
        return f"{self.folder}/label/round-{self.round}/reserved-{part:03d}.json"


def month_of(time: datetime) -> str:
    """The month that a time belongs to; times are UTC."""
    return f"{time:%Y-%m}"


def spent(lake: Lake, month: str) -> Totals:
    """What all campaigns spent and reserved in a month such as 2026-11.

    Raises:
        Corrupt: It cannot be read, or is lost.
    """
    return _newest(lake, month)[1]


def room(lake: Lake, campaign: str, limits: Limits) -> int | None:
    """What a campaign may still buy for this month, micro-dollars; None: anything.

    Raises:
        Corrupt: What was bought cannot be read, or is lost.
    """
    totals = spent(lake, month_of(lake.now()))
    left = []
    if limits.campaign_month is not None:
        left.append(limits.campaign_month - totals.campaigns.get(campaign, 0))
    if limits.team_month is not None:
        left.append(limits.team_month - totals.teams.get(limits.team or "", 0))
    return max(0, min(left)) if left else None


def over_month(lake: Lake, folder: str) -> OverMonth | None:
    """Why a month's budget stopped the purchase of the batch in a folder; None where none did.

    Raises:
        Corrupt: It cannot be read.
    """
    try:
        return parsed(lake, _over_path(folder), reader(OverMonth))
    except FileNotFoundError:
        return None


def _first_difference(
    held: Mapping[tuple[str, str | None], int], charged: int
) -> tuple[tuple[str, str | None], int] | None:
    """Where less or more is held than was charged, and by how much to correct it.

    Of a round that was reserved in several months the first one keeps all that it reserved.
    """
    for n, (place, amount) in enumerate(held.items(), 1):
        due = charged if n == len(held) else min(charged, amount)
        if due != amount:
            return place, due - amount
        charged -= due
    return None


def _newest(lake: Lake, month: str) -> tuple[int, Totals]:
    """The number of a month's newest entry, -1 where it has none, and what it comes to."""
    number, totals = _noted_newest(lake, month)[0], Totals()
    if number != _BEFORE_ALL:
        totals = _entry(lake, month, number).totals
    for at, entry in _later(lake, month, number):
        number, totals = at, entry.totals
    return number, totals


def _later(lake: Lake, month: str, number: int) -> Iterator[tuple[int, Entry]]:
    """Every entry after a number, in order."""
    while True:
        try:
            yield number + 1, parsed(lake, _path(month, number + 1), reader(Entry))
        except FileNotFoundError:
            if _noted_newest(lake, month)[0] <= number:
                return
            # A twin may have made it meanwhile.
            yield number + 1, _entry(lake, month, number + 1)
        number += 1


def _entry(lake: Lake, month: str, number: int) -> Entry:
    """An entry that was made."""
    try:
        return parsed(lake, _path(month, number), reader(Entry))
    except FileNotFoundError as error:
        raise Corrupt(
            f"{lake.uri}/{_path(month, number)} is missing, which says what all campaigns bought "
            f"in {month}: nothing more is bought before it is there; {RESTORE}."
        ) from error


def _noted_newest(lake: Lake, month: str) -> tuple[int, str | None]:
    path = f"{FOLDER}/{month}.json"
    data, tag = lake.read_tagged(path)
    return (_BEFORE_ALL if data is None else parsed(lake, path, reader(_Newest), data).number), tag


def _note_newest(lake: Lake, month: str, number: int) -> None:
    while True:
        noted, tag = _noted_newest(lake, month)
        newest = sealed_json(as_json(_Newest(number)))
        if noted >= number or lake.swap(f"{FOLDER}/{month}.json", newest, tag):
            return


def _path(month: str, number: int) -> str:
    return f"{FOLDER}/{month}/{number:06d}.json"


def _over_path(folder: str) -> str:
    return f"{folder}/label/over_month.json"


def _plus(amounts: Mapping[str, int], name: str, amount: int) -> dict[str, int]:
    return {**amounts, name: amounts.get(name, 0) + amount}


def _usd(amount: int) -> str:
    return f"${amount / MICROS:,.2f}"
