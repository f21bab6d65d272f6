"""What lies in a lake for trainers: a version's folder, and a card of the newest one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.errors import Corrupt
from winnow.lake import FolderLake, Lake, S3Lake
from winnow.publish.garbage import find_garbage, remove_garbage
from winnow.publish.layout import MANIFEST, show_latest
from winnow.publish.pull import pull
from winnow.publish.rollback import roll_back
from winnow.publish.shards import configs
from winnow.publish.verify import verify_version
from winnow.publish.versions import (
    Version,
    finish,
    is_finished,
    newest,
    publish,
    read_version,
    store_object,
)

from ..stages.conftest import LAKE_STEPS, Dying, Killed

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FUTURE = datetime(2200, 1, 1, tzinfo=UTC)


def card(version: Version) -> str:
    head = yaml.safe_dump({"license": "other", "configs": configs(version)}, sort_keys=False)
    return f"---\n{head}---\n\n# {version.name}\n\n- data/reward/train/words.parquet\n"


def put(lake: Lake, batch: str) -> Version:
    files = {
        f"data/{view}/train/{batch}.parquet": store_object(
            lake, "d", f"{view} of {batch}".encode(), "parquet", n_rows=3
        )
        for view in ("reward", "dpo")
    }
    return publish(lake, "d", batch, files, {}, card, NOW, lambda v: f"report {v.name}")


def named(data: bytes) -> dict[str, list[str]]:
    """The files of each view by a card's head."""
    head = yaml.safe_load(data.decode().split("---\n")[1])
    return {
        each["config_name"]: [path for split in each["data_files"] for path in split["path"]]
        for each in head["configs"]
    }


def test_a_folder_on_s3_holds_a_card_that_names_the_stored_files(s3_lake: S3Lake) -> None:
    put(s3_lake, "b1")
    version = put(s3_lake, "de|2")
    assert sorted(stored.path for stored in s3_lake.listing(version.folder)) == [
        "datasets/d/v000002/README.md",
        "datasets/d/v000002/manifest.json",
        "datasets/d/v000002/quality/report.html",
    ]
    shown = s3_lake.read(f"{version.folder}/README.md")
    for view, paths in named(shown).items():
        names = [name for name in version.files if name.startswith(f"data/{view}/")]
        assert paths == [f"{s3_lake.uri}/{version.files[name].path}" for name in sorted(names)]
        for path in paths:
            assert s3_lake.exists(path.removeprefix(f"{s3_lake.uri}/"))
    assert b"\n- data/reward/train/words.parquet\n" in shown
    verify_version(s3_lake, version)


def test_the_newest_card_is_shown_under_latest_and_names_files_that_are_there(lake: Lake) -> None:
    put(lake, "b1")
    version = put(lake, "b2")
    show_latest(lake, read_version(lake, "d", 1))
    shown = lake.read("datasets/d/latest/README.md")
    assert b"# v000002" in shown
    for paths in named(shown).values():
        assert len(paths) == 2
        for path in paths:
            at = f"datasets/d/{path.removeprefix('../')}" if lake.links else path
            assert lake.exists(at.removeprefix(f"{lake.uri}/"))
    back = roll_back(lake, read_version(lake, "d", 1), "worse", "ann", NOW)
    assert b"# v000003" in lake.read("datasets/d/latest/README.md")
    assert back.number == version.number + 1


def test_a_pulled_version_has_the_stored_card(s3_lake: S3Lake, tmp_path: Path) -> None:
    version = put(s3_lake, "b1")
    pull(s3_lake, version, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == card(version)


@pytest.mark.parametrize("on_s3", [False, True])
def test_a_publisher_killed_before_any_write_is_finished_by_the_next(
    on_s3: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    killed, at = True, 0
    while killed:
        lake: Any = FolderLake(tmp_path / f"{at}")
        if on_s3:
            lake = request.getfixturevalue("s3_lake")
            lake = S3Lake(lake.bucket, f"try-{at}", lake.client)
        put(lake, "b1")
        try:
            put(Dying(lake, LAKE_STEPS, at), "b2")
        except Killed:
            at += 1
        else:
            killed = False
        version = put(lake, "b2")
        assert version.number == 2 and is_finished(lake, version)
        verify_version(lake, version)
        assert b"# v000002" in lake.read(f"{version.folder}/README.md")
        assert b"# v000002" in lake.read("datasets/d/latest/README.md")
    assert at >= 7


def test_old_folders_are_garbage_where_they_are_asked_for(lake: Lake, tmp_path: Path) -> None:
    for number in range(1, 6):
        put(lake, f"b{number}")
    roll_back(lake, read_version(lake, "d", 2), "worse", "ann", NOW)
    assert not find_garbage(lake, "d", FUTURE).folders
    assert not find_garbage(lake, "d", NOW, keep=[]).folders
    garbage = find_garbage(lake, "d", FUTURE, keep=[4])
    assert garbage.folders == tuple(f"datasets/d/v00000{number}" for number in (1, 3, 5))
    remove_garbage(lake, garbage)
    assert not find_garbage(lake, "d", FUTURE, keep=[4]).folders
    for number in range(1, 7):
        version = read_version(lake, "d", number)
        assert is_finished(lake, version) == (number in (2, 4, 6))
        verify_version(lake, version)
        pull(lake, version, tmp_path / version.name)
    finish(lake, read_version(lake, "d", 3))
    assert is_finished(lake, read_version(lake, "d", 3))


def test_the_newest_folder_that_is_gone_is_a_fault(lake: Lake) -> None:
    version = put(lake, "b1")
    lake.remove_folder(version.folder, MANIFEST)
    with pytest.raises(Corrupt, match=r"quality/report\.html is missing"):
        verify_version(lake, version)


def test_a_folder_that_is_removed_no_longer_says_that_it_is_whole(s3_lake: S3Lake) -> None:
    version = put(s3_lake, "b1")
    removed: list[str] = []

    def remove(path: str, real: Callable[[str], None] = s3_lake.remove) -> None:
        removed.append(path)
        real(path)

    s3_lake.remove = remove  # type: ignore[method-assign]
    s3_lake.remove_folder(version.folder, MANIFEST)
    assert removed[0] == f"{version.folder}/manifest.json" and len(removed) == 3
    assert newest(s3_lake, "d") == version
