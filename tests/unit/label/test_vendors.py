"""What a connection says is looked at before any vendor's client is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from winnow.errors import Fatal
from winnow.label.vendor import VendorAccount
from winnow.label.vendors import VENDORS, connect

URLS = {
    "file_drop": "/drop",
    "ground_truth": "s3://bucket/prefix",
    "judge": "http://127.0.0.1:9",
    "label_studio": "http://127.0.0.1:9",
    "links": "http://127.0.0.1:9",
    "scale": "http://127.0.0.1:9",
    "simulator": "http://127.0.0.1:9",
}
TOKEN = "a-token-of-many-characters"
EXTRA = {
    "books": "/books",
    "completion_url": "https://crowd.example/done?cc={code}",
    "project": "p",
    "region": "eu-west-1",
    "role_arn": "r",
    "worker_parameter": "PROLIFIC_PID",
    "workteam_arn": "w",
}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("field", ["host", "login", "password"])
@pytest.mark.parametrize("end", ["\0", "\ud800"])
def test_a_field_that_is_no_text_is_named(vendor: str, field: str, end: str) -> None:
    fields = {"host": URLS[vendor], "login": "SECRET77", "password": "SECRET77"}
    fields[field] += end
    account = VendorAccount(fields["host"], fields["password"], fields["login"], EXTRA)
    with pytest.raises(Fatal, match=f"connection of {vendor}: its {field} must") as refused:
        connect(vendor, account)
    assert "SECRET77" not in str(refused.value)


@pytest.mark.parametrize(
    ("vendor", "name"), [(vendor, name) for vendor, kind in VENDORS.items() for name in kind.extra]
)
@pytest.mark.parametrize("value", [5, float("nan"), True, ["SECRET77"], {}, "a\0", "\ud800"])
def test_an_extra_that_is_no_text_is_named(vendor: str, name: str, value: Any) -> None:
    account = VendorAccount(URLS[vendor], "token", "login", {**EXTRA, name: value})
    with pytest.raises(Fatal, match=f"connection of {vendor}: its extra.{name} must") as refused:
        connect(vendor, account)
    assert "SECRET77" not in str(refused.value)


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_a_vendor_does_not_read_may_be_anything(vendor: str) -> None:
    extra = {**EXTRA, "endpoint_url": None, "timeout": 5, "headers": {"a": ["b"]}}
    assert connect(vendor, VendorAccount(URLS[vendor], TOKEN, "login", extra)).name == vendor


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_page_on_vendors_says_who_answers(vendor: str) -> None:
    page = Path(__file__).parents[3] / "docs/labelling_vendors.md"
    assert f"\n| `{vendor}` | " in page.read_text()
