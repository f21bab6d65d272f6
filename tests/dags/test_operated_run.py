"""A real run of a DAG tells its metrics, its lineage and, when it fails, whoever is named: once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .listeners import Heard, body_of, mail_server, statsd_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from airflow.cli.cli_parser import get_parser
from airflow.dag_processing.dagbag import DagBag

migrate = get_parser().parse_args(["db", "migrate"])
migrate.func(migrate)
[dag] = DagBag(sys.argv[1]).dags.values()
inbox = Path(sys.argv[2])
print("STATE", dag.test(run_conf={"partition": "2026-11-22"}).state)
inbox.rename(inbox.with_name("away"))
for _ in range(2):
    print("STATE", dag.test(run_conf={"partition": "2026-11-23"}).state)
"""
CAMPAIGN = """
name: small
ingest: {{sources: [{inbox}]}}
expand: {{model: tiny}}
label: {{budget_usd: 5}}
publish: {{dataset: small}}
"""


class Ran:
    """What came of three runs: one that went well, one that failed, and that one again."""

    def __init__(self, folder: Path, mail: Heard, statsd: Heard) -> None:
        inbox = folder / "inbox"
        inbox.mkdir()
        rows = [{"prompt": "why is the sky blue?"}, {"prompt": "why is grass green?"}, 42]
        (inbox / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        (folder / "campaign.yaml").write_text(CAMPAIGN.format(inbox=inbox))
        self.lineage = folder / "lineage.jsonl"
        env = self.environment(folder, mail.port, statsd.port)
        dags = folder / "dags"
        dags.mkdir()
        (dags / "ingest_prompts.py").symlink_to(ROOT / "dags" / "ingest_prompts.py")
        self.said = self.run(env, "-c", SCRIPT, str(dags), str(inbox))
        self.mail, self.statsd = list(mail.items), list(statsd.items)

    def environment(self, folder: Path, mail: int, statsd: int) -> dict[str, str]:
        no_tls = {"disable_ssl": True, "disable_tls": True, "from_email": "w@x.org"}
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": mail, "extra": no_tls}
        transport = {"type": "file", "log_file_path": str(self.lineage), "append": True}
        settings = {
            "CORE__DAGS_FOLDER": str(folder / "dags"),
            "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
            "METRICS__STATSD_ON": "True",
            "METRICS__STATSD_PORT": str(statsd),
            "METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "METRICS__LEGACY_NAMES_ON": "False",
            "OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "OPENLINEAGE__NAMESPACE": "test",
        }
        return {
            **os.environ,
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW_CONN_MAIL": json.dumps(smtp),
            "WINNOW_ALARMS": "smtp:mail#team@example.org",
            "WINNOW_CAMPAIGN": str(folder / "campaign.yaml"),
            "WINNOW_LAKE": str(folder / "lake"),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), str(ROOT / "include")]),
        }

    def run(self, env: dict[str, str], *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    with mail_server() as mail, statsd_server() as statsd:
        return Ran(tmp_path_factory.mktemp("run"), mail, statsd)


def test_a_run_that_fails_twice_is_told_once(ran: Ran) -> None:
    states = [line.split()[1] for line in ran.said.splitlines() if line.startswith("STATE")]
    assert states == ["success", "failed", "failed"]
    [(to, message)] = ran.mail
    assert to == "team@example.org"
    wanted = "Winnow small 2026-11-23: A setting, a file or a credential is wrong"
    assert message["Subject"] == wanted
    assert "airflow dags clear small.ingest_prompts" in body_of(message)


@pytest.mark.skipif(find_spec("statsd") is None, reason="the StatsD client is not installed")
def test_a_stage_that_is_done_is_counted_once(ran: Ran) -> None:
    ours = [line for line in ran.statsd if line.startswith("airflow.winnow.")]
    assert sorted(ours) == [
        "airflow.winnow.prompts,campaign=small:2|c",
        "airflow.winnow.quarantined_prompts,campaign=small:1|c",
    ]


def test_lineage_of_a_stage_has_its_files_and_tables(ran: Ran) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    events: list[dict[str, Any]] = [
        json.loads(line) for line in ran.lineage.read_text().splitlines()
    ]
    [ours] = [event for event in events if event["eventType"] == "RUNNING" and event["outputs"]]
    assert ours["job"]["name"] == "small.ingest_prompts.ingest_files"
    [start] = [
        event
        for event in events
        if event["eventType"] == "START" and event["run"] == ours["run"] | event["run"]
    ][:1]
    assert start["run"]["runId"] == ours["run"]["runId"]
    assert [each["name"].rpartition("/")[2] for each in ours["inputs"]] == ["a.jsonl"]
    by_name = {each["name"]: each for each in ours["outputs"]}
    prompts = by_name["small/ingest/prompts"]
    assert prompts["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert len(prompts["facets"]["version"]["datasetVersion"]) == 64
