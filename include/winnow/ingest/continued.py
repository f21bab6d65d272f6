"""What a campaign goes on from: another one's prompt files and prompts count as taken.

    continues: OLD      in the campaign that OLD was renamed to

In the lake a renamed campaign is a new one, which would take every file anew and buy labels for the
same prompts again. Each entry of its ledger says what it went on from: so a chain of renames is
followed, and a setting that is taken out after the first batch is not forgotten. What a batch of
OLD took and gave up is free, as in one campaign.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from winnow.batch import last_settings
from winnow.campaign import Campaign
from winnow.errors import Corrupt, Fatal
from winnow.ingest.ledger import Ledger, check_knows_all, read_ledger
from winnow.lake import Lake

_AT_ONCE = 8


def earlier_ledgers(lake: Lake, campaign: Campaign, own: Ledger) -> dict[str, Ledger]:
    """The ledgers of all campaigns that this one goes on from, by name; `own` is not among them.

    Raises:
        Fatal: The one that it names has no batch in the lake.
        Corrupt: What one of them took cannot be told.
    """
    ledgers: dict[str, Ledger] = {}
    names = [*filter(None, [campaign.predecessor]), *own.predecessors]
    while names:
        name = names.pop(0)
        if name in ledgers or name == campaign.name:
            continue
        ledger = read_ledger(lake, name)
        if ledger.damaged:
            raise Corrupt(
                f"{'; '.join(ledger.damaged.values())}: restore it, for {campaign.name} goes on "
                f"from {name}."
            )
        if not ledger.n_taken:
            raise Fatal(
                f"continues of campaign {campaign.name}: campaign {name} has no batch in "
                f"{lake.uri}. Correct the name or the lake. Nothing was taken."
            )
        check_knows_all(lake, name, ledger)
        ledgers[name] = ledger
        names += ledger.predecessors
    return ledgers


def refuse_renamed(lake: Lake, campaign: Campaign, here: Collection[str]) -> None:
    """Refuse a batch of what looks like a renamed campaign, unless it says what it is.

    That is one whose sources were read by a campaign that has no file any more, and that no other
    one went on from: before its first batch; later, where that one had gone on from it, and it has
    its old name back. Two campaigns that both have files may read the same prompts on purpose.

    Args:
        lake: The lake.
        campaign: As its file is now.
        here: The campaigns that have a file.

    Raises:
        Fatal: It looks so; the message names both ways out.
    """
    if campaign.continues is not None or not campaign.ingest.sources:
        return
    is_first = not read_ledger(lake, campaign.name).n_taken
    ledgers = _all_ledgers(lake)
    # One that is gone and gave all up holds nothing of what it had gone on from.
    going_on = [ledger for name, ledger in ledgers.items() if name in here or ledger.has_live]
    continued = {name for ledger in going_on for name in ledger.predecessors}
    for name, ledger in ledgers.items():
        if name in (campaign.name, *here, *continued) or not ledger.has_live:
            continue
        if not is_first and campaign.name not in _before(name, ledgers):
            continue
        before = last_settings(lake, name)
        same = set(before.ingest.sources if before else ()) & set(campaign.ingest.sources)
        if same:
            raise Fatal(
                f"Campaign {campaign.name} would take every prompt of {min(same)} anew, which "
                f"campaign {name} took, whose file is gone, and buy labels for them again. If "
                f"{campaign.name} is {name} renamed, write `continues: {name}` into its file; if "
                "labels are to be bought again, write `continues: none`. Nothing was taken."
            )


def successor(lake: Lake, name: str) -> str | None:
    """The campaign that went on from one, if one did: what it took is the old one's no more."""
    ledgers = _all_ledgers(lake)
    return next((other for other in sorted(ledgers) if name in ledgers[other].predecessors), None)


def _before(name: str, ledgers: Mapping[str, Ledger]) -> set[str]:
    """All that a campaign went on from, in a chain of renames."""
    names, before = [name], set[str]()
    while names:
        new = {*ledgers[names.pop()].predecessors} & ledgers.keys() - before
        before |= new
        names += new
    return before


def _all_ledgers(lake: Lake) -> dict[str, Ledger]:
    """Of every campaign that has a batch; one that cannot be read is left out."""

    def ledger_of(name: str) -> Ledger | None:
        with suppress(Corrupt):
            return read_ledger(lake, name)
        return None

    names = list(lake.names("batches"))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = zip(names, pool.map(ledger_of, names), strict=True)
        return {name: ledger for name, ledger in found if ledger is not None}
