"""Commands about the versions of a dataset."""

from __future__ import annotations

import getpass
import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from winnow.campaign import NAME, Campaign
from winnow.commands.options import SHIPPED, CampaignOption, JsonOption, LakeOption, whole_number
from winnow.commands.say import say, say_json, say_text
from winnow.errors import Fatal
from winnow.lake import Lake
from winnow.publish.diff import diff_text, diff_versions
from winnow.publish.lineage import lineage_text, trace
from winnow.publish.pull import pull as pull_version
from winnow.publish.rollback import roll_back
from winnow.publish.versions import Version, newest, read_version
from winnow.publish.views import VIEWS
from winnow.records import MICROS
from winnow.stages.select import reward_model
from winnow.text import plain_line

_NAMED = re.compile(rf"(?:({NAME.pattern})?@)?({NAME.pattern})")
_NUMBER = re.compile(r"v?0*([1-9][0-9]*)")


NamedVersion = Annotated[
    str, typer.Argument(help="v12, NAME@v12 or NAME@latest; the campaign's dataset if no NAME")
]


def versions(
    lake: LakeOption, campaign: CampaignOption = SHIPPED, as_json: JsonOption = False
) -> None:
    """A line a version of the campaign's dataset, oldest first."""
    dataset = campaign.publish.dataset
    last = newest(lake, dataset)
    numbers = range(1, last.number + 1 if last else 1)
    found = [read_version(lake, dataset, number) for number in numbers]
    if as_json:
        say_json([asdict(version) for version in found])
        return
    if last is None:
        say(f"Dataset {dataset} has no version yet.")
    say(*map(_line, found))


def diff(
    before: NamedVersion,
    after: NamedVersion,
    lake: LakeOption,
    campaign: CampaignOption = SHIPPED,
    rows: Annotated[int, whole_number(0, help="most ids listed of each change")] = 10,
    as_json: JsonOption = False,
) -> None:
    """What differs between two versions: rows, figures, batches."""
    old, new = (find_version(lake, campaign, name) for name in (before, after))
    if old.dataset != new.dataset:
        raise Fatal(f"{old.dataset} and {new.dataset} are two datasets; compare one's own.")
    found = diff_versions(lake, old, new, rows)
    if as_json:
        say_json(found.as_dict())
    else:
        say_text(diff_text(found))


def pull(
    version: NamedVersion,
    lake: LakeOption,
    out: Annotated[Path, typer.Option(help="the folder it becomes")],
    campaign: CampaignOption = SHIPPED,
) -> None:
    """A version as a local folder: every file checked, whole or not at all."""
    found = find_version(lake, campaign, version)
    pulled = pull_version(lake, found, out)
    told = f"{pulled.n_fetched} fetched now" if pulled.n_fetched else "all there before"
    say(
        f"{found.dataset}@{found.name} {found.digest[:12]} in {pulled.folder}: "
        f"{pulled.n_files} files, {pulled.n_bytes / 1e6:.1f} MB, {told}"
    )


def lineage(
    row: Annotated[str, typer.Argument(help="a pair_id, response_id or annotation_id")],
    lake: LakeOption,
    campaign: CampaignOption = SHIPPED,
    batch: Annotated[str | None, typer.Option(help="look in this batch only")] = None,
    as_json: JsonOption = False,
) -> None:
    """Where a published row comes from: prompt, model, gains, votes, cost."""
    found = trace(lake, campaign.name, campaign.publish.dataset, row, batch)
    if as_json:
        say_json(found.as_dict())
    else:
        say_text(lineage_text(found))


def rollback(
    version: NamedVersion,
    lake: LakeOption,
    reason: Annotated[str, typer.Option(help="for the new version's manifest")],
    campaign: CampaignOption = SHIPPED,
) -> None:
    """An older version published again as the newest: the next batch builds on it."""
    target = find_version(lake, campaign, version)
    made = roll_back(lake, target, reason, getpass.getuser(), datetime.now(UTC))
    # The next batch must not choose its pairs by what the withdrawn labels taught.
    fitted = reward_model.refit(lake, campaign, made)
    reward_model.store(lake, campaign.name, fitted, made.number)
    say(_line(made))


def find_version(lake: Lake, campaign: Campaign, name: str) -> Version:
    """The version that a person names: `v12`, `nightly@v12`, `latest` or `nightly@latest`.

    Raises:
        Fatal: There is no such version, or the name is none; then it is not repeated.
    """
    named = _NAMED.fullmatch(name)
    if named is None:
        raise Fatal(
            "What is named is no version: write v12, NAME@v12 or NAME@latest, NAME being that of "
            "a dataset; `winnow versions` lists them."
        )
    dataset, wanted = named[1] or campaign.publish.dataset, named[2]
    last = newest(lake, dataset)
    if last is None:
        raise Fatal(f"Dataset {dataset} in {lake.uri} has no version yet; run a batch first.")
    if wanted == "latest":
        return last
    found = _NUMBER.fullmatch(wanted)
    if found is None or int(found[1]) > last.number:
        raise Fatal(
            f"Dataset {dataset} in {lake.uri} has no version {wanted!r}: there are v1 to "
            f"v{last.number}, and `latest`; `winnow versions` lists them."
        )
    return read_version(lake, dataset, int(found[1]))


def _line(version: Version) -> str:
    rows = ", ".join(f"{version.n_rows(view)} {view}" for view in VIEWS if version.n_rows(view))
    line = (
        f"{version.dataset}@{version.name} {version.digest[:12]} {version.published_at} "
        f"{rows or 'no rows'}"
    )
    if version.rollback is not None:
        return f"{line}, rollback to {version.rollback.to}: {plain_line(version.rollback.reason)}"
    figures = version.figures
    cost = f"${figures['cost'] / MICROS:.2f}" if "cost" in figures else "cost not measured"
    verdict = figures.get("verdict", "not judged")
    return f"{line}, {cost}, gate: {verdict}, batches to {version.batches[-1]}"
