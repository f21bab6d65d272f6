"""What is missing is not nothing: a lake that lost a part is never read as another one.

A family: every kind of object of a small real lake, cut in half, empty, gone, with one digit
changed, no JSON, of another type. Each is seen by a command and before a purchase.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import STAGES, manifest_path, open_batch, read_manifest
from winnow.cli import main
from winnow.errors import Corrupt, Fatal, WinnowError
from winnow.ingest.ledger import ledger_path, read_ledger
from winnow.lake import FolderLake, lake_id
from winnow.publish.garbage import find_garbage
from winnow.publish.versions import newest
from winnow.stages import ingest, label
from winnow.stages.label.drop import refuse_dropped
from winnow.stages.label.plans import freeze_plan
from winnow.stages.label.rounds import deliveries, read_submission, terms_of
from winnow.stages.select import reward_model

from ...fabricated import fabricate
from ...sampling import some
from .conftest import DAY, Night

DIGITS = re.compile(rb"(?<=[:\[ ])\d(?=[\d,\]}\s])")


def damages(data: bytes, is_json: bool) -> Iterator[bytes | None]:
    """Other bytes for an object; None: it is gone."""
    yield None
    yield b""
    yield data[: len(data) // 2]
    if not is_json:
        middle = len(data) // 2
        yield data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
        return
    numbers = list(DIGITS.finditer(data))
    if numbers:
        at = numbers[len(numbers) // 2].start()
        yield data[:at] + str(int(data[at : at + 1]) % 9 + 1).encode() + data[at + 1 :]
    yield b"no json"
    yield b"[1]" if data.startswith(b"{") else b"{}"


def kinds(lake: Path) -> list[Path]:
    """One object of every kind: names without digests, numbers and days."""
    found: dict[str, Path] = {}
    for path in sorted(lake.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            name = path.relative_to(lake).as_posix()
            found.setdefault(re.sub(r"[0-9a-f]{8,}|\d+", "", name), path.relative_to(lake))
    return list(found.values())


def copy_of(lake: Path, to: Path, changed: Path, content: bytes | None) -> Path:
    """The lake again, with links for copies; one object is another or gone."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(lake, to, copy_function=os.link)
    (to / changed).unlink()
    if content is not None:
        (to / changed).write_bytes(content)
    return to


@pytest.fixture
def small(published: Night) -> Night:
    """A lake in which one night is published."""
    return published


@pytest.mark.sampled
def test_every_command_names_what_is_damaged_or_is_not_touched_by_it(
    small: Night, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.delenv("WINNOW_VENDOR_TOKEN", raising=False)
    asked = tmp_path / "campaign.yaml"
    asked.write_text(yaml.safe_dump(small.campaign.model_dump(mode="json", exclude_unset=True)))
    pair = small.rows("select", "comparisons")[0]["pair_id"]
    out, copy = tmp_path / "pulled" / "here", tmp_path / "copy"
    commands = [
        ["status"],
        ["status", "--json"],
        ["quarantine"],
        ["versions"],
        ["pull", "v1", "--out", str(out)],
        ["gc", "--delete", "--grace-hours", "0"],
        ["lineage", pair],
        ["reconcile"],
        ["drop", DAY, "--reason", "x"],
    ]

    def said(command: list[str], lake: Path) -> tuple[int, str]:
        shutil.rmtree(out.parent, ignore_errors=True)
        code = main([*command, "--campaign", str(asked), "--lake", str(lake)])
        told = capsys.readouterr()
        return code, f"{told.out}\n{told.err}".replace(str(lake), "LAKE")

    root = small.lake.root
    changed = kinds(root)
    first = root / changed[0]
    usual = [said(c, copy_of(root, copy, changed[0], first.read_bytes())) for c in commands]
    turn = cycle(range(len(commands)))
    wrong = []
    for path in some(changed, 2):
        data = (root / path).read_bytes()
        for content in damages(data, path.suffix == ".json"):
            number, lake = next(turn), copy_of(root, copy, path, content)
            code, told = said(commands[number], lake)
            is_named = path.name in told or f"{path.parent.name}/" in told
            # The last stage and a version's folder are made again by whoever comes next.
            is_last = path.parent.name in ("publish", "v000001") and content is None
            is_again = is_last and path.parent.name in told
            is_fine = is_named or is_again or (code, told) == usual[number]
            if not is_fine or "Traceback" in told:
                wrong.append(f"{commands[number]} {path} {content and content[:30]!r}: {told}")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:10])


def test_what_is_bought_is_the_same_or_nothing(night: Callable[..., Night], tmp_path: Path) -> None:
    made = night()
    fabricate(made.batch(), 4)
    label.plan(made.batch())
    lake_id(made.lake)
    root, vendor = made.lake.root, made.simulator.connect()
    wanted = {task.task_id for task in label.freeze_plan(made.batch(), 0, None).requests().priced}  # type: ignore[arg-type]
    refused = {}
    for path in kinds(root):
        for content in damages((root / path).read_bytes(), path.suffix == ".json"):
            lake = FolderLake(copy_of(root, tmp_path / "copy", path, content))
            try:
                label.submit(open_batch(made.campaign, DAY, lake, lambda: made.time), vendor)
            except WinnowError as error:
                refused[path.name, content] = str(error)
            assert set(made.simulator.bought()) <= wanted, (path, content)
    # A lake without its id is another lake, of whose purchases this one's are none.
    assert "made by another lake" in refused.pop(("lake.json", None))
    unnamed = {what: told for what, told in refused.items() if what[0] not in told}
    assert not unnamed
    assert len(refused) > 25
    assert set(made.simulator.bought().values()) <= {1}


LOST = [
    f"batches/small/{DAY}/campaign.json",
    *(manifest_path("small", DAY, stage) for stage in STAGES[:-1]),
    ledger_path("small"),
    "campaigns/small/reward/latest.json",
    *(
        f"batches/small/{DAY}/label/round-0/{name}.json"
        for name in ("plan", "opening", "submission")
    ),
]


def test_what_is_lost_is_named_wherever_it_is_looked_for(small: Night) -> None:
    looks: list[Callable[[], Any]] = [
        small.batch,
        *(lambda s=stage: read_manifest(small.lake, "small", DAY, s) for stage in STAGES),
        lambda: read_ledger(small.lake, "small"),
        lambda: reward_model.newest(small.lake, "small"),
        lambda: freeze_plan(small.batch(), 0, None),  # type: ignore[arg-type]
        lambda: read_submission(small.batch()),
        lambda: terms_of(small.batch(), 0),
    ]
    for path in (small.lake.root / name for name in LOST):
        data = path.read_bytes()
        path.unlink()
        told = []
        for look in looks:
            try:
                look()
            except Corrupt as error:
                told.append(str(error))
        path.write_bytes(data)
        named = f"{path} is missing"
        assert told and all(named in each and "restore it" in each for each in told), named


def test_the_last_thing_that_was_done_may_be_done_again(small: Night) -> None:
    (small.lake.root / manifest_path("small", DAY, "publish")).unlink()
    assert read_manifest(small.lake, "small", DAY, "publish") is None


def test_a_page_of_answers_between_others_is_not_left_out(small: Night) -> None:
    inbox = small.lake.root / f"batches/small/{DAY}/label/round-0/inbox"
    pages = sorted(path.name for path in inbox.iterdir() if not path.name.startswith("."))
    n = len(list(deliveries(small.batch(), (0, 1))))
    (inbox / pages[-1]).rename(inbox / f"{len(pages):06d}.json")
    with pytest.raises(Corrupt, match=rf"{pages[-1]} is missing"):
        list(deliveries(small.batch(), (0, 1)))
    (inbox / f"{len(pages):06d}.json").rename(inbox / pages[-1])
    assert len(list(deliveries(small.batch(), (0, 1)))) == n


def test_a_ledger_of_an_earlier_time_takes_nothing_twice(small: Night, inbox: Path) -> None:
    path = small.lake.root / ledger_path("small")
    before = path.read_bytes()
    (inbox / "b.jsonl").write_text('{"prompt": "Why is the sea salt?"}')
    later = open_batch(small.campaign, "2026-11-23", small.lake, lambda: small.time)
    assert ingest.run(later) is not None
    path.write_bytes(before)
    (inbox / "c.jsonl").write_text('{"prompt": "Why is the sky blue?"}')
    night = open_batch(small.campaign, "2026-11-24", small.lake, lambda: small.time)
    with pytest.raises(Corrupt, match=r"does not know batch 2026-11-23"):
        ingest.run(night)
    with pytest.raises(Corrupt, match=r"does not know batch 2026-11-23"):
        refuse_dropped(later)
    path.write_bytes(b"[]")
    with pytest.raises(Corrupt, match="is no ledger"):
        ingest.run(night)


def test_nights_without_files_and_a_first_night_are_no_damage(
    night: Callable[..., Night], inbox: Path
) -> None:
    made = night()
    (inbox / "a.jsonl").rename(inbox.parent / "later.jsonl")
    for key in ("2026-11-20", "2026-11-21"):
        empty = open_batch(made.campaign, key, made.lake, lambda: made.time)
        assert ingest.run(empty) is None
    (inbox.parent / "later.jsonl").rename(inbox / "a.jsonl")
    assert ingest.run(made.batch()) is not None


def test_a_dataset_is_one_campaigns(night: Callable[..., Night]) -> None:
    made = night()
    made.batch()
    other = made.campaign.model_copy(update={"name": "other"})
    with pytest.raises(Fatal, match=r"both publish small.*a `publish\.dataset` of its own"):
        open_batch(other, DAY, made.lake, lambda: made.time)
    assert not made.lake.listing("batches/other")
    renamed = other.model_copy(
        update={"publish": other.publish.model_copy(update={"dataset": "other"})}
    )
    assert open_batch(renamed, DAY, made.lake, lambda: made.time).campaign.name == "other"


def test_a_dataset_from_before_owners_is_its_publishers(small: Night) -> None:
    small.lake.remove("owners/small.json")
    other = small.campaign.model_copy(update={"name": "other"})
    with pytest.raises(Fatal, match="both publish small"):
        open_batch(other, "2026-11-23", small.lake, lambda: small.time)
    open_batch(small.campaign, "2026-11-23", small.lake, lambda: small.time)


def test_a_dataset_whose_owner_is_lost_is_that_of_whoever_began_a_batch_for_it(
    night: Callable[..., Night],
) -> None:
    made = night()
    made.batch()
    made.lake.remove("owners/small.json")
    other = made.campaign.model_copy(update={"name": "other"})
    with pytest.raises(Fatal, match="small and other both publish small"):
        open_batch(other, DAY, made.lake, lambda: made.time)


def test_no_version_is_published_over_a_lost_one(small: Night) -> None:
    first = json.loads((small.lake.root / "datasets/small/versions/v000001.json").read_bytes())
    del first["seal"]
    versions = small.lake.root / "datasets/small/versions"
    (versions / "v000003.json").write_text(json.dumps({**first, "number": 3, "version": "v000003"}))
    for pointer in (True, False):
        if not pointer:
            (small.lake.root / "datasets/small/latest.json").unlink()
        for look in (newest, lambda lake, name: find_garbage(lake, name, small.time)):
            with pytest.raises(Corrupt, match=r"v000002\.json is missing, though v000003"):
                look(small.lake, "small")


def test_nothing_is_published_where_a_manifest_below_is_another(small: Night) -> None:
    path = small.lake.root / manifest_path("small", DAY, "ingest")
    content = json.loads(path.read_bytes())
    del content["seal"]
    content["counts"]["rows_out"] += 1
    path.unlink()
    path.write_text(json.dumps(content))
    with pytest.raises(Corrupt, match=r"ingest/manifest\.json is not the one that .*expand"):
        small.batch().check_whole("label")
