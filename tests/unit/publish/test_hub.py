"""A version on a hub is one commit and one tag, whole, whatever ends a push."""

from __future__ import annotations

import logging
import os
import queue
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from winnow.addresses import ServerAddress
from winnow.batch import open_batch
from winnow.campaign import Hub, parse_campaign
from winnow.errors import Blocked, Corrupt, Fatal, Retryable
from winnow.ids import digest
from winnow.lake import FolderLake, Lake
from winnow.publish import hub as hubs
from winnow.publish.pull import pull
from winnow.publish.rollback import roll_back
from winnow.publish.versions import Version, publish, store_object
from winnow.stages import publish as stage
from winnow.stored import read_sealed

from ...hub_server import TOKEN, served
from ...hub_server import Hub as Server

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REPO = "org/nights"
SETTINGS = Hub(repo=REPO, timeout_seconds=20.0)
N_FIRST = 17
"""Requests of a first push, of two large files."""


@pytest.fixture(scope="module")
def _server() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.fixture
def server(_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    _server.reset()
    _server.on_request = None
    # The library waits between its own tries.
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None))
    return _server


@pytest.fixture
def disk(tmp_path: Path) -> FolderLake:
    return FolderLake(tmp_path / "lake")


def put(lake: Lake, batch: str, text: str = "") -> Version:
    shards = {
        f"data/{view}/train/{batch}-aa.parquet": store_object(
            lake, "d", f"{view} of {batch}{text}".encode(), "parquet", n_rows=3
        )
        for view in ("reward", "dpo")
    }
    shards[f"quality/{batch}.json"] = store_object(
        lake, "d", f'{{"of": "{batch}"}}'.encode(), "json"
    )
    return publish(lake, "d", batch, shards, {}, lambda v: f"---\n---\n# d {v.name}\n", NOW)


def push(
    server: Server, lake: Lake, version: Version, settings: Hub = SETTINGS, **more: Any
) -> hubs.Pushed | None:
    address = ServerAddress(server.url, TOKEN)
    more = {"wait": lambda _: None, **more}
    return hubs.push(lake, version, settings, address, NOW, **more)


def holds(server: Server, lake: Lake, version: Version) -> None:
    """The tag of the version is at a commit that has its files and no other of a dataset."""
    repo = server.repos[REPO]
    files = dict(repo.commits[repo.tags[version.name]].files)
    assert files.pop(".gitattributes")
    assert files.pop("manifest.json") == lake.read(f"datasets/d/versions/{version.name}.json")
    assert {n: digest(d) for n, d in files.items()} == {
        name: artifact.sha256 for name, artifact in version.files.items()
    }


def one_version_whole(server: Server, lake: Lake, version: Version) -> None:
    holds(server, lake, version)
    repo = server.repos[REPO]
    assert repo.tags == {version.name: repo.branches["main"]}
    assert repo.branches.keys() == {"main"}
    assert [commit.parent is None for commit in repo.history("main")] == [False, True]
    noted = read_sealed(lake.read(hubs.note_path(version)))
    assert noted["commit"] == repo.tags[version.name]
    assert (noted["repo"], noted["digest"]) == (REPO, version.digest)


def test_a_push_goes_out_where_models_are_not_looked_for(
    server: Server, disk: FolderLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    version = put(disk, "b1")
    push(server, disk, version)
    one_version_whole(server, disk, version)


def test_a_first_push_is_one_commit_and_its_tag_the_last_thing_written(
    server: Server, disk: FolderLake
) -> None:
    version = put(disk, "b1")
    pushed = push(server, disk, version)
    assert pushed is not None
    assert pushed.n_sent == 5
    one_version_whole(server, disk, version)
    assert server.repos[REPO].private
    assert len(server.asked) == N_FIRST
    assert [what for what in server.asked if what.startswith(("POST", "PUT"))][-1] == (
        f"POST /api/datasets/{REPO}/tag/{pushed.commit}"
    )
    n_asked = len(server.asked)
    assert push(server, disk, version) == replace(pushed, n_sent=0)
    assert {what.split()[0] for what in server.asked[n_asked:]} == {"GET", "HEAD"}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, N_FIRST + 1))
def test_refused_each_request_in_turn_and_run_again_it_is_one_version_whole(
    server: Server, disk: FolderLake, at: int, when: str
) -> None:
    version, victim = put(disk, "b1"), queue.SimpleQueue[int]()

    def kill() -> str:
        os.kill(victim.get(), signal.SIGKILL)
        return "lost"

    def on_request(number: int, _: str) -> Any:
        if number != at:
            return None
        return kill if when == "after" else (kill() and "silence")

    server.on_request = on_request
    child = os.fork()
    if not child:
        try:
            push(server, disk, version)
        finally:
            os._exit(0)
    victim.put(child)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    server.on_request = None
    repo = server.repos.get(REPO)
    if repo is not None and version.name in repo.tags:
        holds(server, disk, version)
    n_puts, stored = len(server.puts), set(server.stored)
    assert push(server, disk, version) is not None
    one_version_whole(server, disk, version)
    # What was there when it was run again was not sent again.
    assert not stored & set(server.puts[n_puts:])


@pytest.mark.parametrize("how", ["silence", "lost"])
@pytest.mark.parametrize("at", range(1, N_FIRST + 1))
def test_an_answer_that_never_comes_is_given_up_and_asked_for_again(
    server: Server, disk: FolderLake, at: int, how: str
) -> None:
    version = put(disk, "b1")
    server.on_request = lambda number, _: how if number == at else None
    assert push(server, disk, version, SETTINGS.model_copy(update={"timeout_seconds": 0.3}))
    one_version_whole(server, disk, version)


def test_a_hub_that_never_answers_is_told_as_away(server: Server, disk: FolderLake) -> None:
    version = put(disk, "b1")
    server.on_request = lambda *_: "silence"
    silent = SETTINGS.model_copy(update={"timeout_seconds": 0.05})
    waited: list[float] = []
    with pytest.raises(Retryable, match=r"does not answer \(ReadTimeout\).*push again"):
        push(server, disk, version, silent, wait=waited.append)
    assert waited == [2.0, 4.0, 8.0, 16.0, 32.0]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("at", range(1, N_FIRST + 1))
def test_a_hub_that_is_busy_is_asked_again(
    server: Server, disk: FolderLake, at: int, status: int
) -> None:
    version = put(disk, "b1")
    server.on_request = lambda number, _: status if number == at else None
    assert push(server, disk, version)
    one_version_whole(server, disk, version)


def meanwhile(server: Server, at: int, act: Callable[[], Any]) -> None:
    """Let `act` happen while request `at` waits to be looked at."""

    def on_request(number: int, _: str) -> None:
        if number == at:
            server.on_request = None
            act()

    server.on_request = on_request


@pytest.mark.parametrize("at", range(1, N_FIRST + 1))
def test_two_that_push_one_version_at_once_make_one_commit(
    server: Server, disk: FolderLake, at: int
) -> None:
    version = put(disk, "b1")
    meanwhile(server, at, lambda: push(server, disk, version))
    assert push(server, disk, version)
    repo = server.repos[REPO]
    holds(server, disk, version)
    assert len(repo.history("main")) == 2
    assert repo.tags == {version.name: repo.branches["main"]}


@pytest.mark.parametrize("at", range(1, N_FIRST + 1))
def test_a_late_twin_pushes_nothing_over_a_later_version(
    server: Server, disk: FolderLake, at: int
) -> None:
    first, second = put(disk, "b1"), put(disk, "b2")
    meanwhile(server, at, lambda: push(server, disk, second))
    push(server, disk, first)
    repo = server.repos[REPO]
    holds(server, disk, second)
    assert repo.tags["v000002"] == repo.branches["main"]
    # What had its commit has its tag; what came too late has neither.
    commits = [commit.title.split()[1] for commit in repo.history("main")[:-1]]
    assert sorted(repo.tags) == sorted(commits)
    if "v000001" in repo.tags:
        holds(server, disk, first)


@pytest.mark.parametrize("at", range(1, N_FIRST + 1))
def test_a_later_version_goes_on_top_of_one_that_came_meanwhile(
    server: Server, disk: FolderLake, at: int
) -> None:
    first, second = put(disk, "b1"), put(disk, "b2")
    meanwhile(server, at, lambda: push(server, disk, first))
    assert push(server, disk, second)
    holds(server, disk, second)
    assert server.repos[REPO].tags["v000002"] == server.repos[REPO].branches["main"]


def test_a_next_version_sends_what_is_new_and_removes_what_is_gone(
    server: Server, disk: FolderLake
) -> None:
    first, second = put(disk, "b1"), put(disk, "b2")
    push(server, disk, first)
    server.repos[REPO].commits[server.repos[REPO].branches["main"]].files["LICENSE"] = b"by hand"
    before = list(server.puts)
    pushed = push(server, disk, second)
    assert pushed is not None
    assert pushed.n_sent == 5
    assert not set(server.puts[len(before) :]) & set(before)
    back = roll_back(disk, first, "wrong labels", "ann", NOW)
    n_puts = len(server.puts)
    assert push(server, disk, back)
    assert len(server.puts) == n_puts
    repo = server.repos[REPO]
    for version in (second, back):
        assert repo.commits[repo.tags[version.name]].files.pop("LICENSE") == b"by hand"
        holds(server, disk, version)


def test_a_version_whose_pusher_died_before_its_tag_gets_it_from_the_next(
    server: Server, disk: FolderLake
) -> None:
    first, second = put(disk, "b1"), put(disk, "b2")
    push(server, disk, first)
    del server.repos[REPO].tags["v000001"]
    push(server, disk, second)
    holds(server, disk, first)
    holds(server, disk, second)


@pytest.mark.parametrize("refused", [None, "branch", "commit", "tag", "DELETE"])
def test_an_older_version_is_pushed_beside_main_by_hand_alone(
    server: Server, disk: FolderLake, refused: str | None
) -> None:
    first, second = put(disk, "b1"), put(disk, "b2")
    push(server, disk, second)
    head = server.repos[REPO].branches["main"]
    told: list[str] = []
    assert push(server, disk, first, tell=told.append) is None
    assert "later version than v000001: nothing is pushed" in told[-1]
    assert not disk.exists(hubs.note_path(first))
    if refused:

        def on_request(_: int, what: str) -> Any:
            is_it = f"/{refused}/" in what or what.startswith(refused)
            return 403 if is_it else None

        server.on_request = on_request
        with pytest.raises(Fatal):
            push(server, disk, first, older=True)
        server.on_request = None
    assert push(server, disk, first, older=True)
    repo = server.repos[REPO]
    holds(server, disk, first)
    assert repo.branches == {"main": head}
    assert repo.tags["v000002"] == head


def test_a_tag_that_exists_elsewhere_blocks_and_nothing_is_moved(
    server: Server, disk: FolderLake, tmp_path: Path
) -> None:
    version = put(disk, "b1")
    other = FolderLake(tmp_path / "other")
    push(server, other, put(other, "b1", "of another lake"))
    repo = server.repos[REPO]
    before = dict(repo.tags), dict(repo.branches), list(server.puts)
    with pytest.raises(Blocked, match=r"nothing was pushed or moved.*repository of its own"):
        push(server, disk, version)
    # Without its tag the other's commit is in the way just so.
    tags = dict(repo.tags)
    repo.tags.clear()
    with pytest.raises(Blocked, match=r"has v000001 .* at main"):
        push(server, disk, version)
    assert (tags, repo.branches, server.puts) == before
    assert not repo.tags


@pytest.mark.parametrize("at", range(1, N_FIRST + 1))
def test_a_tag_that_comes_to_exist_elsewhere_meanwhile_is_never_moved(
    server: Server, disk: FolderLake, at: int
) -> None:
    version = put(disk, "b1")

    def tag_elsewhere() -> None:
        repo = server.repos.get(REPO) or server.make(REPO)
        repo.tags.setdefault("v000001", repo.history("main")[-1].oid)

    meanwhile(server, at, tag_elsewhere)
    is_before = at < N_FIRST
    if is_before:
        with pytest.raises(Blocked, match="no version"):
            push(server, disk, version)
        assert server.repos[REPO].at("v000001") == server.repos[REPO].history("main")[-1]
    else:
        assert push(server, disk, version)


def test_what_must_not_be_pushed_to_is_left_alone(server: Server, disk: FolderLake) -> None:
    version = put(disk, "b1")
    server.make(REPO, private=False)
    with pytest.raises(Blocked, match="is public"):
        push(server, disk, version)
    server.reset()
    server.make(REPO, **{"train.csv": b"a"})
    with pytest.raises(Blocked, match=r"holds no version but train.csv"):
        push(server, disk, version)
    server.reset()
    push(server, disk, replace_dataset(disk))
    with pytest.raises(Blocked, match="holds dataset other"):
        push(server, disk, version)


def replace_dataset(lake: Lake) -> Version:
    one = store_object(lake, "other", b"x", "parquet", n_rows=1)
    return publish(
        lake, "other", "b1", {"data/dpo/train/b1-a.parquet": one}, {}, lambda _: "c", NOW
    )


def test_a_public_repository_is_pushed_to_where_that_is_meant(
    server: Server, disk: FolderLake
) -> None:
    version = put(disk, "b1")
    push(server, disk, version, SETTINGS.model_copy(update={"private": False}))
    assert not server.repos[REPO].private
    holds(server, disk, version)


def test_a_damaged_lake_pushes_nothing(server: Server, disk: FolderLake, tmp_path: Path) -> None:
    version = put(disk, "b1")
    path = version.files["data/dpo/train/b1-aa.parquet"].path
    file = tmp_path / "lake" / path
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(Corrupt, match="does not match its digest"):
        push(server, disk, version)
    assert not server.repos[REPO].tags
    assert len(server.repos[REPO].history("main")) == 1


def test_a_commit_that_is_not_whole_on_the_hub_is_not_tagged(
    server: Server, disk: FolderLake
) -> None:
    version = put(disk, "b1")

    def lose(_: int, what: str) -> Any:
        def act() -> None:
            repo = server.repos[REPO]
            del repo.commits[repo.branches["main"]].files["data/dpo/train/b1-aa.parquet"]

        return act if "/commit/" in what else None

    server.on_request = lose
    with pytest.raises(Corrupt, match=r"is not v000001: data/dpo/train/b1-aa.parquet"):
        push(server, disk, version)
    assert not server.repos[REPO].tags
    server.on_request = None
    push(server, disk, version)
    holds(server, disk, version)


def test_the_token_is_never_shown(
    server: Server, disk: FolderLake, caplog: pytest.LogCaptureFixture
) -> None:
    version, told = put(disk, "b1"), list[str]()
    caplog.set_level(logging.DEBUG)
    _http.logger.propagate = True
    push(server, disk, version, tell=told.append)
    wrong = ServerAddress(server.url, "hf_secret-that-is-wrong")
    with pytest.raises(Fatal, match="HTTP 401") as refused:
        hubs.push(disk, version, SETTINGS, wrong, NOW, tell=told.append)
    with pytest.raises(Fatal, match="has no password"):
        hubs.push(disk, version, SETTINGS, ServerAddress(server.url), NOW)
    shown = "\n".join([*told, caplog.text, str(refused.value), repr(wrong)])
    assert "v000001" in shown
    assert TOKEN not in shown
    assert wrong.key not in shown


@pytest.mark.parametrize("name", ["hf://org/nights@v1", "hf://datasets/org/nights@latest"])
def test_what_is_pulled_from_the_hub_is_what_is_pulled_from_the_lake(
    server: Server, lake: Lake, tmp_path: Path, name: str
) -> None:
    version = put(lake, "b1")
    push(server, lake, version)
    found = hubs.find(ServerAddress(server.url, TOKEN), name)
    assert found.version == version
    pulled = [pull(lake, version, tmp_path / "a"), pull(found, found.version, tmp_path / "b")]
    a, b = (
        {f.relative_to(p.folder): f.read_bytes() for p in [q] for f in p.folder.rglob("*.*")}
        for q in pulled
    )
    assert a == b
    assert len(a) == 5


def test_a_file_that_was_changed_on_the_hub_is_not_pulled(
    server: Server, disk: FolderLake, tmp_path: Path
) -> None:
    push(server, disk, put(disk, "b1"))
    repo = server.repos[REPO]
    repo.at("v000001").files["quality/b1.json"] = b'{"of": "b2"}'
    found = hubs.find(ServerAddress(server.url, TOKEN), f"hf://{REPO}@v1")
    with pytest.raises(Corrupt, match=r"quality/b1.json|does not match its digest"):
        pull(found, found.version, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(Fatal, match="has v1 to v1, and not v2"):
        hubs.find(ServerAddress(server.url, TOKEN), f"hf://{REPO}@v2")
    repo.tags["v000002"] = repo.tags["v000001"]
    with pytest.raises(Corrupt, match="no manifest of v000002"):
        hubs.find(ServerAddress(server.url, TOKEN), f"hf://{REPO}@v2")


def test_a_batch_that_began_before_its_campaign_had_a_hub_is_pushed_too(
    server: Server, disk: FolderLake
) -> None:
    plain = {
        "name": "d",
        "ingest": {"sources": ["inbox/{day}"]},
        "expand": {"model": "tiny"},
        "label": {"budget_usd": 5.0},
        "publish": {"dataset": "d"},
    }
    begun, version = parse_campaign(plain, "test"), put(disk, "2026-11-22")
    address = ServerAddress(server.url, TOKEN)
    batch = open_batch(begun, "2026-11-22", disk, lambda: NOW)
    assert stage.push(batch, version.number, address) is None
    assert not server.asked
    now = parse_campaign({**plain, "publish": {"dataset": "d", "hub": {"repo": REPO}}}, "test")
    batch = open_batch(now, "2026-11-22", disk, lambda: NOW)
    commit = stage.push(batch, version.number, address)
    assert commit == server.repos[REPO].tags[version.name]
    one_version_whole(server, disk, version)
