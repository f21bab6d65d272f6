"""Names and words of others on a terminal, in a log, in an alarm: one plain line each."""

from __future__ import annotations

import ast
import json
import logging
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.batch import Manifest, manifest_path, open_batch, quarantine_table
from winnow.campaign import parse_campaign
from winnow.cli import main
from winnow.commands import operate
from winnow.commands.checks import failed, run_all
from winnow.commands.doctor import _lines
from winnow.commands.say import say, say_json
from winnow.errors import Ambiguous, Blocked, Corrupt, Fatal, Retryable
from winnow.ids import canonical_json
from winnow.ingest.ledger import ledger_path
from winnow.lake import FolderLake
from winnow.operate.alarms import cause_of, failure_of
from winnow.operate.reconcile.findings import Finding
from winnow.operate.reconcile.once import Report, alarm_of, alarm_text, report_text
from winnow.publish.diff import Diff, Moved, Relabelled, ViewDiff, diff_text
from winnow.records import Quarantined
from winnow_airflow.plain_log import plain_logger

from ...published import labelled, night

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = "2026-11-22"
FORGED = "2026-03-01 ingest all: fine"
SIGNS = {
    "escape": "\x1b[31m\x1b]0;pwned\x07",
    "cursor up": "\x1b[A\x1b[2K",
    "bell": "\x07\x08",
    "line feed": "\n",
    "carriage return": "\r",
    "both": "\r\n",
    "vertical tab": "\x0b\x0c",
    "next line": "\x85",
    "line separator": "\u2028\u2029",
    "file separator": "\x1c\x1d\x1e\x1f",
    "right to left": "\u202e\u2066",
    "nothing": "\u200b\ufeff\u00ad",
    "null": "\x00",
    "8-bit escape": "\x9b31m\x9d0;pwned\x9c",
    "delete": "\x7f",
    "tag": "\U000e0041",
    "long": "x" * (1 << 20),
}
HALF = {"half a pair": "\ud83d", "the other half": "\udc80"}
"""Neither Parquet nor a manifest holds them; a message may."""


def words(sign: str) -> str:
    return f"a{sign}{FORGED}{sign}"


STORED = [pytest.param(words(sign), id=name) for name, sign in SIGNS.items()]
SAID = [*STORED, *(pytest.param(words(sign), id=name) for name, sign in HALF.items())]
SHORT = {**SIGNS, **HALF, "long": "x" * 5000}
ANYTHING = st.lists(
    st.one_of(st.sampled_from(list(SHORT.values())), st.text(max_size=20)), max_size=6
).map("".join)


def assert_plain(line: str, longest: int = 4_000) -> None:
    """One line that drives nothing and hides nothing."""
    assert len(line) <= longest
    assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(line) & set("\u202e\u2066\u200b\ufeff\u00ad\U000e0041")


def lines_of(out: str, n: int) -> list[str]:
    """The lines of an output, which are `n`, by whatever ends a line somewhere."""
    lines = out.removesuffix("\n").split("\n")
    assert len(lines) == n, lines
    for line in lines:
        assert_plain(line)
    return lines


@pytest.fixture
def store(tmp_path: Path) -> FolderLake:
    return FolderLake(tmp_path / "lake")


@pytest.fixture
def run(store: FolderLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; what it prints, and says of errors."""
    settings = {
        "name": "small",
        "ingest": {"sources": ["inbox"]},
        "expand": {"model": "tiny"},
        "label": {"budget_usd": 5.0},
        "publish": {"dataset": "d"},
    }
    file = tmp_path / "campaign.yaml"
    file.write_text(json.dumps(settings))

    def command(*arguments: str) -> str:
        code = main([*arguments, "--campaign", str(file), "--lake", store.uri])
        said = capsys.readouterr()
        return said.err if code else said.out

    command.campaign = parse_campaign(settings, "here")  # type: ignore[attr-defined]
    return command


def begin(store: FolderLake, **more: Any) -> None:
    entry = {"batch": DAY, "files": {}, "outputs": {}, "counts": {"rows_out": 1}, **more}
    store.create(ledger_path("small"), canonical_json([entry]))


def write(store: FolderLake, stage: str, figures: dict[str, Any]) -> None:
    counts = {"rows_in": 1, "rows_out": 1, "quarantined": 0, "responses": 1, "comparisons": 1}
    made = Manifest("small", DAY, stage, {}, {}, "", "0.1.0", counts, 0, figures, NOW.isoformat())
    store.create(manifest_path("small", DAY, stage), made.to_bytes())


@pytest.mark.parametrize("text", STORED)
def test_quarantine_has_one_plain_line_a_row(store: FolderLake, run: Any, text: str) -> None:
    begin(store)
    batch = open_batch(run.campaign, DAY, store, lambda: NOW)
    rows = [
        Quarantined("ingest", "no_prompt", text, file=text, line=1),
        Quarantined("ingest", text, "b", record_id=text),
    ]
    outputs = {"quarantine": batch.write_table("ingest", "quarantine", quarantine_table(rows))}
    counts = {"rows_in": 2, "rows_out": 0, "quarantined": 2}
    batch.commit("ingest", inputs=[], outputs=outputs, counts=counts)
    lines_of(run("quarantine"), 2)


@pytest.mark.parametrize("text", STORED)
def test_status_has_one_plain_line_a_stage(store: FolderLake, run: Any, text: str) -> None:
    begin(store)
    open_batch(run.campaign, DAY, store, lambda: NOW)
    write(store, "ingest", {"passed_over": text, "pools_from": text})
    write(store, "expand", {"pools_from": text})
    write(store, "select", {"strategy": text, "unmet_floors": [text]})
    lines = lines_of(run("status"), 6)
    assert [line.split()[0] for line in lines[1:4]] == ["ingest", "expand", "select"]
    told = run("status", "--json")
    assert told.isascii()
    assert "\x7f" not in told
    assert text in json.loads(told)[0]["stages"]["select"]


@pytest.mark.parametrize("text", STORED)
def test_a_batch_that_was_given_up_says_why_in_one_line(
    store: FolderLake, run: Any, text: str
) -> None:
    note = {"who": text, "at": NOW.isoformat(), "reason": text, "charged": None}
    begin(store, dropped=note)
    lines_of(run("status"), len(run("status").split("\n")) - 1)
    assert not [line for line in run("status").split("\n") if line.startswith(FORGED)]


@pytest.mark.parametrize("text", [words("".join(SIGNS.values())[:200]), words(SIGNS["long"])])
def test_versions_and_their_differences_are_plain(store: FolderLake, run: Any, text: str) -> None:
    night(store, labelled("b1", ["one"]), 0.0)
    night(store, labelled("b2", ["two"]), 0.0)
    run("rollback", "v1", "--reason", text)
    lines_of(run("versions"), 3)
    assert not [line for line in run("diff", "v1", "v2").split("\n") if line.startswith(FORGED)]
    assert run("diff", "v1", "v2", "--json").isascii()
    lines_of(run("diff", "v1", f"v9{text[:2000]}"), 1)


@pytest.mark.parametrize("text", SAID)
def test_a_difference_has_one_line_a_change(text: str) -> None:
    changed = [Relabelled(text, text, text)]
    view = ViewDiff(1, 1, 1, 1, 1, 0, added=[text], removed=[text], relabelled=changed)
    found = Diff("d", text, text, {text: view}, [Moved(text, text, None)], [text], [])
    lines_of(diff_text(found), 8)


@pytest.mark.parametrize("text", SAID)
def test_late_answers_have_a_line_each(
    store: FolderLake, run: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store)
    answer = SimpleNamespace(
        finished_at=NOW,
        task_id=text,
        annotator=text,
        preferred=text,
        revision=1,
        status=text,
        price=1,
    )
    monkeypatch.setenv("WINNOW_VENDOR_TOKEN", "token")
    monkeypatch.setattr(operate, "late_answers", lambda batch, vendor: [answer, answer])
    lines_of(run("late", "--batch", DAY), 3)


@given(ANYTHING)
def test_what_reconcile_finds_has_a_line_each(text: str) -> None:
    findings = [
        Finding("unreadable", DAY, "label", text, command="check it"),
        Finding("twin_runs", DAY, text, text, command=f"do {text}"),
        Finding("lost_event", text, "label", text, mend="announce"),
        Finding("paused", DAY, "label", text),
    ]
    lines_of(report_text(Report(findings, mended=[f"mended {text}"])), 7)
    lines_of(alarm_text(findings), 9)
    for finding in findings:
        alarm = alarm_of("small", finding, NOW)
        assert alarm is not None
        assert_plain(alarm.subject)
        assert_plain(alarm.cause)


KINDS = ("unreadable", "late_answers", "twin_runs", "stuck", "gave_up", "failed", "night_failed")


@pytest.mark.parametrize("kind", KINDS)
@given(first=ANYTHING, second=ANYTHING)
def test_a_finding_is_the_same_one_whatever_it_says(kind: Any, first: str, second: str) -> None:
    found = [Finding(kind, DAY, "label", text, command=text) for text in (first, second)]
    assert found[0].name == found[1].name
    assert Finding(kind, "2026-11-23", "label", first).name != found[0].name
    assert Finding(kind, DAY, "label", first, occasion="b").name != found[0].name


@given(ANYTHING)
def test_every_error_is_one_plain_line(text: str) -> None:
    for kind in (Retryable, Fatal, Blocked, Ambiguous, Corrupt):
        error = kind(f"it said {text}")
        assert_plain(str(error))
        assert_plain(cause_of(error))
        alarm = failure_of("small", DAY, "label_pairs", "submit_tasks", error)
        assert_plain(alarm.cause)
        assert "it said" in alarm.cause
        other = failure_of("small", DAY, "label_pairs", "submit_tasks", kind("else"))
        assert alarm.path == other.path


@pytest.mark.parametrize("text", SAID)
def test_an_error_of_a_command_is_one_line(run: Any, text: str) -> None:
    lines_of(run("status", "--batch", text), 1)
    lines_of(run("pull", text, "--out", "x"), 1)
    lines_of(run("lineage", text), 1)


@given(ANYTHING)
def test_what_a_check_measured_is_one_line(text: str) -> None:
    [check] = run_all({"vendor": lambda: failed(text, text)}, 30.0)
    for line in _lines([check]):
        assert_plain(line)


@given(ANYTHING)
def test_the_door_lets_no_sign_through(text: str) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda line, **_: said.append(line))
        say(text, f"  {text}")
        say_json({text: text})
    for line in said[:2]:
        assert_plain(line)
    assert said[2].isascii()
    for line in said[2].split("\n"):
        assert_plain(line, len(line))
    # Two halves that stand beside each other are one sign in any JSON.
    assert json.loads(said[2]) == json.loads(json.dumps({text: text}))


@given(ANYTHING)
def test_a_record_of_a_log_is_one_line(text: str) -> None:
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    log = plain_logger("winnow_airflow.tests")
    log.addHandler(handler)
    try:
        log.warning("It said %s of %d", text, 3)
        plain_logger("winnow_airflow.tests").warning(f"{text} 100%")
    finally:
        log.removeHandler(handler)
    assert len(seen) == 2
    assert seen[0].startswith("It said ")
    for line in seen:
        assert_plain(line)


def test_commands_print_by_the_door_alone() -> None:
    files = [path for path in Path(operate.__file__).parent.glob("*.py") if path.name != "say.py"]
    calls = [
        (path.name, node.lineno)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert not calls
