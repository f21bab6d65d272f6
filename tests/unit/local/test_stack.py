"""A local Winnow keeps its secrets, names a taken port, and finds what it left behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.campaigns import SHIPPED
from winnow_local import stack


@pytest.fixture
def home(tmp_path: Path) -> stack.Home:
    return stack.Home(tmp_path / "home", SHIPPED, 18080, 18790)


def test_secrets_are_drawn_once_and_are_private(home: stack.Home) -> None:
    first = stack.secrets_of(home)
    assert stack.secrets_of(home) == first
    assert len(first["jwt"]) >= 64
    assert (home.folder / "secrets.json").stat().st_mode & 0o077 == 0


def test_a_taken_port_is_named_with_the_variable_that_moves_it(home: stack.Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = stack.Home(home.folder, home.campaigns, port, 18790)
        with pytest.raises(stack.StackError, match=rf"Port {port} is taken.*WINNOW_PORT="):
            stack.check_ports(other)
    stack.check_ports(other)


def test_what_an_earlier_run_left_alive_is_stopped_and_nothing_else(home: stack.Home) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    home.run.mkdir(parents=True)
    ours = subprocess.Popen(sleeper, cwd=home.run, start_new_session=True)
    theirs = subprocess.Popen(sleeper, cwd=home.folder, start_new_session=True)
    try:
        assert stack.stop_leftovers(home) == 1
        assert ours.poll() is not None
        assert theirs.poll() is None
        assert stack.stop_leftovers(home) == 0
    finally:
        theirs.kill()
        theirs.wait()


def test_airflow_is_told_everything_it_needs(home: stack.Home) -> None:
    env = stack.environment(home)
    assert env["AIRFLOW_HOME"] == str(home.folder / "airflow")
    assert "18790" in env["AIRFLOW_CONN_WINNOW_VENDOR"]
    assert env["WINNOW_CAMPAIGNS"] == str(SHIPPED)
    assert stack.secrets_of(home)["vendor_token"] in env["AIRFLOW_CONN_WINNOW_VENDOR"]
