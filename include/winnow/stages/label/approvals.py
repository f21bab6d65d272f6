"""What a person allowed a batch's labels to cost: an approval is for its amount.

label/approval.json     pointer: the last approval, and those before it for less
"""

from __future__ import annotations

import math
from typing import Any

from winnow.batch import Batch
from winnow.campaign import MOST_USD
from winnow.errors import Fatal
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.stored import parsed, read_sealed, sealed_json

_PATH = "label/approval.json"


def note_approval(batch: Batch, who: str, most_usd: float) -> None:
    """Note that `who` allows up to `most_usd` dollars; less than was allowed changes nothing.

    Raises:
        Fatal: `most_usd` is no amount: it could not be read again.
    """
    is_number = isinstance(most_usd, int | float) and not isinstance(most_usd, bool)
    if not (is_number and 0.0 <= most_usd <= MOST_USD):
        raise Fatal(f"An approval is for an amount of dollars from 0 to {MOST_USD:,.0f}.")
    while True:
        _, tag = batch.lake.read_tagged(f"{batch.folder}/{_PATH}")
        earlier = _approvals(batch.lake, batch.folder)
        if any(each["most_usd"] >= most_usd for each in earlier):
            return
        note = {"who": who, "at": batch.clock().isoformat(), "most_usd": most_usd}
        stored = sealed_json({**note, "earlier": earlier})
        if batch.lake.swap(f"{batch.folder}/{_PATH}", stored, tag):
            return


def approved(lake: Lake, folder: str) -> int:
    """Most that a person approved for the batch in `folder`, micro-dollars; 0: nobody did.

    Raises:
        Corrupt: The approval cannot be read.
    """
    return max((round(a["most_usd"] * MICROS) for a in _approvals(lake, folder)), default=0)


def _approvals(lake: Lake, folder: str) -> list[dict[str, Any]]:
    """Every approval, the last one first."""
    try:
        return parsed(lake, f"{folder}/{_PATH}", _read)
    except FileNotFoundError:
        return []


def _read(data: bytes) -> list[dict[str, Any]]:
    last = read_sealed(data)
    approvals = [last, *last.pop("earlier", [])]
    if not all(0.0 <= each["most_usd"] < math.inf for each in approvals):
        raise ValueError("most_usd")
    return approvals
