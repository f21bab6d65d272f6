"""The generation process says what is wrong in one event, and dies with its caller."""

from __future__ import annotations

import json
import subprocess
import sys

_SLOW_TO_END = """
import atexit, sys, time
from winnow.stages.generate import main
atexit.register(time.sleep, 0.5)
sys.exit(main())
"""


def test_a_wrong_spec_ends_with_one_fatal_event_and_status_1():
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW_TO_END],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        process.stdin.write(b'{"lake": 3}\n')
        process.stdin.flush()
        (event,) = [json.loads(line) for line in process.stdout]
        # Leaving this block closes stdin, which must not touch a process on its way out.
    assert process.returncode == 1
    assert (event["event"], event["kind"]) == ("error", "fatal")
    assert "folder" in event["message"]


_BUSY = """
import subprocess, sys, time
from winnow.stages.generate import die_with_caller
die_with_caller(open(0, "rb", buffering=0))
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(sleep, stdin=subprocess.DEVNULL)
print("ready", flush=True)
time.sleep(60)
"""


def test_the_process_and_its_children_die_when_stdin_closes():
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        # The child holds stdout open too, so its end means that both are gone.
        process.communicate(timeout=20)
    assert process.returncode == -9
