"""What a process with code of others sees of an environment: what is named, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import winnow
from winnow.environment import MORE, PASSED, foreign_environment

SECRETS = (
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__CELERY__BROKER_URL",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__CORE__FERNET_KEY_CMD",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW__SMTP__SMTP_PASSWORD",
    "AIRFLOW_CONN_WINNOW_VENDOR",
    "AIRFLOW_VAR_TOKEN",
    "DATABASE_URL",
    "GITHUB_TOKEN",
    "OPENAI_API_KEY",
    "PGPASSWORD",
    "POSTGRES_PASSWORD",
    "REDISCLI_AUTH",
    "SLACK_WEBHOOK",
    "WINNOW_AIRFLOW_PASSWORD",
    "WINNOW_AIRFLOW_TOKEN",
    "WINNOW_ALARMS",
    "WINNOW_SERVER_KEY",
    "WINNOW_SCORE_KEY",
    "WINNOW_SIMULATOR_TOKEN",
    "WINNOW_SIMULATOR_WEBHOOK_SECRET",
    "WINNOW_VENDOR_TOKEN",
)
NEEDED = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ROLE_ARN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HOME",
    "HTTPS_PROXY",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "NCCL_SOCKET_IFNAME",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONPATH",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "VLLM_USE_FLASHINFER_SAMPLER",
    "WINNOW_LAKE",
    "XDG_CACHE_HOME",
    "no_proxy",
)


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*SECRETS, *NEEDED):
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.delenv(MORE, raising=False)
    return monkeypatch


def test_secrets_stay_and_what_models_need_goes_along(crowded: pytest.MonkeyPatch) -> None:
    found = foreign_environment({"WINNOW_SERVER_URL": "http://gpu-1"})
    assert not found.keys() & set(SECRETS)
    assert {name: found[name] for name in NEEDED} == {n: f"value of {n}" for n in NEEDED}
    assert found["WINNOW_SERVER_URL"] == "http://gpu-1"


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True))
def test_a_variable_that_is_not_named_stays(name: str) -> None:
    beginnings = tuple(each.removesuffix("*") for each in PASSED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, "x")
        if not name.startswith(beginnings) and name != MORE:
            assert name not in foreign_environment()


def test_more_is_named_by_a_person(crowded: pytest.MonkeyPatch) -> None:
    crowded.setenv(MORE, "GITHUB_TOKEN, SLURM_*\nABSENT")
    crowded.setenv("SLURM_JOB_ID", "7")
    found = foreign_environment()
    assert found["SLURM_JOB_ID"] == "7" and "GITHUB_TOKEN" in found
    assert not found.keys() & (set(SECRETS) - {"GITHUB_TOKEN"})


def test_no_process_is_started_with_the_whole_environment() -> None:
    """But for Airflow's own command line, which is asked for connections."""
    started = {}
    include = Path(winnow.__file__).parents[1]
    for path in (*include.glob("winnow/**/*.py"), *include.glob("winnow_bench/*.py")):
        text = path.read_text()
        if "import subprocess" not in text and "import os" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                *("subprocess.Popen", "subprocess.run", "subprocess.check_output"),
                *("os.execve", "os.execv", "os.system", "os.spawnv", "os.posix_spawn"),
            ):
                given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                started[f"{path.name}:{node.lineno}"] = given.get("env", "")
    whole = {where for where, env in started.items() if "foreign_environment(" not in env}
    assert {where.split(":")[0] for where in whole} == {"connections.py"}
    assert len(started) >= 4
