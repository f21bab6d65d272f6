"""docker/compose.yaml as Compose reads it: anchors merged, variables put in, images' ENV below."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).resolve().parents[1] / "docker"
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Z_0-9]+)(?:(:?-)([^}]*))?\})")


@dataclass(frozen=True)
class Service:
    """What a container of a service is started with."""

    name: str
    image: str
    command: list[str]
    environment: dict[str, str]
    replicas: int
    restart: str
    raw: Mapping[str, Any]


def services(variables: Mapping[str, str]) -> dict[str, Service]:
    """Every service, also those of profiles, with `variables` as the .env file."""
    found = read(variables)["services"]
    return {name: _service(name, raw) for name, raw in found.items()}


def read(variables: Mapping[str, str]) -> dict[str, Any]:
    """The whole file with its variables put in."""
    content = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return dict(_filled_in(content, variables))


def image_environment(dockerfile: str) -> dict[str, str]:
    """What a Dockerfile's ENV sets."""
    lines = stages(dockerfile)[-1]
    words = [w for line in lines if line.startswith("ENV ") for w in shlex.split(line)[1:]]
    return dict(word.split("=", 1) for word in words)


def stages(dockerfile: str) -> list[list[str]]:
    """A Dockerfile's instructions, each on one line, by stage; first what stands before a FROM."""
    lines = (DOCKER / dockerfile).read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    found: list[list[str]] = [[]]
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("FROM "):
            found.append([])
        if line:
            found[-1].append(line)
    return found


def _filled_in(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def put_in(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        if name is None:
            return "$"
        given = variables.get(name)
        return given if given or (given == "" and kind == "-") else (default or "")

    return _VARIABLE.sub(put_in, value)


def _service(name: str, raw: Mapping[str, Any]) -> Service:
    return Service(
        name,
        raw["image"],
        [str(word) for word in raw.get("command", [])],
        {key: str(value) for key, value in raw.get("environment", {}).items()},
        int(raw.get("deploy", {}).get("replicas", 1)),
        raw["restart"],
        raw,
    )
