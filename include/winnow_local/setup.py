"""Set the project up on a fresh machine: two virtual environments from pinned locks, and a model.

Needs only Python's standard library, since it runs before anything is installed. Every step is
skipped when its result is there: a second run takes a moment. Package indexes, proxies and wheel
folders are those that pip is configured for.

    .venv          Airflow, Great Expectations, DuckDB: the scheduler's side
    .venv-engine   vLLM and torch: the generation side
    .venv-trainer  for the tests only: what a researcher's machine reads the dataset with
    .venv-label-studio  for the tests only: a real labelling server
    .venv-cluster  for the tests of a deployment only: what its image and its stores consist of
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
ENGINE = ROOT / ".venv-engine"
TRAINER = ROOT / ".venv-trainer"
LABEL_STUDIO = ROOT / ".venv-label-studio"
CLUSTER = ROOT / ".venv-cluster"
TESTS = ROOT / "tests" / "integration"
UV = "uv==0.13.9"
OLDEST, NEWEST = (3, 11), (3, 13)
DISK_GB = 6
SHIPPED_MODEL = "SmolLM2-135M-Instruct"
TORCH_SOURCES: list[list[str]] = [[], ["--torch-backend", "cpu"]]
"""Options of uv to try in turn: a wheel folder that pip knows, then PyTorch's own CPU builds."""
FOR_TESTS: tuple[tuple[Path, Path, str, list[list[str]]], ...] = (
    (TRAINER, TESTS / "trainer.lock", "datasets and TRL", TORCH_SOURCES),
    (LABEL_STUDIO, TESTS / "label_studio.lock", "Label Studio", [[]]),
)
"""Environments that have never heard of Winnow: its lock, what is in it, where it comes from."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Programs in which the tests can look at the pages."""
PROGRAMS = {"chromium": BROWSERS, "haproxy": ("haproxy",)}
"""Debian's packages that tests need, and the programs that will do."""
APT = ["apt-get", "-q", "-o", "Acquire::http::Timeout=20"]


class SetupError(Exception):
    """The machine lacks something; the message is one line that says what to do."""


def main(arguments: list[str]) -> int:
    """`setup.py [--dev] [--cluster]`: set up, or say in one line what is missing."""
    dev = "--dev" in arguments
    home = Path(os.environ.get("WINNOW_HOME", ROOT / ".winnow"))
    try:
        check_machine()
        locks = [ROOT / "requirements.lock", *([ROOT / "requirements-dev.lock"] if dev else [])]
        install(VENV, locks, "Airflow and its libraries")
        install_engine(dev)
        if dev:
            for venv, lock, what, sources in FOR_TESTS:
                install(venv, [lock], f"{what}, for the tests", sources, with_winnow=False)
            install_programs()
        if "--cluster" in arguments:
            locks = [ROOT / "docker" / "airflow.lock", TESTS / "cluster.lock"]
            install(CLUSTER, locks, "a deployment's parts, for the tests")
        prepare_models(home)
    except SetupError as error:
        print(f"winnow: {error}", file=sys.stderr)
        return 1
    return 0


def check_machine() -> None:
    """Refuse an unsuitable Python or a full disk before anything is downloaded."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f"Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]} is needed, this is "
            f"{version[0]}.{version[1]}; name one: make demo PYTHON=/path/to/python3.12"
        )
    installed = all(_stamp(venv).exists() for venv in (VENV, ENGINE))
    needed = 1 if installed else DISK_GB
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < needed:
        raise SetupError(f"{needed} GB of free disk are needed at {ROOT}, {free:.1f} GB are left.")


def install_engine(dev: bool) -> None:
    """The generation environment: vLLM built for CPU, or transformers where that cannot run."""
    lock = ROOT / "requirements-engine.lock"
    tools = [TESTS / "engine.lock"] if dev else []
    try:
        install(ENGINE, [lock, *tools], "vLLM for CPU and torch", TORCH_SOURCES)
    except SetupError as error:
        print(f"winnow: vLLM cannot be installed here, using transformers instead ({error})")
        slim = ENGINE / "requirements-transformers.lock"
        lines = lock.read_text().splitlines(keepends=True)
        slim.write_text("".join(line for line in lines if not line.startswith("vllm")))
        install(ENGINE, [slim, *tools], "transformers and torch", TORCH_SOURCES)


def install_programs() -> None:
    """Debian's Chromium and HAProxy, where they are missing and who sets up may install packages.

    Without one its tests are skipped, and fail where `CI` is set.
    """
    missing = [name for name, same in PROGRAMS.items() if not any(map(shutil.which, same))]
    if not missing or os.geteuid() != 0 or shutil.which(APT[0]) is None:
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"winnow: installing {' and '.join(missing)}, for the tests", flush=True)
    try:
        _run([*APT, "update"], "no packages of Debian's", env)
        for name in missing:
            _run([*APT, "install", "-y", "--no-install-recommends", name], f"no {name}", env)
    except SetupError as error:
        print(f"winnow: some tests have to be skipped: {error}", file=sys.stderr)


def prepare_models(home: Path) -> None:
    """Convert the shipped model once, into the home folder."""
    if (home / "models" / SHIPPED_MODEL / "config.json").exists():
        return
    print(f"winnow: preparing {SHIPPED_MODEL}", flush=True)
    command = [_python(ENGINE), "-m", "winnow.expand.models", "prepare", SHIPPED_MODEL]
    _run([*command, str(home / "models")], "the model could not be prepared")


def install(
    venv: Path,
    locks: list[Path],
    what: str,
    sources: Sequence[list[str]] = ([],),
    *,
    with_winnow: bool = True,
) -> None:
    """Make `venv` hold what the locks pin; a stamp with their digests says that it does."""
    wanted = {hashlib.sha256(lock.read_bytes()).hexdigest() for lock in locks}
    stamp = _stamp(venv)
    if not stamp.exists() or not wanted <= set(stamp.read_text().split()):
        print(f"winnow: installing {what} into {venv.name}", flush=True)
        if not Path(_python(venv)).exists():
            failure = "a virtual environment could not be made"
            _run([sys.executable, "-m", "venv", str(venv)], failure)
        _run([_python(venv), "-m", "pip", "install", "-q", UV], "pip cannot install uv")
        pins = [argument for lock in locks for argument in ("-r", str(lock))]
        for number, options in enumerate(sources, start=1):
            try:
                _uv(venv, ["--no-deps", *options, *pins], f"{what} could not be installed")
                break
            except SetupError:
                if number == len(sources):
                    raise
        stamp.write_text("\n".join(sorted(wanted)))
    if with_winnow:
        _install_winnow(venv)


def _install_winnow(venv: Path) -> None:
    """The package itself, editable; again where the checkout moved or has other commands."""
    stamp = venv / ".winnow-root"
    declared = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    wanted = f"{ROOT}\n{declared}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _uv(venv, ["--no-deps", "-e", str(ROOT)], "the winnow package could not be installed")
    stamp.write_text(wanted)


def _uv(venv: Path, arguments: list[str], failure: str) -> None:
    command = [_python(venv), "-m", "uv", "pip", "install", "-q", "--python", _python(venv)]
    _run([*command, *arguments], failure, env={**os.environ, **pip_settings(venv)})


def pip_settings(venv: Path) -> dict[str, str]:
    """What pip is configured with, in the words of uv, where uv is not configured itself."""
    names = {"index-url": "UV_DEFAULT_INDEX", "find-links": "UV_FIND_LINKS"}
    settings = {}
    for option, variable in names.items():
        value = os.environ.get(f"PIP_{option.upper().replace('-', '_')}") or _pip_option(
            venv, option
        )
        if value and variable not in os.environ:
            settings[variable] = ",".join(value.split())
    return settings


def _pip_option(venv: Path, option: str) -> str:
    command = [_python(venv), "-m", "pip", "config", "get", f"global.{option}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _python(venv: Path) -> str:
    return str(venv / "bin" / "python")


def _stamp(venv: Path) -> Path:
    return venv / ".winnow-lock"


def _run(command: list[str], failure: str, env: dict[str, str] | None = None) -> None:
    """Run a step quietly; on failure the last line it printed goes into the error."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise SetupError(f"{failure}: {lines[-1].strip() if lines else 'no output'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
