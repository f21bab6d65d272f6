"""Which lake this is, wherever it lies: an id that moves with its content.

lake.json     the id, written once, before the lake's first purchase
"""

from __future__ import annotations

import json
import uuid

from winnow.errors import Corrupt
from winnow.lake.contract import Lake

_PATH = "lake.json"


def lake_id(lake: Lake) -> str:
    """The lake's id, given to it now unless it has one.

    Raises:
        Corrupt: `lake.json` cannot be read.
    """
    if not lake.exists(_PATH):
        lake.create(_PATH, json.dumps({"id": uuid.uuid4().hex}).encode())
    try:
        return str(json.loads(lake.read(_PATH))["id"])
    except (ValueError, TypeError, KeyError) as error:
        raise Corrupt(
            f"{lake.uri}/{_PATH} cannot be read, so what this lake bought cannot be told from "
            "another's purchases: restore it from the bucket's versions or a copy of the lake."
        ) from error
