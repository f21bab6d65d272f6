"""Commands about what a lake stores."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from winnow.commands.options import SHIPPED, CampaignOption, LakeOption, decimal
from winnow.commands.say import say
from winnow.publish.garbage import find_garbage, remove_garbage


def gc(
    lake: LakeOption,
    campaign: CampaignOption = SHIPPED,
    grace_hours: Annotated[float, decimal(0, 1e5, help="younger things stay")] = 48.0,
    delete: Annotated[
        bool, typer.Option("--delete", help="remove them; else only list them")
    ] = False,
) -> None:
    """What no version of the dataset names, a line each: removed with --delete only."""
    # By the store's clock, as the times that it is held against.
    before = lake.now() - timedelta(hours=grace_hours)
    garbage = find_garbage(lake, campaign.publish.dataset, before)
    for stored in garbage.objects:
        say(f"{stored.path} {stored.n_bytes} bytes of {stored.modified:%Y-%m-%d %H:%M}")
    for path in garbage.unfinished:
        say(f"{path} was never finished")
    if delete:
        remove_garbage(lake, garbage)
    told = "Removed" if delete else "Found, and not removed without --delete:"
    say(
        f"{told} {len(garbage.objects)} objects of {garbage.n_bytes / 1e6:.1f} MB that no version "
        f"of {campaign.publish.dataset} names, {len(garbage.unfinished)} unfinished writes, "
        f"all older than {grace_hours:g} hours."
    )
