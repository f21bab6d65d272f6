"""`winnow push`, `winnow pull` from a hub, and what doctor says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.campaign import Hub
from winnow.cli import main
from winnow.commands import connections, doctor_services
from winnow.lake import FolderLake
from winnow.publish.versions import publish, store_object

from ...hub_server import TOKEN, served
from ...hub_server import Hub as Server

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REPO = "org/nights"
CAMPAIGN = {
    "name": "small",
    "ingest": {"sources": ["inbox/{day}"]},
    "expand": {"model": "tiny"},
    "label": {"budget_usd": 5.0},
    "publish": {"dataset": "small", "hub": {"repo": REPO}},
}

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with served() as server:
        fields = {"conn_type": "http", "host": server.url, "password": TOKEN}
        monkeypatch.setenv("AIRFLOW_CONN_WINNOW_HUB", json.dumps(fields))
        yield server


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a lake of two versions: its exit code and all that it says."""
    (tmp_path / "campaign.yaml").write_text(json.dumps(CAMPAIGN))
    lake = FolderLake(tmp_path / "lake")
    for batch in ("b1", "b2"):
        one = store_object(lake, "small", f"rows of {batch}".encode(), "parquet", n_rows=3)
        files = {f"data/dpo/train/{batch}-aa.parquet": one}
        publish(lake, "small", batch, files, {}, lambda v: f"---\n---\n# small {v.name}\n", NOW)
    monkeypatch.delenv("WINNOW_LAKE", raising=False)

    def said(*arguments: str, places: bool = True) -> tuple[int, str]:
        own = ["--lake", lake.uri, "--campaign", str(tmp_path / "campaign.yaml")]
        code = main([*arguments, *(own if places else [])])
        out = capsys.readouterr()
        assert TOKEN not in out.out + out.err
        return code, out.out + out.err

    return said


def test_versions_are_pushed_by_hand_and_pulled_without_a_lake(
    server: Server, run: Run, tmp_path: Path
) -> None:
    code, said = run("push", "latest")
    assert code == 0
    assert "has v000002, commit" in said
    assert run("push", "v1")[0] == 0
    repo = server.repos[REPO]
    assert sorted(repo.tags) == ["v000001", "v000002"]
    assert repo.branches == {"main": repo.tags["v000002"]}
    out = tmp_path / "pulled"
    code, said = run("pull", f"hf://{REPO}@v1", "--out", str(out), places=False)
    assert code == 0, said
    assert (out / "data/dpo/train/b1-aa.parquet").read_bytes() == b"rows of b1"
    held = json.loads((out / "manifest.json").read_text())["digest"]
    assert held[:12] in said
    named = ("pull", f"hf://{REPO}@latest", "--out", str(tmp_path / "other"))
    code, said = run(*named, "--digest", held[:12], places=False)
    assert code == 1
    assert "small v000002" in said
    assert not (tmp_path / "other").exists()
    assert run(*named, places=False)[0] == 0
    code, said = run("pull", "v1", "--out", str(out), "--digest", held)
    assert code == 0
    assert "all there before" in said


def test_what_cannot_be_pushed_or_pulled_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    code, said = run("pull", "hf://org/none@v1", "--out", str(tmp_path / "x"), places=False)
    assert (code, said.count("\n")) == (1, 1)
    assert "HTTP 404: Repository not found" in said
    code, said = run("pull", "hf://org", "--out", str(tmp_path / "x"), places=False)
    assert "write hf://ORG/NAME@v12" in said
    monkeypatch.setattr(connections, "airflow_json", lambda *_: [])
    monkeypatch.delenv("AIRFLOW_CONN_WINNOW_HUB")
    code, said = run("push", "v1")
    assert (code, said.count("\n")) == (1, 1)
    assert "AIRFLOW_CONN_WINNOW_HUB" in said
    (tmp_path / "campaign.yaml").write_text(
        json.dumps({**CAMPAIGN, "publish": {"dataset": "small"}})
    )
    assert "has no publish.hub" in run("push", "v1")[1]
    assert "WINNOW_LAKE" in run("pull", "v1", "--out", "x", places=False)[1]


def test_doctor_asks_the_hub_who_the_token_is(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Hub(repo=REPO)

    def check(**fields: Any) -> tuple[str, str]:
        if fields:
            conn = {"conn_type": "http", "host": server.url, "password": TOKEN, **fields}
            monkeypatch.setenv("AIRFLOW_CONN_WINNOW_HUB", json.dumps(conn))
        found = doctor_services.hub(settings, 5.0)
        assert TOKEN not in found.measured + (found.mend or "")
        return found.outcome, found.measured

    place = f"{server.url} knows ann; {REPO}"
    assert check() == ("ok", f"{place} is made by the first push")
    repo = server.make(REPO)
    assert check() == ("ok", f"{place} is there")
    repo.private = False
    assert check()[0] == "failed"
    assert check(password="wrong") == ("failed", f"{server.url} answered HTTP 401 to the token")
    assert "no token" in check(password="")[1]
    assert check(host="http://127.0.0.1:9")[0] == "failed"
    assert "is no URL, or holds" in check(host="http://ann:pass@127.0.0.1:9")[1]
