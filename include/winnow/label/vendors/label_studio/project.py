"""A batch as a project of Label Studio, and what its description says of it.

    Made by Winnow for its batch nightly/2026-11-22. Please leave this text as it is.
    {"winnow": 1, "batch_key": "nightly/2026-11-22", "state": "open", "deadline": "...", ...}

What always holds: a project without such a description is not Winnow's, whatever its title; it is
neither used nor removed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from winnow.ids import content_id
from winnow.label.vendor import BatchTerms
from winnow.pages.render import piece

_SHORTEST_TITLE, _LONGEST_TITLE = 3, 50
NO_PAGE = "<View></View>"
"""Label configuration of a draft: nothing to answer with."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What Winnow keeps about a batch. `open` covers complete: the tasks tell them apart."""

    batch_key: str
    deadline: AwareDatetime
    dimensions: tuple[str, ...]
    rubric_version: str
    state: Literal["draft", "open", "cancelled", "expired"] = "draft"
    reason: str = ""
    mark: str = ""
    choices: tuple[str, ...] = ()
    winnow: Literal[1] = 1

    @property
    def is_closed(self) -> bool:
        """True when no task may be added and no answer is wanted."""
        return self.state in ("cancelled", "expired")


def new_project(batch_key: str, terms: BatchTerms) -> dict[str, Any]:
    """The request that makes a batch's project, as a draft.

    One answer finishes a task: it is one annotator's view, with its sides fixed.
    """
    marker = Marker(
        batch_key,
        terms.deadline,
        terms.dimensions,
        terms.rubric_version,
        mark=terms.mark,
        choices=terms.choices,
    )
    return {
        "title": title_of(batch_key),
        "description": describe(marker),
        "label_config": NO_PAGE,
        "is_draft": True,
        "is_published": False,
        "expert_instruction": piece("broken", terms.instructions),
        "show_instruction": True,
        "maximum_annotations": 1,
        "sampling": "Sequential sampling",
        "enable_empty_annotation": False,
        # The page has a skip of its own, with a key; a task that was skipped all the same is done.
        "show_skip_button": False,
        "skip_queue": "IGNORE_SKIPPED",
        "show_collab_predictions": False,
    }


def title_of(batch_key: str) -> str:
    """The batch's key, cut and made unique where Label Studio would refuse its length.

    >>> title_of("nightly/2026-11-22")
    'nightly/2026-11-22'
    >>> len(title_of("n" * 80))
    50
    """
    if _SHORTEST_TITLE <= len(batch_key) <= _LONGEST_TITLE:
        return batch_key
    return f"{batch_key[:37]}~{content_id(batch_key)[:12]}"


def as_json(marker: Marker) -> dict[str, Any]:
    """The marker as JSON holds it."""
    return {**asdict(marker), "deadline": marker.deadline.isoformat()}


def describe(marker: Marker) -> str:
    """The description of the batch's project."""
    line = json.dumps(as_json(marker))
    for character in "<>&":  # Safe from whatever cleans or shows it as HTML.
        line = line.replace(character, f"\\u{ord(character):04x}")
    return f"Made by Winnow for its batch. Please leave this text as it is.\n{line}"


def read_marker(description: str | None) -> Marker | None:
    """What a line of a project's description says; None where it is not Winnow's."""
    for line in reversed((description or "").splitlines()):
        with suppress(ValidationError):
            marker: Marker = TypeAdapter(Marker).validate_json(line)
            return marker
    return None
