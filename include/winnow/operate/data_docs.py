"""Where the Data Docs of a batch lie: those of its version, or of the newest verdict on it."""

from __future__ import annotations

from winnow.batch import Artifact, batch_folder, read_manifest
from winnow.lake import Lake
from winnow.operate.facts import is_verdict
from winnow.stored import parsed
from winnow.validate.verdict import DATA_DOCS, STAGE, Verdict


def data_docs_of(lake: Lake, campaign: str, key: str) -> Artifact | None:
    """The Data Docs of a batch; None where it was not checked yet, or there are none of it.

    Raises:
        Corrupt: Its manifest or the verdict on it cannot be read.
    """
    done = read_manifest(lake, campaign, key, STAGE)
    if done is not None:
        return done.outputs.get(DATA_DOCS)
    left = lake.listing(f"{batch_folder(campaign, key)}/{STAGE}")
    verdicts = [each for each in left if is_verdict(each.path)]
    if not verdicts:
        return None
    newest = max(verdicts, key=lambda each: (each.modified, each.path))
    told = parsed(lake, newest.path, Verdict.from_bytes).data_docs
    return Artifact(**told) if told else None
