"""Served files: the published bytes or none, and no path of a request reaches the store."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Artifact
from winnow.console.datasets.files import data_docs, file_of, report_of
from winnow.console.shell import NotFound
from winnow.errors import Corrupt
from winnow.lake import FolderLake
from winnow.publish.versions import read_version
from winnow.validate.verdict import Verdict

from ...console_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(FolderLake(tmp_path / "lake"))
    made.make("2026-11-24")
    return made


def asked(name: str, **changed: str) -> dict[str, str]:
    return {"dataset": "nightly", "version": "v000001", "name": name, **changed}


def test_each_file_of_a_version_comes_as_it_was_published(world: World) -> None:
    version = read_version(world.lake, "nightly", 1)
    for name, artifact in version.files.items():
        served = file_of(world.lake, world.campaign, asked(name))
        data = b"".join(served.chunks)
        assert hashlib.sha256(data).hexdigest() == artifact.sha256
        headers = served.headers
        assert headers["Content-Length"] == str(len(data))
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert headers["Repr-Digest"] == f"sha-256=:{digest}:"
        saved_as = f"nightly-v000001-{name.replace('/', '-')}"
        assert headers["Content-Disposition"] == f'attachment; filename="{saved_as}"'
        assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
    parquet = next(name for name in version.files if name.endswith(".parquet"))
    served = file_of(world.lake, world.campaign, asked(parquet))
    assert served.headers["Content-Type"] == "application/vnd.apache.parquet"


def test_the_report_is_shown_in_a_sandbox(world: World) -> None:
    served = report_of(world.lake, world.campaign, asked(""))
    assert b"<p>Report</p>" in b"".join(served.chunks)
    policy = served.headers["Content-Security-Policy"]
    assert served.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Content-Disposition" not in served.headers
    assert "sandbox" in policy.split("; ") and "default-src 'none'" in policy.split("; ")
    assert "script-src" not in policy and "allow-" not in policy


@pytest.mark.parametrize(
    "name",
    [
        "",
        "manifest.json",
        "../../versions/v000001.json",
        "/etc/passwd",
        "datasets/nightly/latest.json",
        "quality/../README.md",
        "README.md\r\nSet-Cookie: a=b",
    ],
)
def test_no_other_name_is_served(world: World, name: str) -> None:
    with pytest.raises(NotFound):
        file_of(world.lake, world.campaign, asked(name))


@pytest.mark.parametrize(
    "changed", [{"version": "v000002"}, {"dataset": "other"}, {"dataset": ".."}, {"version": ""}]
)
def test_no_other_version_is_served(world: World, changed: dict[str, str]) -> None:
    for serve in (file_of, report_of):
        with pytest.raises(NotFound):
            serve(world.lake, world.campaign, asked("README.md", **changed))


def test_a_name_with_strange_letters_makes_a_plain_header(world: World) -> None:
    name = 'data/reward/train/de|"\r\n\u202e.parquet'
    served = file_of(world.lake, world.campaign, asked(_renamed(world, name)))
    saved_as = served.headers["Content-Disposition"]
    assert saved_as == ('attachment; filename="nightly-v000001-data-reward-train-de_____.parquet"')
    assert saved_as.isascii()


def test_a_manifest_that_names_another_place_is_not_followed(world: World) -> None:
    version = read_version(world.lake, "nightly", 1)
    elsewhere = Artifact("campaigns/nightly/ledger.json", "0" * 64, 0, 1)
    _store(world, replace(version, files={**version.files, "extra.json": elsewhere}))
    with pytest.raises(NotFound, match="names no object"):
        file_of(world.lake, world.campaign, asked("extra.json"))


def test_a_file_that_is_gone_says_so_before_anything_is_sent(world: World) -> None:
    artifact = read_version(world.lake, "nightly", 1).files["README.md"]
    world.lake.remove(artifact.path)
    with pytest.raises(NotFound, match="missing from the lake"):
        file_of(world.lake, world.campaign, asked("README.md"))


def test_a_file_that_was_changed_never_arrives_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = read_version(world.lake, "nightly", 1).files["README.md"]
    path = Path(world.lake.uri, artifact.path)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"!")
    monkeypatch.setattr("winnow.lake.folder._PIECE_BYTES", 4)
    served, came = file_of(world.lake, world.campaign, asked("README.md")), []
    with pytest.raises(Corrupt, match="does not match its digest"):
        came.extend(served.chunks)
    assert sum(map(len, came)) < artifact.n_bytes


def test_a_large_file_is_never_held_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.lake.folder._PIECE_BYTES", 4)
    pieces = list(file_of(world.lake, world.campaign, asked("README.md")).chunks)
    assert len(pieces) > 1 and max(map(len, pieces)) <= 4


def _renamed(world: World, name: str) -> str:
    """Publish the first version again with one of its files under another name."""
    version = read_version(world.lake, "nightly", 1)
    _store(world, replace(version, files={name: version.files["README.md"]}))
    return name


def _store(world: World, version: Any) -> None:
    path = Path(world.lake.uri, "datasets/nightly/versions/v000001.json")
    path.unlink()
    path.write_bytes(version.to_bytes())


def docs_of(world: World, key: str, place: str = "") -> Artifact:
    """Data Docs of a batch that is checked and not published; `place` is where a verdict says."""
    batch = world.make(key, "label")
    made = batch.write_bytes("publish", "data_docs", "html", b"<p>met</p>")
    told = replace(made, path=place or made.path)
    verdict = Verdict("block", [], data_docs=asdict(told))
    batch.write_bytes("publish", "verdict", "json", verdict.to_bytes())
    return made


def test_data_docs_are_shown_in_a_sandbox(world: World) -> None:
    docs_of(world, "2026-11-25")
    served = data_docs(world.lake, world.campaign, {"key": "2026-11-25"})
    assert b"".join(served.chunks) == b"<p>met</p>"
    policy = served.headers["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'"} <= set(policy)
    assert served.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("key", ["", "2026-11-24", "2026-11-01", "../nightly/2026-11-25"])
def test_of_other_batches_there_are_no_data_docs(world: World, key: str) -> None:
    docs_of(world, "2026-11-25")
    with pytest.raises(NotFound):
        data_docs(world.lake, world.campaign, {"key": key})


def test_data_docs_that_were_changed_or_lie_elsewhere_are_not_served(world: World) -> None:
    docs_of(world, "2026-11-25", place="campaigns/nightly/ledger.json")
    with pytest.raises(NotFound, match="names no object"):
        data_docs(world.lake, world.campaign, {"key": "2026-11-25"})
    made = docs_of(world, "2026-11-26")
    world.lake.remove(made.path)
    world.lake.create(made.path, b"<p>MET</p>")
    served = data_docs(world.lake, world.campaign, {"key": "2026-11-26"})
    with pytest.raises(Corrupt, match="does not match"):
        b"".join(served.chunks)
