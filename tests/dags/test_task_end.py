"""How Airflow ends a task's process: never by the interpreter's own end, which may be an abort."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..left_behind import SLOW

# What Airflow runs every task in; it leaves a thread of Arrow's behind in a Python `read`.
TASK = """
import os, socket, sys, time
from airflow.sdk.execution_time.supervisor import _fork_main

def work():
    import pyarrow.csv
    global reader
    reader = pyarrow.csv.open_csv(Slow())
    exec(end)

for end in sys.argv[1:]:
    ours, theirs = zip(*(socket.socketpair() for _ in range(3)))
    child = os.fork()
    if not child:
        _fork_main(*theirs, 0, work)
    print("CODE", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
CODES = {"pass": 0, "sys.exit(1)": 1, "raise ValueError": 126}
"""What a task ends in, and the code of its process."""


def test_a_task_ends_with_its_code_whatever_threads_it_leaves(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW + TASK, *CODES],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    codes = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("CODE")]
    assert codes == [str(code) for code in CODES.values()]
