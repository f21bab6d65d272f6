"""What a machine lacks is said in one line, before anything is downloaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from winnow_local import setup

from ...conftest import lacking


@pytest.mark.parametrize("version", [(3, 9), (3, 10), (3, 14)])
def test_an_unsuitable_python_is_named(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    monkeypatch.setattr(setup.sys, "version_info", (*version, 0))
    with pytest.raises(setup.SetupError, match=rf"this is 3\.{version[1]}; name one"):
        setup.check_machine()


def test_a_full_disk_is_said_with_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda _: SimpleNamespace(free=2.5e9))
    monkeypatch.setattr(setup, "VENV", tmp_path / "absent")
    with pytest.raises(setup.SetupError, match=r"6 GB of free disk.*2\.5 GB are left"):
        setup.check_machine()


def test_a_failed_step_ends_in_one_line(tmp_path: Path) -> None:
    script = Path(setup.__file__)
    copy = tmp_path / "include" / "winnow_local" / "setup.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(script, copy)
    (tmp_path / "requirements.lock").write_text("no-such-package-of-winnow==0\n")
    done = subprocess.run(
        [sys.executable, "-S", str(copy)],
        env={"PATH": "", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("winnow: pip cannot install uv: ")
    assert len(done.stderr.strip().splitlines()) == 1


def commands_of(monkeypatch: pytest.MonkeyPatch, there: set[str], fails: str = "") -> list[str]:
    """What installing programs runs, as root on a machine with these."""
    ran: list[str] = []

    def run(command: list[str], failure: str, env: object) -> None:
        ran.append(" ".join(command))
        if fails and fails in command:
            raise setup.SetupError(f"{failure}: E: Unable to locate package chromium")

    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup.shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(setup, "_run", run)
    setup.install_programs()
    return ran


def test_programs_are_installed_once_where_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    _, *both = commands_of(monkeypatch, {"apt-get"})
    for command, name in zip(both, ("chromium", "haproxy"), strict=True):
        assert command.endswith(f"install -y --no-install-recommends {name}")
    _, one = commands_of(monkeypatch, {"apt-get", "google-chrome"})
    assert one.endswith(" haproxy")
    assert commands_of(monkeypatch, {"apt-get", "google-chrome", "haproxy"}) == []
    assert commands_of(monkeypatch, set()) == []


def test_a_program_that_cannot_be_installed_is_a_line_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands_of(monkeypatch, {"apt-get"}, fails="chromium")
    assert capsys.readouterr().err.splitlines() == [
        "winnow: some tests have to be skipped: no chromium: E: Unable to locate package chromium"
    ]


def test_what_is_lacking_is_skipped_here_and_a_failure_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        lacking("no browser")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        lacking("no browser")


def test_the_set_up_needs_the_standard_library_alone() -> None:
    source = Path(setup.__file__).read_text()
    modules = {
        line.split()[1].split(".")[0]
        for line in source.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert modules <= {*sys.stdlib_module_names, "__future__"}


def test_pip_settings_become_those_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    found = setup.pip_settings(Path(sys.prefix))
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert found["UV_FIND_LINKS"] == "/wheels,/more"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example")
    assert "UV_DEFAULT_INDEX" not in setup.pip_settings(Path(sys.prefix))
