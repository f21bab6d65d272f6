"""Airflow's connections, read without Airflow where its environment names them.

Others are asked of Airflow's own command line, in a process of its own. Nothing here is printed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from winnow.ingest.values import Unreadable, read_json
from winnow.label.vendor import VendorAccount

LAST_PORT = (1 << 16) - 1
OWN_EXTRA = ("webhook_secret", "webhook_header", "annotator_salt")
"""Winnow's own secrets in a vendor's connection, which its client does not get."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What Winnow reads of an Airflow connection; its secrets are kept out of `repr`."""

    conn_type: str
    host: str
    port: int | None
    login: str
    password: str = field(repr=False)
    extra: Mapping[str, Any] = field(repr=False)
    schema: str = ""

    @property
    def url(self) -> str:
        """Its address: scheme (http unless it says another), host, port; a folder stays one."""
        host = self.host or "127.0.0.1"
        if host.startswith("/"):
            return host
        base = host if "://" in host else f"{self.schema or 'http'}://{host}"
        return f"{base}:{self.port}" if self.port else base

    def account(self) -> VendorAccount:
        """The vendor's account that it describes."""
        extra = {name: value for name, value in self.extra.items() if name not in OWN_EXTRA}
        return VendorAccount(self.url, self.password, self.login, extra)


def find_connection(conn_id: str, seconds: float) -> Connection | None:
    """A connection by its id: from the environment, else from Airflow; None if there is none.

    Raises:
        ValueError: It is there and cannot be read.
        TimeoutError: Airflow did not answer within `seconds`.
        LookupError: Airflow is not installed here, and the environment does not name it.
    """
    named = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
    if named is not None:
        return parse_connection(named)
    if find_spec("airflow") is None:
        raise LookupError(conn_id)
    stored = airflow_json(["connections", "get", conn_id], seconds)
    return _from_fields(stored[0]) if stored else None


def airflow_json(arguments: list[str], seconds: float) -> list[dict[str, Any]]:
    """What a command of Airflow answers as JSON; nothing where it fails.

    Raises:
        TimeoutError: It did not end within `seconds`.
    """
    command = [sys.executable, "-m", "airflow", *arguments, "--output", "json"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        # The exception would quote what the command printed.
        raise TimeoutError from None
    start = done.stdout.find("[")
    if done.returncode or start < 0:
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(done.stdout[start:])
    except ValueError:
        return []
    return rows


def parse_connection(text: str) -> Connection:
    """A connection as Airflow's environment has it: JSON, or a URI.

    >>> parse_connection("http://:secret@labels.example:8080/?annotator_salt=x").url
    'http://labels.example:8080'

    Raises:
        ValueError: It is neither.
    """
    if text.lstrip().startswith("{"):
        return _from_fields(_object(text))
    parts = urlsplit(text)
    if not parts.scheme:
        raise ValueError("no scheme")
    return Connection(
        conn_type=parts.scheme,
        host=unquote(parts.hostname or ""),
        port=parts.port,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        extra=dict(parse_qsl(parts.query)),
        schema=unquote(parts.path.strip("/")),
    )


def _object(text: str) -> Mapping[str, Any]:
    """A JSON object; its message quotes nothing."""
    try:
        content = read_json(text)
    except Unreadable as error:
        raise ValueError(error.reason) from None
    if not isinstance(content, dict):
        raise ValueError("not an object")
    return content


def _from_fields(fields: Mapping[str, Any]) -> Connection:
    extra = fields.get("extra", fields.get("extra_dejson")) or {}
    if isinstance(extra, str):
        extra = _object(extra)
    port = fields.get("port")
    port = "" if port in (None, "None") else str(port)
    if not re.fullmatch("[0-9]{0,5}", port) or int(port or 0) > LAST_PORT:
        raise ValueError("port")
    return Connection(
        conn_type=str(fields.get("conn_type") or ""),
        host=str(fields.get("host") or ""),
        port=int(port) if port else None,
        login=str(fields.get("login") or ""),
        password=str(fields.get("password") or ""),
        extra=extra if isinstance(extra, Mapping) else {},
        schema=str(fields.get("schema") or ""),
    )
