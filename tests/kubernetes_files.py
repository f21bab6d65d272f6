"""docker/helm-values.yaml and docker/kubernetes as objects; and what the chart makes of them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .compose_file import DOCKER

Object = dict[str, Any]
VALUES = DOCKER / "helm-values.yaml"
_SECTIONS = {
    "migrateDatabaseJob": "migrate",
    "createUserJob": "init",
    "apiServer": "api-server",
    "scheduler": "scheduler",
    "dagProcessor": "dag-processor",
    "triggerer": "triggerer",
}
_COMPONENTS = {"run-airflow-migrations": "migrate", "create-user-job": "init"}


@dataclass(frozen=True)
class Pod:
    """A pod of a service of compose.yaml, or of `migrate`, the chart's own job."""

    service: str
    volumes: list[Object]
    containers: list[Object]  # the last is the one that the pod is for
    security: Object
    token: bool  # whether it may ask Kubernetes' API
    grace: int  # seconds


@cache
def values() -> Object:
    return dict(yaml.safe_load(VALUES.read_text()))


def values_environment() -> dict[str, str]:
    """What the values give to every pod."""
    return by_name(values()["env"])


def by_name(env: list[dict[str, str]]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in env}


def manifests() -> list[Object]:
    """Every object of docker/kubernetes."""
    files = sorted((DOCKER / "kubernetes").glob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def rendered(chart: Path) -> list[Object]:
    """Every object of the chart with our values; needs `helm`."""
    command = ["helm", "template", "winnow", str(chart), "--namespace", "winnow", "-f", str(VALUES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def pods_of_values() -> list[Pod]:
    """What the values say of each pod, without what the chart adds."""
    given = values()
    sections = {service: given[name] for name, service in _SECTIONS.items()}
    sections["worker"] = given["workers"]["celery"]
    found = []
    for service, section in sections.items():
        container = {
            "env": given["env"] + section.get("env", []),
            "volumeMounts": given["volumeMounts"] + section["extraVolumeMounts"],
            "resources": section["resources"],
            "securityContext": given["securityContexts"]["containers"],
        }
        volumes = given["volumes"] + section["extraVolumes"]
        token = section["serviceAccount"]["automountServiceAccountToken"]
        grace = section.get("terminationGracePeriodSeconds", 60)
        security = given["securityContexts"]["pod"]
        found.append(Pod(service, volumes, [container], security, token, grace))
    return found


def pods_of(objects: list[Object]) -> list[Pod]:
    """The pods of Deployments and Jobs."""
    accounts = {
        each["metadata"]["name"]: each for each in objects if each["kind"] == "ServiceAccount"
    }
    found = []
    for each in objects:
        if "template" not in each.get("spec", {}):
            continue
        component, spec = component_of(each), each["spec"]["template"]["spec"]
        account = accounts.get(spec.get("serviceAccountName"), spec)
        found.append(
            Pod(
                _COMPONENTS.get(component, component),
                spec["volumes"],
                [*(spec.get("initContainers") or []), *spec["containers"]],
                spec["securityContext"],
                account.get("automountServiceAccountToken", True),
                spec.get("terminationGracePeriodSeconds", 30),
            )
        )
    return found


def component_of(workload: Object) -> str:
    return str(workload["spec"]["template"]["metadata"]["labels"]["component"])
