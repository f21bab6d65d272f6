"""The vendors that a campaign can name, each an adapter that keeps the contract of `vendor`.

An adapter is imported when its vendor is asked for: a night with one vendor loads one client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, get_args

from winnow.campaign import Vendor
from winnow.errors import Fatal
from winnow.label.vendor import LabelVendor, VendorAccount, VendorKind
from winnow.text import has_half_surrogate

VENDORS: Mapping[str, VendorKind] = {
    name: import_module(f"{__name__}.{name}").KIND for name in get_args(Vendor)
}
"""The vendors by the word that names them and their package, which says of what kind each is."""


def connect(name: str, account: VendorAccount) -> LabelVendor:
    """The vendor that a campaign calls `name`.

    Raises:
        Fatal: There is no such vendor, or a field of the account's connection cannot be used.
    """
    vendor: LabelVendor = _adapter(name).connect(_checked(name, account))
    return vendor


def batch_of_event(name: str, body: bytes) -> str | None:
    """The ref of the batch that a vendor's webhook is about; None when it is about none."""
    ref: str | None = _adapter(name).batch_of_event(body)
    return ref


def kind_of(name: str) -> VendorKind:
    """What is known of the vendor `name`.

    Raises:
        Fatal: There is no such vendor.
    """
    if name not in VENDORS:
        known = ", ".join(get_args(Vendor))
        raise Fatal(f"Unknown vendor {name!r}; the campaign's label.vendor may be: {known}.")
    return VENDORS[name]


def _checked(name: str, account: VendorAccount) -> VendorAccount:
    """The account with what the vendor reads of `extra`; all of it text that can be sent on."""
    given = account.extra if isinstance(account.extra, Mapping) else {}
    extra = {key: given[key] for key in kind_of(name).extra if given.get(key) is not None}
    fields = {"host": account.url, "login": account.login, "password": account.token}
    for field, value in {**fields, **{f"extra.{k}": v for k, v in extra.items()}}.items():
        if not isinstance(value, str) or "\0" in value or has_half_surrogate(value):
            raise Fatal(
                f"The connection of {name}: its {field} must be a text, without NUL and halves of "
                "surrogate pairs; correct it in Airflow under Admin, Connections."
            )
    return replace(account, extra=extra)


def _adapter(name: str) -> Any:
    kind_of(name)
    return import_module(f"{__name__}.{name}.client")
