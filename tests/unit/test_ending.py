"""A process of ours ends with the code of its work, whatever native threads it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from winnow.batch import arrow_file, open_batch
from winnow.campaign import load_campaign
from winnow.lake import open_lake
from winnow.stages import ingest

from ..left_behind import SLOW

NOW = datetime(2026, 11, 22, tzinfo=UTC)

# A thread of Arrow's is inside a Python object's `read` while the main thread ends: under the
# interpreter's own end, before Python 3.14, that is an abort each time.
LEFT_BEHIND = f"""
{SLOW}
import atexit, sys, threading, time
import pyarrow.csv
from winnow.ending import run_and_leave

reader = pyarrow.csv.open_csv(Slow())
"""


def ended(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the interpreter ends such threads itself")
def test_the_interpreters_own_end_is_an_abort() -> None:
    assert ended(LEFT_BEHIND + "sys.exit(0)").returncode == -6


@pytest.mark.parametrize(
    ("work", "code", "told"),
    [
        ("return 0", 0, ""),
        ("return 1", 1, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no such thing')", 1, "no such thing\n"),
        ("raise ValueError('unforeseen')", 1, "ValueError: unforeseen\n"),
        ("raise KeyboardInterrupt", -2, ""),
    ],
)
def test_a_process_ends_with_the_code_of_its_work(work: str, code: int, told: str) -> None:
    done = ended(
        f"{LEFT_BEHIND}\ndef main():\n    print('done')\n    {work}\n\nrun_and_leave(main)\n"
    )
    assert done.returncode == code
    assert done.stdout == "done\n"
    assert done.stderr.endswith(told)


def test_what_was_left_for_the_exit_is_done() -> None:
    work = """
def later():
    time.sleep(0.2)
    print("thread")

def main():
    atexit.register(print, "handler")
    threading.Thread(target=later).start()
    return 0

run_and_leave(main)
"""
    assert ended(LEFT_BEHIND + work).stdout == "thread\nhandler\n"


def test_output_that_nobody_reads_is_no_success() -> None:
    script = "from winnow.ending import run_and_leave\nrun_and_leave(lambda: print('x') or 0)"
    read, write = os.pipe()
    os.close(read)
    try:
        # Buffered: the output is written, or not, only at the end.
        buffered = {n: v for n, v in os.environ.items() if n != "PYTHONUNBUFFERED"}
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, env=buffered
        )
    finally:
        os.close(write)
    assert done.returncode == 120


def test_arrow_is_lent_nothing_of_pythons() -> None:
    data = bytes(1000)
    held = sys.getrefcount(data)
    file = arrow_file(data)
    assert sys.getrefcount(data) == held
    assert file.read() == data
    assert arrow_file(b"").read() == b""


SHORT_COMMANDS = """
import collections, os, sys
from winnow.cli import command, main

codes = collections.Counter()
for _ in range({n}):
    child = os.fork()
    if not child:
        sys.stdout = open(os.devnull, "w")
        {end}
    codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
print(dict(codes))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.kill
@pytest.mark.parametrize("end", ["command()", "sys.exit(main())"])
def test_short_commands_beside_a_busy_core_end_as_they_should(tmp_path: Path, end: str) -> None:
    """Also where an older start script ends the interpreter: it lends Arrow nothing to give back.

    Forked after the import, which takes most of a command's time.
    """
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "a.jsonl").write_text('{"prompt": "What is odd about tides?"}\nno row\n')
    campaign = tmp_path / "campaign.yaml"
    settings = {
        "name": "short",
        "ingest": {"sources": [str(inbox)]},
        "expand": {"model": "tiny"},
        "label": {"budget_usd": 5.0},
        "publish": {"dataset": "short"},
    }
    campaign.write_text(json.dumps(settings))
    lake = tmp_path / "lake"
    opened = open_lake(str(lake))
    ingest.run(open_batch(load_campaign(campaign), "2026-11-22", opened, lambda: NOW))
    asked = ["winnow", "quarantine", "--campaign", str(campaign), "--lake", str(lake)]
    script = f"import sys; sys.argv = {asked}{SHORT_COMMANDS.format(n=25, end=end)}"
    core = {min(os.sched_getaffinity(0))}
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            os.sched_setaffinity(busy.pid, core)
            done = subprocess.run(
                [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {core})\n{script}"],
                capture_output=True,
                text=True,
            )
        finally:
            busy.kill()
    assert done.stdout == "{0: 25}\n", done.stderr
