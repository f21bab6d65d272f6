"""A real night tells its metrics, its lineage, its trace and, if it fails, whoever is named: once.

`DAG.test` runs the five DAGs of a night one after another, then the first one again for a day
whose files are gone.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from datetime import datetime
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from winnow.ids import trace_id
from winnow.stages.tasks import STAGE_OF

from ..integration.simulated import TOKEN, simulator
from .listeners import Heard, body_of, mail_server, statsd_server, trace_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DAGS = ["ingest_prompts", "expand_pools", "select_pairs", "label_pairs", "publish_dataset"]
NIGHT, BROKEN = "2026-11-22", "2026-11-23"
SPEC = os.environ.get("WINNOW_OPENLINEAGE_SPEC", "")
SCRIPT = """
import sys
from datetime import timedelta
from pathlib import Path
from airflow.cli.cli_parser import get_parser
from airflow.dag_processing.dagbag import DagBag
from airflow.models import dagrun
from winnow.errors import Retryable
from winnow.stages import expand
from winnow_airflow import polling

migrate = get_parser().parse_args(["db", "migrate"])
migrate.func(migrate)
folder, inbox, night, broken, *names = sys.argv[1:]
dags, inbox = DagBag(folder).dags, Path(inbox)
made, generate = dagrun.get_or_create_dagrun, expand.generate


def keyed(**given):
    # As the scheduler makes them; `DAG.test` knows no partitions.
    run = made(**given)
    run.partition_key = given["conf"]["partition"]
    given["session"].commit()
    return run


def away(*_):
    expand.generate = generate
    raise Retryable("the engine is away")


def run(name, day):
    dag = dags[f"small.{name}"]
    # `DAG.test` cannot read one back.
    dag.deadline = None
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
    print("STATE", dag.test(run_conf={"partition": day}).state)


dagrun.get_or_create_dagrun, expand.generate = keyed, away
# No scheduler beats here.
polling.SETTLE_SECONDS = 0.0
for name in names:
    run(name, night)
inbox.rename(inbox.with_name("away"))
for _ in range(2):
    run(names[0], broken)
# What is done returns at once and hands on again.
run(names[2], night)
"""
CAMPAIGN = """
name: small
ingest: {{sources: [{inbox}]}}
expand: {{engine: brought, model: fleet, features: [text]}}
select: {{pairs_per_prompt: 2}}
label: {{budget_usd: 5, poll_seconds: 1}}
validation: {{min_agreement_block: 0.0, max_side_bias_block: 0.5, data_docs: false}}
publish: {{dataset: small}}
"""
PROVIDER = "apache-airflow-providers-openlineage"
needs_openlineage = pytest.mark.skipif(
    not any(each.name == PROVIDER for each in distributions()),
    reason=f"{PROVIDER} is not installed",
)
WORDS = "tide salt moss river bread stone wool slowly never because carries rises under towards"


class Ran:
    """What came of the runs, and what was sent about them."""

    def __init__(self, folder: Path, **heard: Heard) -> None:
        inbox = folder / "inbox"
        inbox.mkdir()
        rows: list[Any] = [{"prompt": f"Why is the {c} blue?", "responses": said()} for c in "abcd"]
        (inbox / "a.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, 42]))
        (folder / "campaign.yaml").write_text(CAMPAIGN.format(inbox=inbox))
        self.lineage, dags = folder / "lineage.jsonl", folder / "dags"
        dags.mkdir()
        for name in DAGS:
            (dags / f"{name}.py").symlink_to(ROOT / "dags" / f"{name}.py")
        ports = {name: each.port for name, each in heard.items()}
        with simulator(folder / "books.sqlite", "--speed", "100000") as vendor:
            env = self.environment(folder, ports, vendor.url)
            self.said = self.run(env, "-c", SCRIPT, str(dags), str(inbox), NIGHT, BROKEN, *DAGS)
        self.mail, self.statsd, self.spans = (list(each.items) for each in heard.values())

    def environment(self, folder: Path, ports: dict[str, int], vendor: str) -> dict[str, str]:
        no_tls = {"disable_ssl": True, "disable_tls": True, "from_email": "w@x.org"}
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": ports["mail"], "extra": no_tls}
        place = urlsplit(vendor)
        account = {"conn_type": "http", "host": place.hostname, "port": place.port}
        transport = {"type": "file", "log_file_path": str(self.lineage), "append": True}
        settings = {
            "CORE__DAGS_FOLDER": str(folder / "dags"),
            "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
            "METRICS__STATSD_ON": "True",
            "METRICS__STATSD_PORT": str(ports["statsd"]),
            "METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "METRICS__LEGACY_NAMES_ON": "False",
            "OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "OPENLINEAGE__NAMESPACE": "test",
            "TRACES__OTEL_ON": "True",
        }
        return {
            **os.environ,
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW_CONN_MAIL": json.dumps(smtp),
            "AIRFLOW_CONN_WINNOW_VENDOR": json.dumps({**account, "password": TOKEN}),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports['spans']}",
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
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

    def events(self) -> list[dict[str, Any]]:
        """What was told of lineage, in order."""
        return [json.loads(line) for line in self.lineage.read_text().splitlines()]


def said() -> list[str]:
    """A pool of different responses."""
    draw = random.Random(len(WORDS))
    return [" ".join(draw.sample(WORDS.split(), 9)).capitalize() for _ in range(5)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    with mail_server() as mail, statsd_server() as statsd, trace_server() as spans:
        return Ran(tmp_path_factory.mktemp("run"), mail=mail, statsd=statsd, spans=spans)


def test_a_run_that_fails_twice_is_told_once(ran: Ran) -> None:
    states = [line.split()[1] for line in ran.said.splitlines() if line.startswith("STATE")]
    assert states == [*["success"] * 5, "failed", "failed", "success"]
    [(to, message)] = ran.mail
    assert to == "team@example.org"
    wanted = f"Winnow small {BROKEN}: A setting, a file or a credential is wrong"
    assert message["Subject"] == wanted
    assert "airflow dags clear small.ingest_prompts" in body_of(message)


@pytest.mark.skipif(find_spec("statsd") is None, reason="the StatsD client is not installed")
def test_a_stage_that_is_done_is_counted_once(ran: Ran) -> None:
    ours = [line for line in ran.statsd if line.startswith("airflow.winnow.")]
    assert "airflow.winnow.prompts,campaign=small:4|c" in ours
    assert "airflow.winnow.quarantined_prompts,campaign=small:1|c" in ours
    assert "airflow.winnow.version,campaign=small:1|g" in ours
    assert set(Counter(line.partition(",")[0] for line in ours).values()) == {1}


@needs_openlineage
def test_lineage_of_a_stage_has_its_files_and_tables(ran: Ran) -> None:
    events = ran.events()
    [ours] = [
        event
        for event in events
        if event["eventType"] == "RUNNING" and "ingest" in str(event["job"])
    ]
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
    assert prompts["outputFacets"]["outputStatistics"]["rowCount"] == 4
    assert len(prompts["facets"]["version"]["datasetVersion"]) == 64


@needs_openlineage
def test_lineage_leads_from_the_file_to_the_published_version(ran: Ran) -> None:
    made: dict[tuple[str, str], Any] = {}
    came: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for event in ran.events():
        read = {(each["namespace"], each["name"]): each for each in event["inputs"]}
        for name, each in read.items():
            if name in made:
                assert each["facets"]["version"] == made[name]["facets"]["version"]
        for each in event["outputs"]:
            name = each["namespace"], each["name"]
            made[name] = each
            came.setdefault(name, set()).update(read)
    [published] = [name for name in made if name[1] == "datasets/small"]
    seen, left = set(), [published]
    while left:
        if (name := left.pop()) not in seen:
            seen.add(name)
            left += came.get(name, ())
    [source] = seen - made.keys()
    assert source[0] == "file" and source[1].endswith("/a.jsonl")
    tables = ("ingest/brought", "expand/responses", "select/comparisons", "label/annotations")
    assert {f"small/{table}" for table in tables} <= {name for _, name in seen}


@needs_openlineage
def test_every_event_is_one_that_openlineage_takes(ran: Ran) -> None:
    """What https://openlineage.io/spec/2-0-2/OpenLineage.json asks of a run's event."""
    events = ran.events()
    kinds = {"START", "RUNNING", "COMPLETE", "FAIL"}
    assert {event["eventType"] for event in events} == kinds
    for event in events:
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert "OpenLineage.json#/$defs/RunEvent" in event["schemaURL"]
        assert event["producer"].startswith("https://")
        UUID(event["run"]["runId"])
        assert event["job"]["namespace"] and event["job"]["name"]
        facets = [event["run"]["facets"], event["job"]["facets"]]
        for each in (*event["inputs"], *event["outputs"]):
            assert each["namespace"] and each["name"]
            own = [each.get(kind) or {} for kind in ("facets", "inputFacets", "outputFacets")]
            facets += own
        for facet in (facet for some in facets for facet in some.values()):
            assert {"_producer", "_schemaURL"} <= facet.keys()


@pytest.mark.skipif(not SPEC, reason="WINNOW_OPENLINEAGE_SPEC: the folder `spec` of OpenLineage's")
def test_every_event_and_facet_keeps_the_schema_that_it_names(ran: Ran) -> None:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    files = [Path(SPEC) / "OpenLineage.json", *(Path(SPEC) / "facets").glob("*.json")]
    schemas = {file.name: json.loads(file.read_text()) for file in files}
    known = [(each["$id"], Resource.from_contents(each)) for each in schemas.values()]
    registry: Registry[Any] = Registry().with_resources(known)

    def check(value: Any, url: str) -> None:
        file, _, part = url.partition("#")
        schema = {"$ref": f"{schemas[file.rpartition('/')[2]]['$id']}#{part}"}
        Draft202012Validator(schema, registry=registry).validate(value)

    for event in ran.events():
        check(event, event["schemaURL"])
        some = [event["run"]["facets"], event["job"]["facets"]]
        for each in (*event["inputs"], *event["outputs"]):
            some += [each.get(kind) or {} for kind in ("facets", "inputFacets", "outputFacets")]
        for facet in (facet for facets in some for facet in facets.values()):
            check(facet, facet["_schemaURL"])


def test_a_night_is_one_trace_from_its_prompts_to_its_rows(ran: Ran) -> None:
    trace = bytes.fromhex(trace_id("small", NIGHT))
    ours = [span for scope, span in ran.spans if scope == "winnow" and span.trace_id == trace]
    of_id = {span.span_id: span for span in ours}
    assert len(of_id) == len(ours)
    [root] = [span for span in ours if not span.parent_span_id]
    assert root.name == f"batch small {NIGHT}"
    above = {span.name: of_id[span.parent_span_id].name for span in ours if span is not root}
    stages = dict.fromkeys(STAGE_OF.values(), root.name)
    tried = {name.partition("[")[0]: stage for name, stage in above.items() if name not in stages}
    assert above.items() >= stages.items()
    assert tried.items() <= STAGE_OF.items()
    assert {"ingest_files", "generate_responses", "wait_for_vendor", "refit_posterior"} <= set(
        tried
    )
    begun, ended = root.start_time_unix_nano, root.end_time_unix_nano
    later = {span.name for span in ours if span.start_time_unix_nano > ended}
    assert later == {"select", "wait_for_turn", "choose_pairs"}, "what was run again"
    for span in ours:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.start_time_unix_nano <= ended:
            assert begun <= span.start_time_unix_nano and span.end_time_unix_nano <= ended


def test_a_trace_tells_figures_tries_and_failures(ran: Ran) -> None:
    ours = [span for scope, span in ran.spans if scope == "winnow"]
    night = [span for span in ours if span.trace_id.hex() == trace_id("small", NIGHT)]
    figures = {span.name: {each.key: each.value for each in span.attributes} for span in night}
    assert figures["ingest"]["winnow.rows_out"].int_value == 4
    assert figures["ingest"]["winnow.quarantined"].int_value == 1
    assert figures["generate_responses[0]"]["winnow.prompts"].int_value == 4
    assert figures["gather_pools"]["winnow.tokens"].int_value == 0
    assert figures["collect_annotations"]["winnow.cost_usd"].double_value > 0.0
    assert figures["refit_posterior"]["winnow.version"].int_value == 1
    root = figures[f"batch small {NIGHT}"]
    assert root["winnow.label.cost_usd"] == figures["label"]["winnow.cost_usd"]
    shards = [span for span in ours if span.name == "generate_responses[0]"]
    failed, fine = sorted(shards, key=lambda span: span.start_time_unix_nano)
    assert (failed.status.code, failed.status.message) == (2, "the engine is away")
    assert fine.status.code == 1 and fine.parent_span_id == failed.parent_span_id
    # Each of the two runs of the day that failed has its stage; the batch is told of after each.
    broken = [span for span in ours if span.trace_id.hex() == trace_id("small", BROKEN)]
    assert Counter(span.name for span in broken) == {
        f"batch small {BROKEN}": 2,
        "ingest": 2,
        "ingest_files": 2,
    }
    assert {span.status.code for span in broken} == {2}
    assert len({span.span_id for span in broken}) == 5


def test_a_stage_is_linked_with_airflows_own_trace_of_the_run(ran: Ran) -> None:
    airflows = {span.trace_id for scope, span in ran.spans if scope != "winnow"}
    for _, stage in (each for each in ran.spans if each[0] == "winnow"):
        if stage.name in STAGE_OF.values():
            [link] = stage.links
            assert link.trace_id in airflows
