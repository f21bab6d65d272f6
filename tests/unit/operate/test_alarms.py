"""From facts to alarms: what is told, in words that hold no foreign text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow import errors, runbook
from winnow.errors import Ambiguous, Blocked, Corrupt, Fatal, Retryable
from winnow.operate import alarms
from winnow.reward.calibration import expected_calibration_error
from winnow.text import plain_text
from winnow.validate.verdict import Check, Verdict

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
GROUPS = [Retryable, Fatal, Blocked, Ambiguous, Corrupt]
TEXTS = st.text(max_size=2000)


def failure(error: Any, task: str = "collect_annotations") -> alarms.Alarm:
    return alarms.failure_of("nightly", "2026-11-22", "label_pairs", task, error)


def is_one_plain_line(text: str) -> bool:
    return "\n" not in text and plain_text(text) == text


@given(TEXTS, st.sampled_from([*GROUPS, ValueError, OSError]))
def test_whatever_an_error_says_the_alarm_is_short_plain_lines(text: str, kind: Any) -> None:
    alarm = failure(kind(text))
    assert is_one_plain_line(alarm.subject) and len(alarm.subject) <= 120
    assert is_one_plain_line(alarm.cause) and len(alarm.cause) <= 300
    assert len(alarm.body.splitlines()) == 3


@given(st.text(max_size=200), st.text(max_size=200))
def test_an_alarm_is_remembered_below_its_batch_whatever_its_task_is_called(
    task: str, name: str
) -> None:
    path = failure(Fatal(name), task).path
    assert re.fullmatch(r"batches/nightly/2026-11-22/alarms/[a-z0-9][a-z0-9_.-]{0,99}\.json", path)


@pytest.mark.parametrize("kind", GROUPS)
def test_each_group_of_errors_has_its_own_heading(kind: Any) -> None:
    alarm = failure(kind("the figure is 3"))
    assert alarm.heading == alarms.HEADING_OF[kind]
    assert "the figure is 3" in alarm.cause
    assert (
        alarm.mend
        == "airflow dags clear nightly.label_pairs --partition-key 2026-11-22 --only-failed -y"
    )


def test_every_group_of_errors_has_a_heading() -> None:
    groups = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert set(alarms.HEADING_OF) == groups - {errors.WinnowError}


@given(st.text(alphabet="xyz", min_size=8))
def test_an_error_that_is_not_winnows_own_is_named_and_never_quoted(secret: str) -> None:
    try:
        raise KeyError(secret)
    except KeyError as error:
        alarm = failure(error)
    assert secret not in alarm.cause + alarm.subject + alarm.mend
    assert "KeyError at test_alarms.py:" in alarm.cause
    assert alarm.heading == alarms.OTHER_HEADING


@pytest.mark.parametrize(
    "text",
    [
        "The vendor (POST /x) answered HTTP 400: the prompt 'my secret' is bad",
        "The server at http://gpu answered HTTP 422 (my secret is too long); check the address.",
        "The server at http://gpu does not take what Winnow asks for: my secret",
    ],
)
def test_what_a_service_answered_is_left_out(text: str) -> None:
    cause = failure(Fatal(text)).cause
    assert "secret" not in cause
    assert "HTTP 4" in cause or "asks for" in cause


def test_a_password_in_an_address_is_left_out() -> None:
    assert "hush" not in failure(Fatal("https://me:hush@host/x does not answer")).cause


@pytest.mark.parametrize("error", [None, "killed"])
def test_a_process_that_died_is_told_without_an_error(error: str | None) -> None:
    alarm = failure(error)
    assert alarm.heading == alarms.DIED_HEADING
    assert alarm.kind == "failed-collect_annotations-died"


def test_a_blocked_publication_is_the_gates_alarm_whoever_tells_it_first() -> None:
    verdict = Verdict("block", [Check("agreement_high", "block", "fail", 0.41, ">= 0.45")])
    told = alarms.gate("nightly", "2026-11-22", verdict)
    stopped = failure(Blocked("Batch 2026-11-22 is not published."), "publish_version")
    assert told is not None
    assert told.kind == stopped.kind
    assert told.cause == "agreement_high = 0.41 (limit >= 0.45)"


@given(
    st.lists(
        st.tuples(st.sampled_from(["warn", "block"]), st.sampled_from(["pass", "fail", "error"])),
        max_size=6,
    )
)
def test_the_gate_tells_a_blocking_check_with_value_and_limit(checks: list[Any]) -> None:
    made = [Check(f"c{n}", s, o, 0.5, f"<= {n}") for n, (s, o) in enumerate(checks)]
    blocks = [
        c for c in made if c.outcome == "error" or (c.severity, c.outcome) == ("block", "fail")
    ]
    verdict = Verdict("block" if blocks else "warn", made)
    alarm = alarms.gate("nightly", "k", verdict)
    assert (alarm is not None) == bool(blocks)
    if alarm is not None:
        named = [c for c in made if c.outcome != "pass" and f"{c.name} = " in alarm.cause]
        assert len(named) == 1
        assert f"(limit {named[0].limit})" in alarm.cause
        assert named[0].severity == "block" or all(c.severity == "warn" for c in blocks)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_budget_is_told_from_80_percent_on(spent: int, limit: int) -> None:
    alarm = alarms.budget("nightly", "k", spent, limit)
    assert (alarm is not None) == (limit > 0 and spent >= 0.8 * limit)


@given(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.lists(st.floats(0, 1), max_size=5),
)
def test_agreement_falls_when_its_whole_interval_is_below_the_mean(
    interval: list[float], history: list[float]
) -> None:
    low, value, high = interval
    figures = {"agreement": value, "agreement_low": low, "agreement_high": high}
    alarm = alarms.agreement("nightly", "k", figures, history)
    below = bool(history) and high < sum(history) / len(history)
    assert (alarm is not None) == below


def test_agreement_that_was_not_measured_is_not_told() -> None:
    assert alarms.agreement("nightly", "k", {"agreement_high": None}, [0.8]) is None


@pytest.mark.parametrize(
    ("state", "n", "low", "kinds"),
    [
        ("open", 300, 0.02, []),
        ("closed", 200, 0.02, ["gate-closed"]),
        ("undecided", 0, None, []),
        ("open", 300, 0.11, ["miscalibrated"]),
        # On so few labels a calibrated model has such an error by chance.
        ("open", 299, 0.3, []),
        ("closed", 400, 0.2, ["gate-closed", "miscalibrated"]),
    ],
)
def test_a_model_not_to_be_trusted_is_told(
    state: str, n: int, low: float | None, kinds: list[str]
) -> None:
    judged = {"n": n, "log_loss": 0.7, "length_log_loss": 0.69, "state": state}
    figures = {"gate": judged, "ece": low, "ece_low": low, "ece_high": low}
    assert [a.kind for a in alarms.reward("nightly", "k", figures)] == kinds


@pytest.mark.parametrize("seed", range(5))
def test_a_calibrated_model_is_not_told(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.2, 0.8, alarms.LEAST_JUDGED)
    found = expected_calibration_error(p, (rng.random(len(p)) < p).astype(float))
    judged = {"n": len(p), "state": "open"}
    figures = {"gate": judged, "ece": found.ece, "ece_low": found.low, "ece_high": found.high}
    assert alarms.reward("nightly", "k", figures) == []


def test_the_runbook_has_each_heading_and_no_other() -> None:
    headings = set(re.findall(r"^## (.+)$", RUNBOOK.read_text(), re.MULTILINE))
    named = {
        value
        for module in (alarms, runbook)
        for name, value in vars(module).items()
        if name.endswith("_HEADING")
    }
    assert headings == named | set(alarms.HEADING_OF.values())


def test_each_heading_of_the_runbook_says_what_it_means_and_what_to_run() -> None:
    sections = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    for section in sections:
        assert "**Money and data.**" in section, section
        assert "**Do.**" in section, section
        assert re.search(r"^    (airflow|winnow) |`winnow |\*Browse", section, re.MULTILINE), (
            section
        )
