"""A batch's rows as tests make them up, and the views and figures that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from winnow.publish.labelled import Labelled, labelled
from winnow.publish.views import VIEWS, expected_rows, prepare, read_view
from winnow.records import (
    ANNOTATIONS,
    COMPARISONS,
    PREFERENCES,
    PROMPTS,
    RESPONSES,
    to_table,
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class BatchRows:
    """Rows by id where they have one, which then need not be among their columns."""

    batch: str
    prompts: Mapping[str, Row]
    responses: Mapping[str, Row]
    comparisons: Mapping[str, Row]
    preferences: Sequence[Row]
    annotations: Sequence[Row]

    @contextmanager
    def opened(self) -> Iterator[Labelled]:
        tables = {
            "prompts": to_table(_named(self.prompts, "prompt_id"), PROMPTS),
            "responses": to_table(_named(self.responses, "response_id"), RESPONSES),
            "comparisons": to_table(self.comparisons.values(), COMPARISONS),
            "preferences": to_table(self.preferences, PREFERENCES),
            "annotations": to_table(self.annotations, ANNOTATIONS),
        }
        with labelled(self.batch, tables) as found:
            yield found


def build_views(rows: BatchRows, min_p_chosen: float) -> dict[str, pa.Table]:
    """Every view whole, whatever its split."""
    with rows.opened() as found:
        prepare(found, min_p_chosen)
        return {
            view: pa.concat_tables(
                [schema.empty_table(), *read_view(found, view, (0.0, 1.0), 1000)]
            )
            for view, schema in VIEWS.items()
            if view in expected_rows(found)
        }


def _named(rows: Mapping[str, Row], key: str) -> list[dict[str, Any]]:
    return [{key: name, **row} for name, row in rows.items()]
