"""The chart's values and what stands beside it, as far as they can be judged without a cluster.

`WINNOW_HELM_CHART=folder` names an unpacked chart: then its own schema is asked too and, where
`helm` is on the PATH, the same is asked of what it renders.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ..compose_file import Service, image_environment, services, stages
from ..kubernetes_files import (
    VALUES,
    Object,
    Pod,
    by_name,
    component_of,
    manifests,
    pods_of,
    pods_of_values,
    rendered,
    values,
    values_environment,
)
from .test_compose import GIVEN
from .test_docker import READ_BY_LIBRARIES

CHART = os.environ.get("WINNOW_HELM_CHART", "")
OLDEST = "1.30"
"""The oldest Kubernetes that the chart is for, by its README."""

_PROBE = {"failureThreshold": int, "periodSeconds": int, "timeoutSeconds": int}
_EXEC = {**_PROBE, "command": list}
_JOB = {
    "extraVolumes": list,
    "extraVolumeMounts": list,
    "serviceAccount.automountServiceAccountToken": bool,
    "resources": dict,
}
_POD = {**_JOB, "args": list, "env": list}
_ALWAYS_ON = {"replicas": int, "podDisruptionBudget.enabled": bool}
_LOGS = {"logGroomerSidecar.enabled": bool}
_DISK = {"keda.enabled": bool, "persistence.enabled": bool}


def _below(prefix: str, *groups: dict[str, type]) -> dict[str, type]:
    return {f"{prefix}.{path}": kind for group in groups for path, kind in group.items()}


FIELDS: dict[str, type] = {
    "airflowVersion": str,
    "airflowHome": str,
    "uid": int,
    "gid": int,
    "images.airflow.repository": str,
    "images.airflow.tag": str,
    "images.migrationsWaitTimeout": int,
    "executor": str,
    "data.metadataSecretName": str,
    "data.brokerUrlSecretName": str,
    "fernetKeySecretName": str,
    "jwtSecretName": str,
    "apiSecretKeySecretName": str,
    "enableBuiltInSecretEnvVars.AIRFLOW__CORE__FERNET_KEY": bool,
    "enableBuiltInSecretEnvVars.AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": bool,
    "enableBuiltInSecretEnvVars.AIRFLOW_CONN_AIRFLOW_DB": bool,
    "enableBuiltInSecretEnvVars.AIRFLOW__API__SECRET_KEY": bool,
    "enableBuiltInSecretEnvVars.AIRFLOW__API_AUTH__JWT_SECRET": bool,
    "enableBuiltInSecretEnvVars.AIRFLOW__CELERY__BROKER_URL": bool,
    "enableBuiltInSecretEnvVars.AIRFLOW__CELERY__RESULT_BACKEND": bool,
    "securityContexts.pod": dict,
    "securityContexts.containers": dict,
    "rbac.create": bool,
    "networkPolicies.enabled": bool,
    "env": list,
    "volumes": list,
    "volumeMounts": list,
    **_below("migrateDatabaseJob", _JOB),
    **_below("apiServer", _POD, _ALWAYS_ON),
    "apiServer.networkPolicy.ingress.from": list,
    **_below("apiServer.startupProbe", _PROBE),
    **_below("apiServer.livenessProbe", _PROBE),
    **_below("apiServer.readinessProbe", _PROBE),
    **_below("scheduler", _POD, _ALWAYS_ON, _LOGS),
    "scheduler.terminationGracePeriodSeconds": int,
    **_below("scheduler.startupProbe", _EXEC),
    **_below("scheduler.livenessProbe", _EXEC),
    "dagProcessor.enabled": bool,
    **_below("dagProcessor", _POD, _LOGS),
    **_below("dagProcessor.livenessProbe", _EXEC),
    **_below("triggerer", _POD, _ALWAYS_ON, _LOGS, _DISK),
    **_below("triggerer.livenessProbe", _EXEC),
    **_below("workers.celery", _POD, _ALWAYS_ON, _LOGS, _DISK),
    "workers.celery.waitForMigrations.enabled": bool,
    "workers.celery.hpa.enabled": bool,
    "workers.celery.terminationGracePeriodSeconds": int,
    "workers.celery.livenessProbe.enabled": bool,
    **_below("workers.celery.livenessProbe", _EXEC),
    **_below("createUserJob", _POD),
    "redis.enabled": bool,
    "postgresql.enabled": bool,
    "statsd.enabled": bool,
}
"""What the values set, as chart 1.22.0 documents it (its values.yaml and values.schema.json, the
"Parameters reference" of airflow.apache.org). What a list or a dict holds is Kubernetes' own."""


@pytest.fixture(scope="module")
def found() -> dict[str, Service]:
    return services({})


@pytest.fixture(scope="module")
def chart() -> Path:
    if not CHART:
        pytest.skip("WINNOW_HELM_CHART names no chart")
    return Path(CHART)


@pytest.fixture(scope="module", params=["files", "rendered"])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """Every object of ours; rendered: and of the chart."""
    if request.param == "files":
        return manifests()
    if not shutil.which("helm"):
        pytest.skip("there is no helm")
    return rendered(request.getfixturevalue("chart")) + manifests()


@pytest.fixture
def pods(objects: list[Object]) -> list[Pod]:
    """Every pod of a deployment, by the values where nothing is rendered."""
    known = pods_of(objects)
    return known if of_kind(objects, "Job") else known + pods_of_values()


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def leaves(content: Object, prefix: str = "") -> dict[str, Any]:
    """Dotted path and value of each field of FIELDS, and of what lies at no such path."""
    if prefix in FIELDS or not (isinstance(content, dict) and content):
        return {prefix: content}
    below = [leaves(each, f"{prefix}.{key}".lstrip(".")) for key, each in content.items()]
    return {path: each for found in below for path, each in found.items()}


def test_the_chart_has_every_field_that_is_set() -> None:
    kinds = {path: type(each) for path, each in leaves(values()).items()}
    assert kinds == FIELDS


def test_the_charts_schema_knows_these_fields_and_lets_the_values_pass(chart: Path) -> None:
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    assert f"--version {version} " in VALUES.read_text()
    schema = json.loads((chart / "values.schema.json").read_text())
    jsonschema.validate(values(), schema)
    # It lets words pass that it does not know, here and there.
    for path in FIELDS:
        field = schema
        for key in path.split("."):
            assert key in field["properties"], path
            field = field["properties"][key]
            if "$ref" in field:
                field = schema["definitions"][field["$ref"].removeprefix("#/definitions/")]


def test_kubernetes_knows_every_word(objects: list[Object]) -> None:
    for each in objects:
        kubernetes_validate.validate(each, OLDEST, strict=True)


def test_each_pod_has_the_secrets_of_its_service(pods: list[Pod]) -> None:
    given = {name: set(reasons) for name, reasons in GIVEN.items()} | {"migrate": {"database_url"}}
    for name in ("postgres", "redis", "object-store", "vendor-simulator", "proxy"):
        del given[name]  # yours, or none; the door is an Ingress
    given = {name: secrets for name, secrets in given.items() if secrets}
    mounted = {}
    for pod in pods:
        (volume,) = [each for each in pod.volumes if "secret" in each]
        items = volume["secret"]["items"]
        assert all(each["key"] == each["path"] for each in items), pod.service
        mounted[pod.service] = {each["key"] for each in items}
        for container in pod.containers:
            (mount,) = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
            assert mount["readOnly"] and mount["mountPath"] == "/etc/winnow/secrets", pod.service
            # As files alone: the chart would put them into the environment.
            assert not container.get("envFrom"), pod.service
            assert not [each for each in container["env"] if "valueFrom" in each], pod.service
        told = " ".join(by_name(pod.containers[-1]["env"]).values())
        read_here = set(re.findall(r"/etc/winnow/secrets/([a-z_.]+)", told))
        by_script = {"admin_password", "connections.json"}
        # The chart's checks look for a database everywhere, also where none is mounted.
        assert read_here | {"database_url"} == given[pod.service] - by_script | {"database_url"}
    assert mounted == given
    assert not any(values()["enableBuiltInSecretEnvVars"].values())
    # Workers have no database: neither does the check that waits for its migrations.
    assert values()["workers"]["celery"]["waitForMigrations"] == {"enabled": False}


def test_no_pod_has_rights_that_it_does_not_need(pods: list[Pod], objects: list[Object]) -> None:
    for pod in pods:
        assert not pod.token, pod.service
        assert pod.security["runAsNonRoot"] is True, pod.service
        assert pod.security["seccompProfile"] == {"type": "RuntimeDefault"}
        writable = {each["name"] for each in pod.volumes if "emptyDir" in each}
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }, pod.service
            mounts = container["volumeMounts"]
            places = {each["mountPath"] for each in mounts if each["name"] in writable}
            assert "/tmp" in places, pod.service
            assert places & {"/home/airflow", values()["airflowHome"]}, pod.service
            assert "/run/secrets" not in str(mounts), "Kubernetes puts its own there"
    assert values()["rbac"] == {"create": False}
    for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        assert not of_kind(objects, kind)


def mebibytes(amount: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]+)", amount).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "Mi": 1, "g": 1024, "Gi": 1024}[unit]


def test_every_container_is_bounded_as_in_compose(
    pods: list[Pod], found: dict[str, Service]
) -> None:
    for pod in pods:
        service = found["init" if pod.service == "migrate" else pod.service].raw
        wanted = mebibytes(service["deploy"]["resources"]["limits"]["memory"])
        for container in pod.containers:
            given = container["resources"]
            assert mebibytes(given["limits"]["memory"]) == wanted, pod.service
            assert mebibytes(given["requests"]["memory"]) <= wanted, pod.service
            assert given["requests"]["cpu"], pod.service
        # The chart has no field for these.
        if pod.service not in ("init", "migrate", "api-server"):
            assert pod.grace == int(service["stop_grace_period"].removesuffix("s")), pod.service


def test_pods_are_drained_one_at_a_time(objects: list[Object]) -> None:
    workloads = {component_of(each): each["spec"] for each in of_kind(objects, "Deployment")}
    budgets = {}
    for each in of_kind(objects, "PodDisruptionBudget"):
        wanted = each["spec"]["selector"]["matchLabels"]
        budgets[wanted["component"]] = each["spec"].keys() & {"minAvailable", "maxUnavailable"}
        labels = workloads[wanted["component"]]["template"]["metadata"]["labels"]
        assert wanted.items() <= labels.items(), wanted
    given = values()
    sections = {"apiServer", "scheduler", "triggerer"}
    for section in (*(given[name] for name in sections), given["workers"]["celery"]):
        # Kubernetes refuses one with both, and the chart has set one already.
        assert section["podDisruptionBudget"] == {"enabled": True}
    # The DAG processor is one: a budget would keep its node from being emptied.
    assert budgets == {name: {"maxUnavailable"} for name in workloads.keys() - {"dag-processor"}}


def test_nobody_calls_what_does_not_answer(objects: list[Object]) -> None:
    policies = [each["spec"] for each in of_kind(objects, "NetworkPolicy")]
    assert {"podSelector": {}, "policyTypes": ["Ingress"]} in policies
    ours = values()["apiServer"]["networkPolicy"]["ingress"]["from"]
    callers = ["worker", "gpu-worker"]
    within = {"matchExpressions": [{"key": "component", "operator": "In", "values": callers}]}
    assert [each for each in ours if "podSelector" in each] == [{"podSelector": within}]
    assert all("namespaceSelector" in each or "podSelector" in each for each in ours)
    assert values()["networkPolicies"] == {"enabled": True}
    (gpu,) = [component_of(each) for each in of_kind(manifests(), "Deployment")]
    assert gpu in callers
    # Where the chart lets API servers ask for logs, nobody listens.
    opened = [each for each in policies if "ingress" in each]
    by_component = {each["podSelector"]["matchLabels"]["component"]: each for each in opened}
    assert by_component.keys() <= {"api-server", "worker", "triggerer"}
    for section in (values()["workers"]["celery"], values()["triggerer"]):
        assert "--skip-serve-logs" in section["args"]
    if "api-server" in by_component:
        (rule,) = by_component["api-server"]["ingress"]
        assert rule["from"] == ours and rule["ports"] == [{"port": 8080}]


def test_a_gpu_worker_cannot_ask_a_cloud_for_its_machines_keys() -> None:
    (policy,) = [each["spec"] for each in manifests() if "egress" in each["spec"]]
    (deployment,) = of_kind(manifests(), "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["egress"]
    blocks = [each["ipBlock"] for each in rule["to"] if "ipBlock" in each]
    assert "169.254.169.254/32" in blocks[0]["except"]


def test_the_gpu_worker_is_composes(found: dict[str, Service]) -> None:
    (deployment,) = of_kind(manifests(), "Deployment")
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    service, image = found["gpu-worker"], image_environment("gpu-worker.Dockerfile")
    env = by_name(container["env"])
    assert service.environment.keys() - env.keys() == {"AWS_ENDPOINT_URL_S3"}
    for key, value in env.items():
        here = value.replace("/etc/winnow/secrets/", "/run/secrets/")
        assert here.replace("//winnow-api-server:", "//api-server:") == service.environment[key]
        if key in values_environment() and key != "AIRFLOW__EDGE__API_URL":
            assert value == values_environment()[key], key
    assert "command" not in container and "args" not in container, "the image's own"
    # What it writes to lies outside the image.
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    inside = {each.split(":")[0] for each in service.raw["tmpfs"]}
    inside |= {each.removesuffix(":ro").split(":")[-1] for each in service.raw["volumes"]}
    assert mounts.keys() == inside | {"/dev/shm", "/etc/winnow/secrets"}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes.keys() == set(mounts.values())
    shm = volumes[mounts["/dev/shm"]]["emptyDir"]
    assert shm["medium"] == "Memory"
    assert mebibytes(shm["sizeLimit"]) == mebibytes(service.raw["shm_size"])
    # One GPU, none of which is taken from a worker that still drains.
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["nvidia.com/gpu"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    slots = by_name(values()["createUserJob"]["env"])["WINNOW_GPU_SLOTS"]
    assert spec["replicas"] == int(slots)
    # The image's signal drains; Kubernetes waits until that must have ended.
    assert "STOPSIGNAL SIGINT" in stages("gpu-worker.Dockerfile")[-1]
    assert "lifecycle" not in container
    drain = int(image["AIRFLOW__EDGE__DRAIN_TIMEOUT_SEC"])
    drain += int(image["AIRFLOW__EDGE__DRAIN_KILL_GRACE_SEC"])
    assert drain < pod["terminationGracePeriodSeconds"] < spec["progressDeadlineSeconds"]
    # Each worker has a name of its own: its pod's.
    assert "hostname" not in pod and not pod.get("hostNetwork")
    (health,) = [line for line in stages("gpu-worker.Dockerfile")[-1] if "HEALTHCHECK" in line]
    asked = health.split(" CMD ")[1]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == ["sh", "-c", asked]


def test_the_values_mount_what_they_read_and_scale_nothing_by_themselves() -> None:
    given = values()
    mounts = {mount["mountPath"] for mount in given["volumeMounts"]}
    mounts |= {mount["mountPath"] for mount in given["scheduler"]["extraVolumeMounts"]}
    for value in values_environment().values():
        for place in ("/etc/winnow/secrets", "/campaigns"):
            assert place not in value or place in mounts
    assert given["workers"]["celery"]["keda"] == {"enabled": False}
    assert given["triggerer"]["keda"] == {"enabled": False}
    for part in ("scheduler", "dagProcessor", "triggerer"):
        # Airflow's own image has scripts for these; this one has not.
        assert "/entrypoint" not in str(given[part]["livenessProbe"]["command"])
        assert given[part]["logGroomerSidecar"] == {"enabled": False}
    assert set(READ_BY_LIBRARIES["boto3"]) & values_environment().keys() == {"AWS_DEFAULT_REGION"}
