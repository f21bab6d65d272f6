"""Versions of a dataset as the pages tell of them: small summaries of manifests that may be large.

A version's manifest names every file of every batch, thousands where there were many nights. What
is kept of one is a few numbers; the manifest itself is read again by the page of that one version.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from winnow.batch import Artifact
from winnow.console.memory import Memory
from winnow.console.shell import NotFound
from winnow.errors import Corrupt
from winnow.ids import canonical_json, digest
from winnow.lake import Lake
from winnow.publish import versions
from winnow.publish.versions import Rollback

_DATASET = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VERSION = re.compile(r"v?0*([1-9][0-9]{0,8})")
_FOLDER = re.compile(r"datasets/([a-z0-9][a-z0-9_-]{0,62})/v\d+")


@dataclass(frozen=True, slots=True)
class Summary:
    """One version in a few words.

    Attributes:
        number: 1 and up, without gaps.
        published_at: None where the manifest has no readable time.
        n_batches: Nights whose labels are in it.
        newest_batch: The last one that came in; empty where there is none.
        n_withdrawn: Batches that a rollback took out and no later version holds.
        rows: Rows by view.
        n_files: Files of the version's folder.
        n_bytes: Their bytes.
        digest: SHA-256 over the data files.
        whole: Whether number and digest in the manifest are those of its contents.
        verdict: What the gate said of the newest batch; None: not judged.
        cost: What the newest batch's labels cost, micro-dollars; None: not known.
        rollback: Set where the version is an older one again.
    """

    number: int
    published_at: datetime | None
    n_batches: int
    newest_batch: str
    n_withdrawn: int
    rows: Mapping[str, int]
    n_files: int
    n_bytes: int
    digest: str
    whole: bool
    verdict: str | None
    cost: int | None
    rollback: Rollback | None

    @property
    def name(self) -> str:
        """`v` and six digits."""
        return version_name(self.number)


@dataclass(frozen=True, slots=True)
class Opened:
    """One version's manifest, checked, its files as they stand in it: thousands, few of them shown.

    Attributes:
        dataset: Its dataset.
        summary: What the list of versions tells of it.
        parent: Number of the version before it; None for the first.
        batches: Nights whose labels are in it.
        withdrawn: Batches that a rollback took out.
        figures: Of the newest batch.
        files: `path`, `sha256`, `n_rows` and `n_bytes` of each file, by its name.
    """

    dataset: str
    summary: Summary
    parent: int | None
    batches: Sequence[str]
    withdrawn: Sequence[str]
    figures: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]

    @property
    def number(self) -> int:
        """1 and up."""
        return self.summary.number

    @property
    def name(self) -> str:
        """`v` and six digits."""
        return self.summary.name

    def artifact(self, name: str) -> Artifact | None:
        """One file; None where the manifest names none so."""
        found = self.files.get(name)
        return Artifact(**found) if found is not None else None


def parse_summary(data: bytes) -> Summary:
    """A version's manifest as a summary."""
    return _summary(json.loads(data))


def _summary(content: Mapping[str, Any]) -> Summary:
    told, files = content.get("rollback"), content["files"]
    shards = {name: each["sha256"] for name, each in files.items() if name.startswith("data/")}
    found = digest(canonical_json(shards))
    figures, batches = content["figures"], content["batches"]
    return Summary(
        number=content["number"],
        published_at=_time(content["published_at"]),
        n_batches=len(batches),
        newest_batch=batches[-1] if batches else "",
        n_withdrawn=len(content.get("withdrawn", ())),
        rows=_rows_by_view(files),
        n_files=len(files),
        n_bytes=sum(each["n_bytes"] for each in files.values()),
        digest=found,
        whole=content.get("digest") == found,
        verdict=_text(figures.get("verdict")),
        cost=_whole_number(figures.get("cost")),
        rollback=_cut(Rollback(**told)) if told else None,
    )


def newest_number(lake: Lake, dataset: str, memory: Memory) -> int:
    """Number of the newest version, 0 where there is none; known for a few seconds."""
    return memory.lately(lake, ("newest", dataset), lambda: versions.newest_number(lake, dataset))


def summaries(
    lake: Lake, dataset: str, numbers: Sequence[int], memory: Memory
) -> dict[int, Summary]:
    """Versions by number; one that is gone is left out.

    They are read one after the other: a manifest may take megabytes while it is read.
    """
    found = {n: memory.once(lake, manifest_path(dataset, n), parse_summary) for n in numbers}
    return {number: told for number, told in found.items() if told is not None}


def open_version(lake: Lake, dataset: str, name: str) -> Opened:
    """The version that a query names, such as `v000012` or `12`.

    Raises:
        NotFound: There is no such version.
        Corrupt: Its manifest is not the one that was published.
    """
    number = version_number(name)
    path = manifest_path(dataset, number or 0)
    try:
        content = json.loads(lake.read(path)) if number else None
    except FileNotFoundError:
        content = None
    if content is None:
        raise NotFound(f"No version {name[:40]} in dataset {dataset}.")
    told = _summary(content)
    if told.number != number or not told.whole:
        raise Corrupt(f"{lake.uri}/{path} does not match its own number and digest; restore it.")
    return Opened(
        dataset=dataset,
        summary=told,
        parent=content["parent"],
        batches=content["batches"],
        withdrawn=content.get("withdrawn", ()),
        figures=content["figures"],
        files=content["files"],
    )


def version_number(name: str) -> int | None:
    """The number in a version's name; None where it is no such name.

    >>> version_number("v000012"), version_number("latest")
    (12, None)
    """
    match = _VERSION.fullmatch(name)
    return int(match[1]) if match else None


def version_name(number: int) -> str:
    """`v` and six digits."""
    return f"v{number:06d}"


def dataset_asked(query: Mapping[str, str], default: str) -> str:
    """The dataset that a query names.

    Raises:
        NotFound: That cannot be a dataset's name.
    """
    asked = query.get("dataset") or default
    if not is_dataset(asked):
        raise NotFound(f"No dataset {asked[:40]}.")
    return asked


def is_dataset(name: str) -> bool:
    """Whether a text can name a dataset."""
    return _DATASET.fullmatch(name) is not None


def dataset_of(folder: object) -> str | None:
    """The dataset of a version's folder, as publish manifests name it."""
    match = _FOLDER.fullmatch(folder) if isinstance(folder, str) else None
    return match[1] if match else None


def view_of(name: str) -> str | None:
    """The view that a file of a version belongs to; None for the others."""
    parts = name.split("/")
    return parts[1] if parts[0] == "data" and len(parts) > 2 else None


def manifest_path(dataset: str, number: int) -> str:
    """Where a version's manifest lies."""
    return f"datasets/{dataset}/versions/{version_name(number)}.json"


def _rows_by_view(files: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for name, each in files.items():
        view = view_of(name)
        if view is not None:
            rows[view] += each["n_rows"]
    return dict(rows)


def _cut(rollback: Rollback) -> Rollback:
    """A rollback with texts that fit into a line of a page."""
    return Rollback(rollback.to[:20], rollback.reason[:1000], rollback.by[:200])


def _time(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else None


def _text(value: Any) -> str | None:
    return value[:40] if isinstance(value, str) else None


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
