"""`python -m winnow_local demo [DAY] | up | airflow ARGUMENTS | winnow ARGUMENTS`: for make."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import httpx
from rich.console import Console

from winnow.errors import WinnowError
from winnow_local import stack
from winnow_local.demo import demo, last_nights, prepare, show_login


def main(arguments: list[str]) -> int:
    """Run one command; an error that a person can act on is one line."""
    command, *rest = arguments or ["demo"]
    console = Console(highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        home = stack.home_from_environment()
        if command == "airflow":
            return airflow(home, rest)
        if command == "winnow":
            return winnow(home, rest)
        if command == "up":
            return up(home, console)
        return demo(home, rest[:1] or last_nights(), console)
    except (stack.StackError, WinnowError, httpx.HTTPError) as error:
        console.print(f"winnow: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nwinnow: stopped; the next start goes on from here")
        return 130


def up(home: stack.Home, console: Console) -> int:
    """Run Airflow and the vendor simulator until interrupted."""
    prepare(home, console)
    with stack.running(home):
        show_login(home, console)
        console.print(f"Labelling-vendor simulator {home.vendor}\nCtrl-C stops everything.")
        while True:
            time.sleep(3600)


def airflow(home: stack.Home, arguments: list[str]) -> int:
    """Become Airflow's own command line, with the settings of this home."""
    program = str(stack.ROOT / ".venv" / "bin" / "airflow")
    os.execve(program, [program, *arguments], stack.environment(home))


def winnow(home: stack.Home, arguments: list[str]) -> int:
    """Become Winnow's own command line, with the lake, the campaign and the logins of this home."""
    program = str(stack.ROOT / ".venv" / "bin" / "winnow")
    os.execve(program, [program, *arguments], stack.command_environment(home))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
