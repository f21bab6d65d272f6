"""What the quality report tells of one batch, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.batch import Manifest
from winnow.campaign import Campaign
from winnow.publish.report.figures import Example, Lengths, LongerWins, RankGain
from winnow.publish.report.shares import Trait
from winnow.publish.versions import Version
from winnow.reward.calibration import Calibration


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows that a stage put into quarantine for one reason."""

    stage: str
    reason: str
    n: int
    detail: str


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """Everything measured on a batch.

    Attributes:
        batch: Its key.
        campaign: What it was started with.
        vendor_note: What a reader must know of the vendor, in Markdown; may be empty.
        manifests: Of the four stages before publishing, by stage.
        verdict: What the gate said, as JSON has it: `verdict` (pass or warn) and `checks` (name,
            severity, outcome, value, limit); where it tells of them, `suspects`, `bad_rows`
            and `sessions`.
        annotators: Rows of `label.annotator_report`.
        refused: Quarantine of all stages, by stage and reason.
        ranks: Expected gain by rank.
        calibration: On exploration pairs; None where no vote is on one.
        traits: Shares of languages and flags from the pool to the chosen side.
        lengths: Deciles of response lengths, likewise.
        longer: How often the longer response won.
        examples: A few pairs to look at.
        seconds: Active time of all annotators, seconds.
    """

    batch: str
    campaign: Campaign
    vendor_note: str
    manifests: Mapping[str, Manifest]
    verdict: Mapping[str, Any]
    annotators: Sequence[Mapping[str, Any]]
    refused: Sequence[Refused]
    ranks: Sequence[RankGain]
    calibration: Calibration | None
    traits: Sequence[Trait]
    lengths: Lengths | None
    longer: LongerWins | None
    examples: Sequence[Example]
    seconds: float | None

    def n(self, stage: str, name: str) -> int | None:
        """A stage's count, None where it was not counted."""
        return self.manifests[stage].counts.get(name)

    def figure(self, stage: str, name: str) -> Any:
        """A stage's figure, None where it was not measured."""
        return self.manifests[stage].figures.get(name)

    @property
    def checks(self) -> Sequence[Mapping[str, Any]]:
        """The gate's checks."""
        checks: Sequence[Mapping[str, Any]] = self.verdict["checks"]
        return checks

    @property
    def paid(self) -> int:
        """What the batch's labels cost, micro-dollars."""
        return self.manifests["label"].cost


@dataclass(frozen=True, slots=True)
class History:
    """What came before a version.

    `parent` is the version it follows; `paid` what the labels of all its batches cost,
    micro-dollars, None where a batch's books are not in this lake.
    """

    parent: Version | None
    paid: int | None
