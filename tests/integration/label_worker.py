"""Takes a batch that lies in a lake through the label stage, as Airflow's tasks would.

    python label_worker.py LAKE CAMPAIGN.yaml BATCH VENDOR_URL

It may be killed at any instruction and started again. The token comes from WINNOW_VENDOR_TOKEN.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from winnow.batch import open_batch
from winnow.campaign import load_campaign
from winnow.errors import Retryable
from winnow.label.vendor import VendorAccount
from winnow.label.vendors import connect
from winnow.lake import open_lake
from winnow.stages import label


def main(lake: str, campaign: str, key: str, url: str) -> None:
    """Submit, follow up and collect, each as soon as the vendor lets it."""
    token = os.environ["WINNOW_VENDOR_TOKEN"]
    loaded = load_campaign(Path(campaign))
    batch = open_batch(loaded, key, open_lake(lake), lambda: datetime.now(UTC))
    vendor = connect(loaded.label.vendor, VendorAccount(url, token))
    _insist(lambda: label.submit(batch, vendor))
    _insist(lambda: label.follow_up(batch, vendor, b"salt"))
    _insist(lambda: label.collect(batch, vendor, b"salt"))


def _insist(step: Callable[[], object]) -> None:
    while True:
        try:
            step()
        except Retryable as error:
            print(error, flush=True)
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
