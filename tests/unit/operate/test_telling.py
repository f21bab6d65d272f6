"""An alarm is told once, to everybody, whatever is killed or down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from winnow.errors import Fatal, Retryable
from winnow.lake import Lake
from winnow.operate.alarms import Alarm
from winnow.operate.telling import CLAIM, Recipient, recipients, tell_once, told

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ALARM = Alarm("nightly", "2026-11-22", "budget", "Heading", "cause", "mend")


class Killed(BaseException):
    """The process died here."""


def failing(error: BaseException) -> Callable[[Alarm], None]:
    def send(_: Alarm) -> None:
        raise error

    return send


def test_it_is_told_once_a_batch_and_kind(lake: Lake) -> None:
    heard: list[str] = []
    for alarm in (ALARM, ALARM, replace(ALARM, kind="late"), replace(ALARM, batch="2026-11-23")):
        tell_once(lake, alarm, NOW, {"log": lambda a: heard.append(a.path)})
    assert len(heard) == len(set(heard)) == 3
    [first, _] = told(lake, "nightly", "2026-11-22")
    assert (first["heading"], first["reached"]) == ("Heading", ["log"])


def test_of_many_at_once_one_tells(lake: Lake) -> None:
    heard: list[Alarm] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        tell_once(lake, ALARM, NOW, {"log": heard.append})

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [ALARM]


def test_a_channel_that_failed_is_tried_again_and_the_others_are_not(lake: Lake) -> None:
    heard: list[str] = []
    good: dict[str, Any] = {"log": lambda _: heard.append("log")}
    with pytest.raises(Retryable, match=r"mail: ConnectionError$"):
        tell_once(lake, ALARM, NOW, {"mail": failing(ConnectionError("hush")), **good})
    assert heard == ["log"]
    assert tell_once(lake, ALARM, NOW, {"mail": lambda _: heard.append("mail"), **good})
    assert heard == ["log", "mail"]
    assert not tell_once(lake, ALARM, NOW, good)


def test_a_process_with_more_channels_tells_those_alone(lake: Lake) -> None:
    heard: list[str] = []
    log: dict[str, Any] = {"log": lambda _: heard.append("log")}
    assert tell_once(lake, ALARM, NOW, log)
    assert tell_once(lake, ALARM, NOW, {**log, "mail": lambda _: heard.append("mail")})
    assert not tell_once(lake, ALARM, NOW, log)
    assert heard == ["log", "mail"]


def test_who_was_killed_while_telling_is_replaced_after_a_while(lake: Lake) -> None:
    heard: list[Alarm] = []
    with pytest.raises(Killed):
        tell_once(lake, ALARM, NOW, {"log": failing(Killed())})
    assert not tell_once(lake, ALARM, NOW + CLAIM, {"log": heard.append})
    assert tell_once(lake, ALARM, NOW + CLAIM + timedelta(seconds=1), {"log": heard.append})
    assert heard == [ALARM]


@pytest.mark.parametrize("error", [OSError("disk"), Retryable("store"), Fatal("store")])
def test_a_lake_that_is_down_silences_nothing(error: Exception) -> None:
    class Down:
        def read_tagged(self, _: str) -> Any:
            raise error

    heard: list[Alarm] = []
    down: Any = Down()
    assert tell_once(down, ALARM, NOW, {"log": heard.append})
    assert tell_once(None, ALARM, NOW, {"log": heard.append})
    assert heard == [ALARM, ALARM]


def test_recipients_are_named_by_connection_and_place() -> None:
    found = recipients("slack:chat#data, slack-webhook:hook smtp:mail#a@x.org\napprise:pager")
    assert found == [
        Recipient("slack", "chat", "#data"),
        Recipient("slack-webhook", "hook"),
        Recipient("smtp", "mail", "a@x.org"),
        Recipient("apprise", "pager"),
    ]
    assert recipients(None) == recipients(" ") == []


@pytest.mark.parametrize("setting", ["slack:chat", "smtp:mail", "pigeon:x#y", "slack", "apprise:"])
def test_a_misspelt_recipient_is_an_error_that_shows_how(setting: str) -> None:
    with pytest.raises(Fatal, match="write slack:CONNECTION#CHANNEL"):
        recipients(setting)
