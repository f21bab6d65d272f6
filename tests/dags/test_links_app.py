"""The page behind links as the plugin serves it: for the campaigns' connections, without login."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from starlette.testclient import TestClient

from winnow.campaign import Label
from winnow.label.vendors.links.tokens import Link, Signer
from winnow_airflow import context, links_app

SECRET = "secret-of-the-tests"
TOKEN = Signer(SECRET).token(Link(2**40, "no-such-batch", "ann"))


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Airflow's connections by id, of which the campaigns name `a`, `b` and `gone`."""
    found: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in found:
            raise AirflowNotFoundException(name)
        password = found[name]
        extra = {"books": str(tmp_path / name)}
        told = {"host": "http://links.test", "port": None, "login": "", "schema": ""}
        return SimpleNamespace(**told, password=password, extra_dejson=extra)

    labels = [Label(budget_usd=1.0, vendor="links", connection=name) for name in ("gone", "a", "b")]
    campaigns = [SimpleNamespace(label=label) for label in labels]
    monkeypatch.setattr(links_app, "all_campaigns", lambda: campaigns)
    monkeypatch.setattr(links_app.BaseHook, "get_connection", get)
    context._client.cache_clear()
    return found


def test_a_link_of_any_connection_opens_and_no_other(connections: dict[str, Any]) -> None:
    connections["a"] = "another-secret-here"
    page = TestClient(links_app.create_app())
    assert page.get(f"/{TOKEN}").status_code == 404
    connections["b"] = SECRET
    # A link that is read, to a batch that is not there.
    assert TestClient(links_app.create_app()).get(f"/{TOKEN}").status_code == 503
    connections["a"] = "short"
    assert TestClient(links_app.create_app()).get(f"/{TOKEN}").status_code == 503


def test_connections_are_read_again_after_a_while(connections: dict[str, Any]) -> None:
    time = [0.0]
    vendors = links_app.Vendors(lambda: time[0])
    assert list(vendors()) == []
    connections["b"] = SECRET
    assert list(vendors()) == []
    time[0] = links_app.KNOWN_SECONDS + 1
    assert [each.name for each in vendors()] == ["links"]
