"""A webhook is taken once and only from its vendor; whatever is refused changes nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Signer

from winnow.errors import Fatal
from winnow.label.webhooks import (
    MAX_BYTES,
    NUDGE_SECONDS,
    Nudges,
    Refused,
    nudge_path,
    take,
    verify,
)
from winnow.lake import FolderLake, Lake

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
SECRETS = {
    "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "hmac": "a secret, ключ",
    "header": "another secret, ключ",
}
KINDS = sorted(SECRETS)
BODY = json.dumps({"type": "batch.complete", "ref": "sim-1", "text": "größer"}).encode()


def proof(kind: str, body: bytes = BODY, at: datetime = NOW, event: str = "msg_1") -> Any:
    """Headers of an honest vendor, as a server decodes them."""
    if kind == "standard":
        signature = Signer(SECRETS[kind]).sign(event, at, body.decode())
        return {
            "Webhook-Id": event,
            "Webhook-Timestamp": str(int(at.timestamp())),
            "Webhook-Signature": signature,
        }
    if kind == "hmac":
        mac = hmac.new(SECRETS[kind].encode(), body, hashlib.sha256).hexdigest()
        return {"X-Hub-Signature-256": f"sha256={mac}"}
    return {"X-Webhook-Secret": SECRETS[kind].encode().decode("latin-1")}


def receive(
    lake: Lake, kind: str, headers: Mapping[str, str], body: bytes = BODY, **options: Any
) -> str:
    """What the route does with a webhook."""
    event = verify(kind, headers, body, SECRETS[kind], NOW, **options)
    take(lake, "simulator", event, json.loads(body).get("ref"), NOW)
    return event


def refusal(lake: Lake, kind: str, headers: Mapping[str, str], body: bytes = BODY) -> str:
    """Why a webhook was refused; the lake must be as before."""
    before = lake.tags("")
    with pytest.raises(Refused) as refused:
        receive(lake, kind, headers, body)
    assert lake.tags("") == before
    return refused.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_proven_event_nudges_its_batch(lake: Lake, kind: str) -> None:
    event = receive(lake, kind, proof(kind))
    assert event == ("msg_1" if kind == "standard" else hashlib.sha256(BODY).hexdigest())
    assert json.loads(lake.read(nudge_path("simulator", "sim-1")))["event"] == event
    assert len(lake.tags("webhooks/simulator")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_taken_once(lake: Lake, kind: str) -> None:
    receive(lake, kind, proof(kind))
    assert refusal(lake, kind, proof(kind)) == "replayed"


@pytest.mark.parametrize("kind", ["standard", "hmac"])
def test_a_body_that_was_touched_is_forged(tmp_path, kind: str) -> None:
    lake = FolderLake(tmp_path)
    assert refusal(lake, kind, proof(kind), BODY.replace(b"sim-1", b"sim-2")) == "forged"


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_secret_is_forged(tmp_path, monkeypatch, kind: str) -> None:
    headers = proof(kind)
    monkeypatch.setitem(SECRETS, kind, "whsec_" + "QUJD" * 8)
    assert refusal(FolderLake(tmp_path), kind, headers) == "forged"


@pytest.mark.parametrize("kind", ["hmac", "header"])
@pytest.mark.parametrize("value", ["", "sha256=", "sha256", "x" * 9000, "\x00", "\udcff", "ключ"])
def test_no_proof_is_forged(tmp_path, kind: str, value: str) -> None:
    name = next(iter(proof(kind)))
    assert refusal(FolderLake(tmp_path), kind, {name: value}) == "forged"
    assert refusal(FolderLake(tmp_path), kind, {}) == "forged"


@pytest.mark.parametrize(
    "value", ["", "v1", "v1,", "v1,AAAA", "v2,x", ",,,", "ключ", "\udcff", "v1a,b v1,AAAA"]
)
def test_a_signature_that_says_nothing_is_forged(tmp_path, value: str) -> None:
    headers = {**proof("standard"), "Webhook-Signature": value}
    assert refusal(FolderLake(tmp_path), "standard", headers) == "forged"


def test_one_of_several_signatures_is_enough(tmp_path) -> None:
    headers = proof("standard")
    headers["Webhook-Signature"] = f"v1,AAAA v2,x {headers['Webhook-Signature']}"
    assert receive(FolderLake(tmp_path), "standard", headers) == "msg_1"


@pytest.mark.parametrize("away", [timedelta(minutes=-5, seconds=-1), timedelta(minutes=6)])
def test_a_signed_time_far_from_ours_is_stale(tmp_path, away: timedelta) -> None:
    assert refusal(FolderLake(tmp_path), "standard", proof("standard", at=NOW + away)) == "stale"


def test_a_stale_time_cannot_be_made_fresh(tmp_path) -> None:
    headers = proof("standard", at=NOW - timedelta(hours=1))
    headers["Webhook-Timestamp"] = str(int(NOW.timestamp()))
    assert refusal(FolderLake(tmp_path), "standard", headers) == "forged"


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp"])
@pytest.mark.parametrize("value", ["", "msg.1", "ключ", "-1", "1e9", "٣٤", "9" * 300, "\udcff\n"])
def test_headers_that_cannot_be_read_are_malformed(tmp_path, name: str, value: str) -> None:
    headers = {**proof("standard"), name: value}
    found = refusal(FolderLake(tmp_path), "standard", headers)
    assert found == ("forged" if (name, value) in FORGED_IDS else "malformed")


FORGED_IDS = {("Webhook-Id", "-1"), ("Webhook-Id", "1e9")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"[" * 100_000, b"null"])
def test_a_proven_body_that_is_no_object_is_malformed(tmp_path, kind: str, body: bytes) -> None:
    lake = FolderLake(tmp_path)
    assert refusal(lake, kind, proof(kind, body), body) == "malformed"


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_no_text_are_refused(tmp_path, kind: str) -> None:
    body = b"\xff\xfe{}"
    headers = proof(kind) if kind == "standard" else proof(kind, body)
    assert refusal(FolderLake(tmp_path), kind, headers, body) == "malformed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_megabyte_is_the_most(tmp_path, kind: str) -> None:
    padding = MAX_BYTES - len(b'{"t": ""}')
    body = b'{"t": "' + b"x" * padding + b'"}'
    assert refusal(FolderLake(tmp_path), kind, proof(kind, body + b" "), body + b" ") == "oversized"
    assert receive(FolderLake(tmp_path), kind, proof(kind, body), body)


@given(
    event=st.text(max_size=30),
    sent_at=st.text(max_size=12),
    signature=st.text(max_size=40),
    body=st.binary(max_size=40),
)
def test_noise_is_refused_and_never_an_error(event, sent_at, signature, body) -> None:
    headers = {
        "webhook-id": event,
        "webhook-timestamp": sent_at,
        "webhook-signature": signature,
        "x-hub-signature-256": signature,
        "x-webhook-secret": signature,
    }
    for kind in KINDS:
        with pytest.raises(Refused):
            verify(kind, headers, body, SECRETS[kind], NOW)


def test_the_header_of_the_proof_can_be_named(tmp_path) -> None:
    headers = {"scale-callback-auth": proof("header")["X-Webhook-Secret"]}
    lake = FolderLake(tmp_path)
    assert refusal(lake, "header", headers) == "forged"
    assert receive(lake, "header", headers, header="Scale-Callback-Auth")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ключ"])
def test_a_secret_that_cannot_be_one_is_named(kind: str, secret: str) -> None:
    if secret and kind != "standard":
        return
    with pytest.raises(Fatal, match="webhook_secret"):
        verify(kind, proof(kind), BODY, secret, NOW)


def test_an_event_about_no_batch_is_only_remembered(tmp_path) -> None:
    lake = FolderLake(tmp_path)
    take(lake, "simulator", "msg_1", None, NOW)
    assert [path.split("/")[0] for path in lake.tags("")] == ["webhooks"]


def test_a_hostile_ref_or_id_names_no_path(tmp_path) -> None:
    lake = FolderLake(tmp_path / "lake")
    take(lake, "simulator", "../../../x", "../../../../../etc/x", NOW)
    assert {path.split("/")[0] for path in lake.tags("")} == {"webhooks", "nudges"}
    assert {path.name for path in tmp_path.iterdir()} == {"lake"}


def test_one_of_two_twins_is_taken(tmp_path) -> None:
    lake, taken = FolderLake(tmp_path), []

    def twin() -> None:
        try:
            take(lake, "simulator", "msg_1", "sim-1", NOW)
        except Refused as refused:
            taken.append(refused.reason)
        else:
            taken.append("taken")

    twins = [threading.Thread(target=twin) for _ in range(8)]
    for thread in twins:
        thread.start()
    for thread in twins:
        thread.join()
    assert sorted(taken) == [*["replayed"] * 7, "taken"]


def test_a_wait_sees_each_event_of_its_batch_and_of_no_other(lake: Lake) -> None:
    time = [0.0]
    nudges = Nudges(lake, "simulator", lambda: time[0])
    assert nudges.tag("sim-1") is None
    seen = set()
    for event in ("msg_1", "msg_2"):
        take(lake, "simulator", event, "sim-1", NOW)
        time[0] += NUDGE_SECONDS
        seen.add(nudges.tag("sim-1"))
    assert len(seen) == 2
    assert None not in seen
    take(lake, "simulator", "msg_3", "sim-2", NOW)
    time[0] += NUDGE_SECONDS
    assert nudges.tag("sim-1") in seen


def test_the_lake_is_asked_once_for_many_waits(tmp_path) -> None:
    class Counting(FolderLake):
        n_looks = 0

        def tags(self, folder: str) -> dict[str, str]:
            self.n_looks += 1
            return super().tags(folder)

    lake, time = Counting(tmp_path), [0.0]
    nudges = Nudges(lake, "simulator", lambda: time[0])
    for ref in range(150):
        nudges.tag(f"sim-{ref}")
    assert lake.n_looks == 1
