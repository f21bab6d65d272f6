"""What a machine lacks is said in one line, before anything is downloaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from winnow_local import setup


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
