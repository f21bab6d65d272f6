"""Commands about the versions of a dataset."""

from __future__ import annotations

import argparse
import getpass
import re
from datetime import UTC, datetime

from winnow.campaign import Campaign
from winnow.commands.say import say, say_json, say_text
from winnow.errors import Fatal
from winnow.lake import Lake
from winnow.publish.diff import diff_versions
from winnow.publish.diff_text import diff_text
from winnow.publish.lineage import trace
from winnow.publish.lineage_text import lineage_text
from winnow.publish.pull import pull as pull_version
from winnow.publish.rollback import roll_back
from winnow.publish.versions import Version, newest, read_version
from winnow.publish.views import VIEWS
from winnow.records import MICROS
from winnow.stages import reward_model
from winnow.text import plain_line

_NUMBER = re.compile(r"v?0*([1-9][0-9]*)")


def versions(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """A line a version of the campaign's dataset, oldest first."""
    dataset = campaign.publish.dataset
    last = newest(lake, dataset)
    if last is None:
        say(f"Dataset {dataset} has no version yet.")
    for number in range(1, last.number + 1 if last else 1):
        say(_line(read_version(lake, dataset, number)))


def diff(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """What differs between two versions: rows, figures, batches."""
    before, after = (find_version(lake, campaign, name) for name in (asked.before, asked.after))
    if before.dataset != after.dataset:
        raise Fatal(f"{before.dataset} and {after.dataset} are two datasets; compare one's own.")
    found = diff_versions(lake, before, after, max(asked.rows, 0))
    if asked.json:
        say_json(found.as_dict())
    else:
        say_text(diff_text(found))


def pull(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """A version as a local folder: every file checked, whole or not at all."""
    version = find_version(lake, campaign, asked.version)
    pulled = pull_version(lake, version, asked.out)
    told = f"{pulled.n_fetched} fetched now" if pulled.n_fetched else "all there before"
    say(
        f"{version.dataset}@{version.name} {version.digest[:12]} in {pulled.folder}: "
        f"{pulled.n_files} files, {pulled.n_bytes / 1e6:.1f} MB, {told}"
    )


def lineage(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """Where a published row comes from: prompt, model, gains, votes, cost."""
    found = trace(lake, campaign.name, campaign.publish.dataset, asked.row, asked.batch)
    if asked.json:
        say_json(found.as_dict())
    else:
        say_text(lineage_text(found))


def rollback(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """An older version published again as the newest: the next batch builds on it."""
    target = find_version(lake, campaign, asked.version)
    by = getpass.getuser()
    version = roll_back(lake, target, asked.reason, by, datetime.now(UTC))
    # The next batch must not choose its pairs by what the withdrawn labels taught.
    fitted = reward_model.refit(lake, campaign, version)
    reward_model.store(lake, campaign.name, fitted, version.number)
    say(_line(version))


def find_version(lake: Lake, campaign: Campaign, name: str) -> Version:
    """The version that a person names: `v12`, `nightly@v12`, `latest` or `nightly@latest`.

    Raises:
        Fatal: There is no such version.
    """
    dataset, _, wanted = name.rpartition("@")
    dataset = dataset or campaign.publish.dataset
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
