"""A secret in an address is taken out of every text, and no command says it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow import addresses as product
from winnow.addresses import HIDDEN, holds_secret, without_secrets
from winnow.campaign import load_campaign
from winnow.cli import main
from winnow.commands import doctor_services
from winnow.errors import Ambiguous, Blocked, Corrupt, Fatal, Retryable, WinnowError
from winnow.expand.engine import ServerAddress
from winnow.expand.server_engine import open_server
from winnow.label.vendor import VendorAccount
from winnow.label.vendors import VENDORS, connect
from winnow.lake import open_lake
from winnow.operate.alarms import cause_of
from winnow.text import plain_line

SECRET = "PASSW0RD"
SCHEMES = ("http", "https", "s3", "redis", "postgresql+psycopg2", "smtp", "amqp", "HTTP")
HOSTS = ("host", "127.0.0.1", "[::1]", "object-store", "bucket", "labels.example.org")
PARAMETERS = (
    *("token", "access_token", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"),
    *("password", "sslpassword", "api_key", "apikey", "api-key", "key", "sig", "client_secret"),
    *("AWSAccessKeyId", "Signature", "auth", "pwd", "webhook_secret", "annotator_salt"),
)
# As people put them in, without escaping; the first sign is none that ends a port.
odd = st.text("abcXYZ019:/?#@%&=+,;~!$*()'-._[]{}|\\^`é漢", max_size=12)
passwords = st.builds(lambda a, b: f"p{a}{SECRET}{b}", odd, odd)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format))
paths = st.sampled_from(["", "/", "/x", "/v1/models", "/x?list-type=2", "/x#there"])


@st.composite
def addresses(draw: Any) -> tuple[str, str]:
    """An address with a secret, and what must still be seen of it."""
    scheme, host = draw(st.sampled_from(SCHEMES)), draw(st.sampled_from(HOSTS))
    rest = f"{host}{draw(ports)}{draw(paths)}"
    if draw(st.booleans()):
        return (
            f"{scheme}://{draw(st.sampled_from(['', 'u', 'KEY']))}:{draw(passwords)}@{rest}",
            rest,
        )
    if draw(st.booleans()):
        return f"{scheme}://{SECRET}@{rest}", rest
    name = draw(st.sampled_from(PARAMETERS))
    return f"{scheme}://{host}/x?a=1&{name}={SECRET}&b=2", host


@given(addresses(), st.sampled_from(["{}", "'{}'", '"{}".', "see {} for it", "a={}\nb", "({})"]))
def test_no_secret_of_an_address_is_left_in_a_text(given: tuple[str, str], text: str) -> None:
    address, left = given
    shown = without_secrets(text.format(address))
    assert SECRET not in shown
    assert left in shown and HIDDEN in shown
    assert without_secrets(shown) == shown
    assert holds_secret(address)
    for kind in (Retryable, Fatal, Blocked, Ambiguous, Corrupt, WinnowError):
        assert SECRET not in str(kind(text.format(address))) + repr(kind(address))
    assert SECRET not in plain_line(text.format(address)) + cause_of(Fatal(address))


@given(
    st.sampled_from(SCHEMES[:4]),
    st.sampled_from(HOSTS[:4]),
    st.integers(1, 65535),
    st.sampled_from(["", "/x", "/a@b", "/nightly@v12", "/x?partition_key=2026-11-22&page=2"]),
)
def test_an_address_without_one_is_shown_as_it_is(
    scheme: str, host: str, port: int, path: str
) -> None:
    address = f"s3://bucket{path}" if scheme == "s3" else f"{scheme}://{host}:{port}{path}"
    for text in (address, f"see {address}, or write to team@example.org", f"<{address}>"):
        assert without_secrets(text) == text
    assert not holds_secret(address)


@given(st.text("ab:/@?=& \n", max_size=60))
def test_any_text_is_read_once(text: str) -> None:
    assert without_secrets(without_secrets(text)) == without_secrets(text)


LAKES = (
    f"s3://KEY:{SECRET}@bucket/x",
    f"s3://KEY:12/{SECRET}/+=@bucket/x",
    f"s3://KEY:a {SECRET}@bucket",
    f"s3://{SECRET}@bucket",
    f"s3:/KEY:{SECRET}@bucket/x",
    f"S3://KEY:{SECRET}@bucket",
    f"https://u:{SECRET}@host/bucket",
    f"file://u:{SECRET}@host/srv/lake",
    f"https://host/bucket?X-Amz-Signature={SECRET}",
)
URLS = (
    f"http://u:{SECRET}@127.0.0.1:9",
    f"http://{SECRET}@127.0.0.1:9",
    f"http://127.0.0.1:9/?token={SECRET}",
    f"http://u:p/{SECRET}@127.0.0.1:9",
    f"http://u:{SECRET}@no host:9",
    f"u:{SECRET}@127.0.0.1:9",
)
COMMANDS = (
    ["status"],
    ["status", "--json"],
    ["versions"],
    ["quarantine"],
    ["gc"],
    ["doctor", "--json", "--seconds", "2"],
    ["pull", "nightly@latest", "--out", "data"],
    ["diff", "v1", "v2"],
    ["lineage", "an-id"],
    ["rollback", "v1", "--reason", "x"],
    ["reconcile"],
    ["late", "--batch", "2026-11-22"],
    ["drop", "2026-11-22", "--reason", "x"],
    ["backfill", "--from", "2026-11-01", "--to", "2026-11-02", "--dry-run"],
    ["run", "--batch", "2026-11-22"],
    ["plan", "--gpu-usd-per-hour", "2"],
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder; credentials that lead nowhere; no check that starts a process."""
    monkeypatch.chdir(tmp_path)
    for name in ("WINNOW_LAKE", "WINNOW_ENGINE_PYTHON", "WINNOW_CAMPAIGN"):
        monkeypatch.delenv(name, raising=False)
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in (keys | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor_services, "airflow_json", lambda *_: [])
    yield
    assert not any(SECRET in str(path) for path in tmp_path.rglob("*"))


def said(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    try:
        code = main(arguments)
    except SystemExit as error:
        code = int(error.code or 0)
    output = capsys.readouterr()
    return code, output.out + output.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_says_the_password_of_a_lake_or_a_store(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = slice(None) if command == ["status"] else slice(1)
    for lake in LAKES[some]:
        code, text = said(capsys, [*command, "--lake", lake])
        assert code and SECRET not in text and "Traceback" not in text, lake
    for url in URLS[some]:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_S3", url)
            code, text = said(capsys, [*command, "--lake", "s3://bucket/x"])
            assert code and SECRET not in text and "Traceback" not in text, url
    code, text = said(capsys, [*command, "--lake", "lake", LAKES[0]])
    assert code == 2 and SECRET not in text


@pytest.mark.parametrize("url", URLS)
def test_no_command_says_the_password_of_a_service(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_VENDOR_TOKEN", "t" * 20)
    monkeypatch.setenv("WINNOW_AIRFLOW_URL", url)
    monkeypatch.setenv("WINNOW_AIRFLOW_TOKEN", "t")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", url)
    monkeypatch.setenv(
        "AIRFLOW_CONN_WINNOW_VENDOR", json.dumps({"host": url, "password": "t" * 20})
    )
    for command in (
        ["status", "--vendor-url", url],
        ["reconcile", "--vendor-url", url],
        ["doctor", "--seconds", "2"],
        ["backfill", "--from", "2026-11-01", "--to", "2026-11-02", "--dry-run"],
    ):
        _, text = said(capsys, [*command, "--lake", "lake"])
        assert SECRET not in text, command
    for vendor in VENDORS:
        if vendor == "file_drop" and "://" not in url:
            continue  # a folder may be called so
        with pytest.raises(WinnowError) as refused:
            connect(vendor, VendorAccount(url, "t" * 20, "", {"project": "p"}))
        assert SECRET not in str(refused.value)
    campaign = load_campaign(Path(__file__).parents[2] / "include/campaigns/nightly.yaml")
    with pytest.raises(WinnowError) as refused:
        open_server(campaign.expand, "m", ServerAddress(url, "k"))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ingest.sources.0", {"ingest": {"sources": [LAKES[0]]}}),
        ("label.gold", {"label": {"gold": LAKES[0]}}),
        ("expand.model", {"expand": {"model": f"https://hf:{SECRET}@hub.example/m"}}),
        ("expand.engine_args.hf_token", {"expand": {"engine_args": {"hf_token": SECRET}}}),
    ],
)
def test_a_secret_in_a_campaign_is_named_by_its_setting(
    tmp_path: Path, setting: str, value: dict[str, Any]
) -> None:
    """It would be frozen into every batch."""
    path = tmp_path / "campaign.yaml"
    path.write_text(json.dumps({"name": "n", **value}))
    with pytest.raises(Fatal, match=re.escape(setting)) as refused:
        load_campaign(path)
    assert SECRET not in str(refused.value)


def test_a_password_in_an_example_is_an_instruction(tmp_path: Path) -> None:
    path = tmp_path / "campaign.yaml"
    prompt = "Never repeat an address such as http://user:password@host."
    settings = {"system_prompt": prompt, "engine_args": {"max_num_seqs": 4}}
    shipped = Path(__file__).parents[2] / "include/campaigns/nightly.yaml"
    ours = load_campaign(shipped).model_dump(mode="json")
    ours["expand"]["samplers"] = [{"system_prompt": prompt}]
    ours["expand"]["engine_args"] = settings["engine_args"]
    path.write_text(json.dumps(ours))
    assert load_campaign(path).expand.samplers[0].system_prompt == prompt


def test_a_path_with_an_at_is_a_folder(tmp_path: Path) -> None:
    for name in ("a@b", "a:b@c", "x//y@z"):
        assert open_lake(str(tmp_path / name)).uri.endswith(name.replace("//", "/"))
        assert open_lake(f"file://{tmp_path}/{name}").create("x", b"y")


@pytest.mark.parametrize("part", ["http://x", "a:/", " //", "?password", "?a-", "http://a@", "@"])
def test_a_long_foreign_text_is_seen_piece_by_piece(part: str) -> None:
    looked_at: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        users = product._users_length
        patch.setattr(
            product, "_users_length", lambda s, a: looked_at.append(len(a)) or users(s, a)
        )
        text = part * 50_000 + " http://user:secret@host"
        assert "secret" not in without_secrets(text)
    assert sum(looked_at) < product._LONGEST**2 + 3 * len(text)
