"""What an upgrade to this release will change, said beforehand: `winnow migrate --check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import winnow
from winnow.batch import STAGES, read_manifest
from winnow.campaign import Campaign
from winnow.commands.chosen import place_here
from winnow.errors import WinnowError
from winnow.expand.features import are_related, feature_version
from winnow.expand.pool_features import stored_version
from winnow.ingest.ledger import read_ledger
from winnow.lake import Lake
from winnow.lake_format import FORMAT, format_of
from winnow.operate.campaigns import Known, campaigns_of, open_work
from winnow.text import plain_line

LAST_BATCHES = 5
"""So many of a campaign's newest batches tell which release wrote them."""


def told(lake: Lake) -> Iterator[str]:
    """A line on the lake, then some on each campaign; nothing is written.

    Raises:
        Fatal: The lake's format is newer than this release.
    """
    named = format_of(lake)
    how = "named by the next batch, nothing is rewritten" if named is None else "as it is now"
    yield f"{lake.uri}: format {FORMAT} of winnow {winnow.__version__}, {how}."
    for known in campaigns_of(lake, place_here()):
        try:
            yield from (f"{known.name}: {each}" for each in _of_campaign(lake, known))
        except WinnowError as error:
            yield f"{known.name}: {plain_line(str(error))}"


def _of_campaign(lake: Lake, known: Known) -> Iterator[str]:
    if known.file == "broken":
        yield f"this release cannot read its file; mend it first: {plain_line(known.fault)}"
    if known.settings is None:
        return
    keys = read_ledger(lake, known.name).taken_keys
    if not keys:
        yield "it has no batch there: no night ran yet, or the lake is another one."
    if wrote := _releases(lake, known.name, keys[-LAST_BATCHES:]):
        yield f"batches of winnow {', '.join(wrote)} are read as they are."
    work = open_work(lake, known.settings)
    if work.keys:
        how = f"; it has no file: winnow migrate {known.name}" if known.file == "gone" else ""
        yield f"{work}; they go on as they were begun, and nothing is bought again{how}."
    yield _reward(lake, known.settings)


def _releases(lake: Lake, campaign: str, keys: Sequence[str]) -> list[str]:
    manifests = [read_manifest(lake, campaign, key, stage) for key in keys for stage in STAGES]
    return sorted({each.code_version for each in manifests if each is not None})


def _reward(lake: Lake, campaign: Campaign) -> str:
    # Here and not above: what fits models takes a second to import.
    from winnow.stages.select import reward_model

    current = reward_model.newest(lake, campaign.name)
    if current is None:
        return "it has no reward model yet."
    # How long vectors are that are brought, the files say.
    held = stored_version(current.model.feature_version).partition("+vector-")[0]
    wanted = feature_version(campaign.expand)
    if not are_related(held, wanted):
        return (
            f"its reward model starts anew: it reads features {held}, and the campaign asks for "
            f"{wanted}; `expand.features` of before keep it."
        )
    return f"its reward model of {current.model.posterior.n_labels:,} votes goes on."
