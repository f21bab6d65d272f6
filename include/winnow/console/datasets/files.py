"""Files for a browser: a version's quality report, a batch's Data Docs, and downloads in pieces.

Always holds: only an object that a manifest or a verdict names is served, so no path of a
request reaches the store; the last piece is held back until the whole was held against its digest,
so that a file that arrives whole is the one that was published. No served file may run a script or
load an address.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from winnow.batch import Artifact, batch_folder, is_key
from winnow.campaign import Campaign
from winnow.console.datasets.figures import Opened, dataset_asked, open_version
from winnow.console.shell import NotFound
from winnow.errors import Corrupt
from winnow.lake import Lake
from winnow.operate.data_docs import data_docs_of
from winnow.publish.objects import stored_after
from winnow.publish.versions import REPORT

_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
}
_ANY_TYPE = "application/octet-stream"

_SANDBOX = "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'"
_REPORT_POLICY = f"{_SANDBOX}; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""The report's own policy, in its head, allows one style by digest; the stricter of both holds."""

_STRANGE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Served:
    """What goes to the browser: headers, and the bytes piece by piece."""

    headers: Mapping[str, str]
    chunks: Iterator[bytes]


def report_of(lake: Lake, campaign: Campaign, query: Mapping[str, str]) -> Served:
    """The quality report of the version that `dataset` and `version` of the query name.

    Raises:
        NotFound: There is no such version, or it has no report.
        Corrupt: While the chunks are read: the stored report is not the published one.
    """
    version = _version(lake, campaign, query)
    artifact = version.artifact(REPORT)
    if artifact is None:
        raise NotFound(f"{version.dataset} {version.name} has no quality report.")
    return _page(lake, artifact, stored_after(artifact.path) is not None)


def data_docs(lake: Lake, campaign: Campaign, query: Mapping[str, str]) -> Served:
    """The Data Docs of the batch that `key` of the query names.

    Raises:
        NotFound: The campaign has no such batch, or there are none of it.
        Corrupt: While the chunks are read: the stored page is not the one of the verdict.
    """
    key = query.get("key", "")
    artifact = data_docs_of(lake, campaign.name, key) if is_key(key) else None
    if artifact is None:
        raise NotFound("There are no Data Docs of this batch.")
    folder = f"{batch_folder(campaign.name, key)}/"
    return _page(lake, artifact, artifact.path.startswith(folder))


def file_of(lake: Lake, campaign: Campaign, query: Mapping[str, str]) -> Served:
    """The file `name` of a version, to be saved.

    Raises:
        NotFound: There is no such version, or its manifest names no such file.
        Corrupt: While the chunks are read: the stored file is not the published one.
    """
    version = _version(lake, campaign, query)
    name = query.get("name", "")
    artifact = version.artifact(name)
    if artifact is None:
        raise NotFound(f"{version.dataset} {version.name} has no file {name[:200]}.")
    saved_as = _STRANGE.sub("_", f"{version.dataset}-{version.name}-{name.replace('/', '-')}")
    headers = {
        **_headers(artifact, _TYPES.get(name.rpartition(".")[2], _ANY_TYPE)),
        "Content-Disposition": f'attachment; filename="{saved_as}"',
        "Content-Security-Policy": _SANDBOX,
    }
    return Served(headers, _checked(lake, artifact, stored_after(artifact.path) is not None))


def _page(lake: Lake, artifact: Artifact, is_own: bool) -> Served:
    headers = {
        **_headers(artifact, "text/html; charset=utf-8"),
        "Content-Security-Policy": _REPORT_POLICY,
    }
    return Served(headers, _checked(lake, artifact, is_own))


def _version(lake: Lake, campaign: Campaign, query: Mapping[str, str]) -> Opened:
    dataset = dataset_asked(query, campaign.publish.dataset)
    return open_version(lake, dataset, query.get("version", ""))


def _headers(artifact: Artifact, content_type: str) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "Content-Type": content_type,
        "Content-Length": str(artifact.n_bytes),
        "Repr-Digest": f"sha-256=:{digest}:",
        "ETag": f'"{artifact.sha256}"',
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
    }


def _checked(lake: Lake, artifact: Artifact, is_own: bool) -> Iterator[bytes]:
    """The object's bytes; its first piece is read now, so that one that is gone says so in time.

    One that lies elsewhere than what names it (`is_own` is false) is not followed.
    """
    if not is_own:
        raise NotFound("The manifest names no object of its own for this file.")
    pieces = iter(lake.chunks(artifact.path))
    try:
        first = next(pieces, b"")
    except FileNotFoundError as error:
        raise NotFound(
            "The file is named by its manifest but missing from the lake; restore it."
        ) from error
    return _held_back(lake, artifact, first, pieces)


def _held_back(
    lake: Lake, artifact: Artifact, first: bytes, rest: Iterator[bytes]
) -> Iterator[bytes]:
    sha256 = hashlib.sha256(first)
    held = first
    for piece in rest:
        sha256.update(piece)
        yield held
        held = piece
    if sha256.hexdigest() != artifact.sha256:
        raise Corrupt(f"{lake.uri}/{artifact.path} does not match its digest; restore it.")
    yield held
