"""Commands about what a lake stores."""

from __future__ import annotations

import argparse
from datetime import timedelta

from winnow.campaign import Campaign
from winnow.commands.say import say
from winnow.lake import Lake
from winnow.publish.garbage import find_garbage, remove_garbage


def gc(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """What no version of the dataset names, a line each: removed with --delete only."""
    # By the store's clock, as the times that it is held against.
    before = lake.now() - timedelta(hours=asked.grace_hours)
    garbage = find_garbage(lake, campaign.publish.dataset, before)
    for stored in garbage.objects:
        say(f"{stored.path} {stored.n_bytes} bytes of {stored.modified:%Y-%m-%d %H:%M}")
    for path in garbage.unfinished:
        say(f"{path} was never finished")
    if asked.delete:
        remove_garbage(lake, garbage)
    told = "Removed" if asked.delete else "Found, and not removed without --delete:"
    say(
        f"{told} {len(garbage.objects)} objects of {garbage.n_bytes / 1e6:.1f} MB that no version "
        f"of {campaign.publish.dataset} names, {len(garbage.unfinished)} unfinished writes, "
        f"all older than {asked.grace_hours:g} hours."
    )
