"""A batch that cannot be read says so with what mends it, and takes no other batch with it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import STAGES
from winnow.cli import main
from winnow.console import batch, batches, datasets, selector, spend
from winnow.console.memory import Memory
from winnow.console.shell import Site
from winnow.ingest.ledger import ledger_path
from winnow.lake import FolderLake
from winnow.operate.reconcile.once import reconcile

from ...console_world import World, campaign, day
from ...sampling import some

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
WHOLE, HURT, OPEN = day(0), day(1), day(2)
PAGES: Mapping[str, Callable[..., Any]] = {
    "batches": batches.page,
    "datasets": datasets.page,
    "spend": spend.page,
    "selector": selector.page,
}

TEXTS = (b"", b"{", b"[]", b"{}", b"null", b"42", b"\xff\xfe", b"[" * 100_000, b'"text"')
VALUES: tuple[Any, ...] = (None, "x", [], {}, 10**400, -1, [None], {"x": None}, True)
TIMES = ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+23:59", "2026-13-45", "2026-11-25")


def damages(data: bytes) -> Iterator[bytes]:
    """Other bytes for an object: no JSON, JSON of another shape, each field gone or another."""
    yield from (*TEXTS, data[: len(data) // 2])
    try:
        content = json.loads(data)
    except ValueError:
        return
    for name, value in content.items():
        rest = {n: v for n, v in content.items() if n != name}
        yield json.dumps(rest).encode()
        for other in TIMES if name.endswith("_at") else VALUES:
            yield json.dumps({**content, name: other}).encode()
        if isinstance(value, dict):
            for inner in value:
                for other in VALUES:
                    changed = {**content, name: {**value, inner: other}}
                    yield json.dumps(changed).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of three batches: two published, and one whose labels are with the vendor."""
    folder = tmp_path_factory.mktemp("made")
    world = World(FolderLake(folder / "lake"))
    world.make(OPEN, "select")
    world.make(HURT)
    world.make(WHOLE)
    (folder / "campaign.yaml").write_text(campaign().model_dump_json(exclude_unset=True))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def look(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What every command and page says; none may raise."""
    places = ["--campaign", str(folder / "campaign.yaml"), "--lake", str(folder / "lake")]
    said = {}
    for command in ("status", "quarantine", "reconcile"):
        assert main([command, *places]) == 0, command
        said[command] = capsys.readouterr().out
    assert main(["status", "--json", *places]) == 0
    json.loads(capsys.readouterr().out)
    lake, site = FolderLake(folder / "lake"), Site(NOW, Memory())
    for name, page in PAGES.items():
        said[name] = page(lake, campaign(), {}, site).body
    for key in (HURT, OPEN, WHOLE):
        said[f"batch {key}"] = batch.page(lake, campaign(), {"key": key}, site).body
    return said


def blocks(status: str) -> dict[str, str]:
    """What `winnow status` says of each batch."""
    return dict(re.findall(r"^(\S+)\n((?:  .*\n?)*)", status, re.M))


def check(found: dict[str, str], usual: dict[str, str], hurt: str, what: str) -> None:
    for key, told in blocks(usual["status"]).items():
        if key != hurt:
            assert blocks(found["status"])[key] == told, what
            assert found[f"batch {key}"] == usual[f"batch {key}"], what
    told = blocks(found["status"])[hurt]
    assert "  damaged " not in told or f"winnow drop {hurt} --campaign nightly" in told, what


@pytest.mark.sampled
@pytest.mark.parametrize("hurt", [HURT, OPEN])
def test_no_damaged_object_takes_other_batches_with_it(
    folder: Path, hurt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = look(folder, capsys)
    objects = sorted((folder / "lake" / "batches" / "nightly" / hurt).rglob("*.json"))
    assert objects
    for path in objects:
        data = path.read_bytes()
        other = list(damages(data))
        other = other[:: max(1, len(other) // 25)]
        for content in [None, *some(other, 10)]:
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            check(look(folder, capsys), usual, hurt, f"{path.name} {content!r:.200}")
            path.write_bytes(data)


@pytest.mark.parametrize("content", TEXTS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_manifest_is_told_with_what_mends_it(
    folder: Path, stage: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "lake" / "batches" / "nightly" / HURT / stage / "manifest.json"
    path.unlink()
    path.write_bytes(content)
    found = look(folder, capsys)
    assert f"{stage}/manifest.json cannot be read" in blocks(found["status"])[HURT]
    assert f"winnow drop {HURT} --campaign nightly --reason" in blocks(found["status"])[HURT]
    assert f"{stage}/manifest.json cannot be read" in found[f"batch {HURT}"]
    assert "The batch cannot be read" in found["batches"]
    assert f"{HURT}: " in found["reconcile"]


def test_a_damaged_table_is_told_where_it_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (folder / "lake" / "batches" / "nightly" / HURT).rglob("*.parquet"):
        data = path.read_bytes()
        for content in (None, b"", data[: len(data) // 2], b"x" * len(data)):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            look(folder, capsys)
            path.write_bytes(data)


ENTRIES: tuple[Any, ...] = (
    None,
    42,
    {},
    [],
    {"batch": HURT},
    {"batch": HURT, "files": None, "outputs": {}, "counts": {}},
    {"batch": HURT, "files": {}, "outputs": {"prompts": {"path": 1}}, "counts": {}},
    {"batch": HURT, "files": {}, "outputs": {}, "counts": {"rows_in": "many"}},
    {"batch": HURT, "files": {}, "outputs": {}, "counts": {}, "dropped": {"by": "nobody"}},
    {"batch": "../x", "files": {}, "outputs": {}, "counts": {}},
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_of_the_ledger_of_unknown_shape_is_shown_and_never_written_over(
    folder: Path, entry: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = look(folder, capsys)
    path = folder / "lake" / ledger_path("nightly")
    entries = json.loads(path.read_bytes())
    at = next(n for n, each in enumerate(entries) if each["batch"] == HURT)
    entries[at] = entry
    path.write_text(json.dumps(entries))
    lake, site = FolderLake(folder / "lake"), Site(NOW, Memory())
    named = HURT if isinstance(entry, dict) and entry.get("batch") == HURT else f"entry-{at + 1}"
    places = ["--campaign", str(folder / "campaign.yaml"), "--lake", str(folder / "lake")]
    assert main(["status", *places]) == 0
    told = blocks(capsys.readouterr().out)
    assert f"entry {at + 1} of" in told[named]
    for key in (WHOLE, OPEN):
        assert told[key] == blocks(usual["status"])[key]
        body = batch.page(lake, campaign(), {"key": key}, site).body
        assert body == usual[f"batch {key}"]
    assert "The batch cannot be read" in batches.page(lake, campaign(), {}, site).body
    assert [f.kind for f in reconcile(lake, campaign(), None, NOW).findings] == ["unreadable"]
    assert main(["drop", WHOLE, "--reason", "x", *places]) == 1
    assert json.loads(path.read_bytes()) == entries
