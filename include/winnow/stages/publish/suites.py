"""A team's suites as a batch is checked by them: once it was, their files may change.

The text that gave a verdict is kept beside it, so that the same check again gives the same one. A
suite that erred gave none, and is read anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from winnow.batch import Batch
from winnow.campaign.sections import Suite as Setting
from winnow.errors import Retryable
from winnow.validate.gate import rehearse
from winnow.validate.team_suites import Suite, read_suite
from winnow.validate.verdict import Verdict


def suites_of(batch: Batch) -> list[Suite]:
    """The suites of a campaign: as the batch was checked by them, or else as their files are.

    Raises:
        Fatal: A file cannot be read, is no suite, or holds what cannot be run.
    """
    return [_suite(batch, setting) for setting in batch.campaign.validation.suites]


def read_and_rehearse(setting: Setting) -> Suite:
    """A suite as its file is now; raises Fatal as `suites_of` does."""
    suite = Suite.of(setting, read_suite(setting))
    rehearse(suite)
    return suite


def keep_suites(batch: Batch, suites: Sequence[Suite], verdict: Verdict) -> None:
    """Keep what a batch was checked by.

    Raises:
        Retryable: Somebody else checked it by another text meanwhile.
    """
    erred = {check.suite for check in verdict.checks if check.outcome == "error"}
    for suite in suites:
        path = _path(batch, suite.setting)
        if suite.setting.name in erred or batch.lake.create(path, suite.text):
            continue
        if batch.lake.read(path) != suite.text:
            raise Retryable(
                f"Batch {batch.key} was checked by another text of {suite.setting.path} at the "
                "same time, which counts; check it again."
            )


def _suite(batch: Batch, setting: Setting) -> Suite:
    path = _path(batch, setting)
    if batch.lake.exists(path):
        return Suite.of(setting, batch.lake.read(path))
    return read_and_rehearse(setting)


def _path(batch: Batch, setting: Setting) -> str:
    return f"{batch.folder}/publish/suites/{setting.table}-{setting.name}.json"
