"""What a vendor's books say of a batch has bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import Fatal
from winnow.label.vendor import MOST_TOLD, BatchStatus

GOOD = BatchStatus("complete", 3, 2, 1, 0, 200_000, 200_000, None)
AMOUNTS = ["charged", "committed"]


@given(st.sampled_from(AMOUNTS), st.integers(max_value=-1) | st.integers(min_value=MOST_TOLD + 1))
def test_what_cannot_be_is_refused_by_its_name_before_anything_is_booked(
    name: str, value: int
) -> None:
    with pytest.raises(Fatal, match=f"{name} {value} of a batch"):
        replace(GOOD, **{name: value})
