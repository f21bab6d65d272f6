"""The vendors that a campaign can name, each an adapter that keeps the contract of `vendor`."""

from __future__ import annotations

from winnow.errors import Fatal
from winnow.label.vendor import LabelVendor
from winnow.label.vendors.simulator import SimulatorVendor


def connect(name: str, base_url: str, token: str) -> LabelVendor:
    """The vendor that a campaign calls `name`, at `base_url`.

    Raises:
        Fatal: There is no such vendor, or the address or the token cannot be used.
    """
    if name == "simulator":
        return SimulatorVendor(base_url, token)
    raise Fatal(f"Unknown vendor {name!r}; the campaign's label.vendor may be: simulator.")
