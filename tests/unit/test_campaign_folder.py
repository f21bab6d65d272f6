"""The folder of campaigns, here or in a bucket: each file stands or falls alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from winnow import campaigns
from winnow.campaign import Schedule
from winnow.campaign.folder import files_in, keep, kept, read, read_all, state_of
from winnow.campaigns import campaigns_place
from winnow.errors import Fatal

CAMPAIGN = """
name: {name}
ingest: {{sources: [inbox]}}
expand: {{model: tiny}}
label: {{budget_usd: 5}}
publish: {{dataset: {name}}}
"""


def write(folder: Path, name: str, named: str | None = None, suffix: str = "yaml") -> Path:
    path = folder / f"{name}.{suffix}"
    path.write_text(CAMPAIGN.format(name=named or name))
    return path


def test_each_yaml_is_a_campaign_and_what_is_wrong_with_one_is_of_it_alone(tmp_path: Path) -> None:
    for name in ("chat", "code"):
        write(tmp_path, name)
    write(tmp_path, "copy", named="chat")
    write(tmp_path, "twice")
    write(tmp_path, "twice", suffix="yml")
    write(tmp_path, "Big")
    (tmp_path / "bad.yaml").write_text("name: bad\nexpnd: {}")
    (tmp_path / "teams.yaml").write_text("chat: {budget_month_usd: 5}")
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "examples").mkdir()
    write(tmp_path / "examples", "other")
    found, faults = read_all(tmp_path)
    assert [campaign.name for campaign in found] == ["chat", "code"]
    reasons = {fault.name: fault.reason for fault in faults}
    assert set(reasons) == {"copy", "twice", "Big", "bad"}
    assert "name: is chat, the file's is copy" in reasons["copy"]
    assert "twice.yaml and twice.yml" in reasons["twice"]
    assert "expnd" in reasons["bad"]
    assert found[0].ingest.sources == [str(tmp_path / "inbox")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("tags: [" + "a, " * 500_000 + "]", "larger than 1024 KiB"),
        (
            "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
            "more than 100000 values",
        ),
    ],
)
def test_a_file_that_would_hold_up_all_others_is_refused(
    tmp_path: Path, text: str, fault: str
) -> None:
    (tmp_path / "chat.yaml").write_text(text)
    with pytest.raises(Fatal, match=fault):
        read(tmp_path, "chat")


def test_a_campaign_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path, "chat")
    with pytest.raises(Fatal, match=r"no campaign code .*; there are chat"):
        read(tmp_path, "code")
    with pytest.raises(Fatal, match="cannot be listed"):
        read(tmp_path / "none", "code")


def test_a_place_may_be_one_file_of_any_name(tmp_path: Path) -> None:
    path = write(tmp_path, "settings", named="chat")
    assert list(files_in(path)) == ["settings"]
    assert read(path, "chat").name == read(path, "settings").name == "chat"
    with pytest.raises(Fatal, match="is of chat"):
        read(path, "code")


def test_the_last_good_settings_are_kept_whole(tmp_path: Path) -> None:
    campaign = read(write(tmp_path, "chat"), "chat")
    keep(tmp_path / "kept", campaign)
    assert kept(tmp_path / "kept", "chat") == campaign
    assert kept(tmp_path / "kept", "code") is None
    (tmp_path / "kept" / "code.json").write_text("{")
    assert kept(tmp_path / "kept", "code") is None


def test_a_change_is_seen_by_size_and_time(tmp_path: Path) -> None:
    path = write(tmp_path, "chat")
    before = state_of(tmp_path)
    assert state_of(tmp_path) == before
    os.utime(path, ns=(1, 1))
    assert state_of(tmp_path) != before


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="team")
        yield client


def put(bucket: object, name: str, text: str | bytes) -> None:
    body = text.encode() if isinstance(text, str) else text
    bucket.put_object(Bucket="team", Key=f"campaigns/{name}", Body=body)  # type: ignore[attr-defined]


def test_what_lies_in_a_bucket_is_brought_byte_by_byte(bucket: object, tmp_path: Path) -> None:
    put(bucket, "chat.yaml", CAMPAIGN.format(name="chat").replace("\n", "\r\n"))
    put(bucket, "noise.yaml", b"\xff\xfe\x00")
    place = campaigns_place("s3://team/campaigns", tmp_path / "brought")
    before = state_of(place)
    (place / ".brought").unlink()
    assert state_of(campaigns_place("s3://team/campaigns", place)) == before, "nothing changed"
    found, faults = read_all(place)
    assert [campaign.name for campaign in found] == ["chat"]
    assert [fault.name for fault in faults] == ["noise"]


def test_campaigns_of_a_bucket_are_brought_and_renewed(
    bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("chat", "code"):
        put(bucket, f"{name}.yaml", CAMPAIGN.format(name=name))
    put(bucket, "chat/prompts/a.jsonl", "{}")
    put(bucket, "notes.md", "x")
    at = "s3://team/campaigns"
    place = campaigns_place(at, tmp_path / "brought")
    assert list(files_in(place)) == ["chat", "code"]
    put(bucket, "more.yaml", CAMPAIGN.format(name="more"))
    bucket.delete_object(Bucket="team", Key="campaigns/code.yaml")  # type: ignore[attr-defined]
    # What was brought just now is not asked for again.
    assert list(files_in(campaigns_place(at, tmp_path / "brought"))) == ["chat", "code"]
    monkeypatch.setattr(campaigns, "SECONDS", 0.0)
    assert list(files_in(campaigns_place(at, tmp_path / "brought"))) == ["chat", "more"]
    # A bucket that is away leaves what there was.
    for name in ("chat.yaml", "more.yaml", "chat/prompts/a.jsonl", "notes.md"):
        bucket.delete_object(Bucket="team", Key=f"campaigns/{name}")  # type: ignore[attr-defined]
    bucket.delete_bucket(Bucket="team")  # type: ignore[attr-defined]
    assert list(files_in(campaigns_place(at, tmp_path / "brought"))) == ["chat", "more"]
    with pytest.raises(Fatal, match="s3://team/campaigns cannot be read"):
        campaigns_place(at, tmp_path / "elsewhere")


def test_a_bucket_that_is_away_is_not_asked_at_each_look(
    bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "chat.yaml", CAMPAIGN.format(name="chat"))
    at, tries = "s3://team/campaigns", list[str]()
    place = campaigns_place(at, tmp_path / "brought")
    os.utime(place / ".brought", (0, 0))

    def away(said: str, _: Path) -> None:
        tries.append(said)
        raise OSError("no answer")

    monkeypatch.setattr(campaigns, "_bring", away)
    for _ in range(3):
        assert list(files_in(campaigns_place(at, place))) == ["chat"]
    assert tries == [at]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "day_before"),
        ({"cron": "30 2 * * 1-5"}, "day_before"),
        ({"cron": "0 * * * *"}, "hour"),
        ({"cron": "0 6,18 * * *"}, "hour"),
        ({"cron": "*/20 * * * *"}, "minute"),
        ({"cron": "0 12 * * *", "key": "day"}, "day"),
        ({"cron": None}, None),
        ({"assets": ["x"]}, None),
        ({"assets": ["x"], "key": "text"}, "text"),
    ],
)
def test_batches_are_named_by_what_tells_ticks_apart(
    settings: dict[str, object], kind: str | None
) -> None:
    assert Schedule.model_validate(settings).kind == kind


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"cron": "0 0 * *"}, "write five fields"),
        ({"cron": "61 0 * * *"}, "no cron"),
        ({"cron": "@daily"}, "write five fields"),
        ({"cron": "0 0 30 2 *"}, "never ticks"),
        ({"cron": "R 0 * * *"}, "write five fields"),
        ({"timezone": "Berlin"}, "no time zone"),
        ({"cron": "0 */6 * * *", "key": "day"}, "several ticks alike; write hour"),
        ({"cron": "*/5 * * * *", "key": "hour"}, "several ticks alike; write minute"),
        ({"cron": "0 0 * * *", "key": "text"}, "what an asset gives"),
        ({"cron": "0 0 * * *", "assets": ["x"]}, "not both"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Schedule.model_validate(settings)
