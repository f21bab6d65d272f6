"""The channels of alarms: the log always, and those that WINNOW_ALARMS names.

Each entry names an Airflow connection; its secret stays there. The messages go out through the
providers' own notifiers, which are optional: one that is not installed is named in the log, and by
`winnow doctor`. All channels together have `SECONDS`, for Airflow kills a task that lingers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from winnow.errors import Fatal, Retryable
from winnow.within import within
from winnow_airflow.plain_log import plain_logger

if TYPE_CHECKING:
    from winnow.operate.alarms import Alarm
    from winnow.operate.telling import Recipient

SECONDS = 15.0
"""Longest that an alarm may hold up its task, over all channels that hang together."""

_AS_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Slack reads these three as marks: `<!channel>` would call everybody."""

log = plain_logger(__name__)


def channels() -> dict[str, Callable[[Alarm], None]]:
    """The log, and whom WINNOW_ALARMS names. A malformed setting is a channel that fails."""
    from winnow.operate.telling import SETTING, recipients

    ways: dict[str, Callable[[Alarm], None]] = {"log": _log}
    ends = datetime.now(UTC).timestamp() + SECONDS
    try:
        for each in recipients(os.environ.get(SETTING)):
            ways[each.name] = _within(ends, _channel(each))
    except Fatal as error:
        ways[SETTING] = _failing(error)
    return ways


def _failing(error: Exception) -> Callable[[Alarm], None]:
    def send(_: Alarm) -> None:
        raise error

    return send


def _log(alarm: Alarm) -> None:
    log.warning("ALARM %s: %s Do: %s", alarm.subject, alarm.cause, alarm.mend)


def _channel(recipient: Recipient) -> Callable[[Alarm], None]:
    """Sends by a provider's notifier.

    Its `notify` is called as it is: calling the notifier would render the alarm's text as a
    template.
    """

    def send(alarm: Alarm) -> None:
        from airflow.sdk.log import redact

        # Without what Airflow knows as a secret of this process.
        masked = replace(alarm, cause=str(redact(alarm.cause)))
        try:
            _SENDERS[recipient.how](recipient, masked)
        except ModuleNotFoundError as error:
            package = recipient.how.partition("-")[0]
            raise Fatal(
                f"Alarms to {recipient.name} need apache-airflow-providers-{package}; install the "
                "extra `alarms`."
            ) from error

    return send


def _by_slack(recipient: Recipient, alarm: Alarm) -> None:
    text = f"*{alarm.subject}*\n{alarm.body}".translate(_AS_TEXT)
    plain: dict[str, Any] = {
        "text": text,
        "timeout": int(SECONDS),
        "unfurl_links": False,
        "unfurl_media": False,
        "retry_handlers": _when_slack_is_busy(),
    }
    if recipient.how == "slack-webhook":
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

        SlackWebhookNotifier(slack_webhook_conn_id=recipient.connection, **plain).notify({})
        return
    from airflow.providers.slack.notifications.slack import SlackNotifier

    SlackNotifier(
        slack_conn_id=recipient.connection, channel=recipient.target, username="Winnow", **plain
    ).notify({})


def _when_slack_is_busy() -> list[Any]:
    """Ask again when Slack says, if that is soon; else the alarm counts as not sent."""
    from slack_sdk.http_retry import ConnectionErrorRetryHandler, RateLimitErrorRetryHandler

    class Soon(RateLimitErrorRetryHandler):
        def _can_retry(self, *, response: Any = None, **given: Any) -> bool:
            if not super()._can_retry(response=response, **given):
                return False
            headers = {name.lower(): value for name, value in response.headers.items()}
            return int(headers.get("retry-after", ["1"])[0]) < SECONDS / 3

    return [ConnectionErrorRetryHandler(), Soon()]


def _by_smtp(recipient: Recipient, alarm: Alarm) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    from winnow.pages.render import piece

    SmtpNotifier(
        smtp_conn_id=recipient.connection,
        to=recipient.target,
        subject=alarm.subject,
        html_content=piece("paragraphs", alarm.body.splitlines()),
    ).notify({})


def _by_apprise(recipient: Recipient, alarm: Alarm) -> None:
    """By the provider's hook: its notifier does not say when a service refused."""
    import apprise
    from airflow.providers.apprise.hooks.apprise import AppriseHook

    hook, services = AppriseHook(recipient.connection), apprise.Apprise()
    hook.set_config_from_conn(hook.get_connection(recipient.connection), services)
    arrived = services.notify(
        title=alarm.subject,
        body=alarm.body,
        notify_type=apprise.NotifyType.WARNING,
        body_format=apprise.NotifyFormat.TEXT,
        tag=recipient.target or "all",
    )
    if not arrived:
        raise Retryable(f"A service of {recipient.connection} refused the alarm.")


_SENDERS: dict[str, Callable[[Recipient, Alarm], None]] = {
    "slack": _by_slack,
    "slack-webhook": _by_slack,
    "smtp": _by_smtp,
    "apprise": _by_apprise,
}


def _within(ends: float, send: Callable[[Alarm], None]) -> Callable[[Alarm], None]:
    """`send`, given up at `ends` (seconds since the epoch): a server that hangs holds up nobody."""

    def bounded(alarm: Alarm) -> None:
        left = max(1.0, ends - datetime.now(UTC).timestamp())
        within(left, lambda: send(alarm), "winnow-alarm")

    return bounded
