"""The vendors that a campaign can name, each an adapter that keeps the contract of `vendor`.

An adapter is imported when its vendor is asked for: a night with one vendor loads one client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, get_args

from winnow.campaign import Vendor
from winnow.errors import Fatal
from winnow.label.vendor import LabelVendor, VendorAccount, Webhook
from winnow.text import has_half_surrogate


@dataclass(frozen=True, slots=True)
class VendorKind:
    """What Winnow knows of a vendor before it talks to it.

    Its package's module `client` has `connect(account) -> LabelVendor` and, where `webhook` is set,
    `batch_of_event(body) -> str | None`, the ref of the batch that a webhook is about.

    Attributes:
        webhook: How its webhooks prove themselves; None: it sends none.
        webhook_header: Which header carries the proof, unless the connection names another.
        extra: What it reads of the connection's `extra`, each of them a text.
        note: What a reader of the data must know of it, for the dataset card.
    """

    webhook: Webhook | None = None
    webhook_header: str | None = None
    extra: tuple[str, ...] = ()
    note: str = ""


_AWS = ("endpoint_url", "region")
_JOBS = ("role_arn", "workteam_arn", "template_uri", "pre_lambda_arn", "post_lambda_arn", "title")

VENDORS: Mapping[str, VendorKind] = {
    "simulator": VendorKind(
        webhook="standard",
        note="**The labels come from a labelling-vendor simulator: its annotators are a formula, "
        "and no human judged anything, unless somebody answered tasks by hand on its page.**",
    ),
    "label_studio": VendorKind("header"),
    "file_drop": VendorKind(extra=_AWS),
    "ground_truth": VendorKind(extra=(*_AWS, *_JOBS)),
    "scale": VendorKind("header", "scale-callback-auth", ("project", "callback")),
}
"""The vendors by the word that names them and their package."""


def connect(name: str, account: VendorAccount) -> LabelVendor:
    """The vendor that a campaign calls `name`.

    Raises:
        Fatal: There is no such vendor, or a field of the account's connection cannot be used.
    """
    vendor: LabelVendor = _adapter(name).connect(_checked(name, account))
    return vendor


def batch_of_event(name: str, body: bytes) -> str | None:
    """The ref of the batch that a vendor's webhook is about; None when it is about none."""
    found: Callable[[bytes], str | None] = _adapter(name).batch_of_event
    return found(body)


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
