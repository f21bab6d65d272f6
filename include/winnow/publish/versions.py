"""Dataset versions: immutable, numbered without gaps, each holding all labels so far.

    datasets/NAME/objects/                files by content, written once (`objects`)
    datasets/NAME/versions/v000007.json   the manifest; creating it is the act of publishing
    datasets/NAME/v000007/                the version for whoever knows no manifest (`layout`)
    datasets/NAME/latest.json             pointer to the newest version
    datasets/NAME/latest/README.md        its card, by which trainers load it

Two publishers that reach for one number are decided by the create-only manifest: the loser reads
again and builds on the winner. What comes after that line (folder, pointer) follows from the
manifest alone, so whoever is run again finishes it. A batch is published once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from winnow.batch import Artifact
from winnow.errors import Corrupt
from winnow.ids import canonical_json, digest
from winnow.lake import Lake
from winnow.publish.compaction import batches_of, compacted
from winnow.publish.layout import CARD as CARD
from winnow.publish.layout import MANIFEST, lay_out, show_latest
from winnow.publish.layout import REPORT as REPORT
from winnow.publish.objects import Shelf
from winnow.publish.probe import require_conditional_writes
from winnow.stored import RESTORE, as_json, parsed, read_sealed, refuse_lost, sealed_json, typed

Card = Callable[["Version"], str]
"""A page of a version that is about to be: its text."""

_MANIFEST = re.compile(r"v\d{6,}\.json")


@dataclass(frozen=True, slots=True)
class Rollback:
    """Why a version is the one named `to` again, and who wanted it."""

    to: str
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class Version:
    """One published version. `files` maps names in its folder to stored objects.

    `withdrawn` holds the batches that were published and that a rollback took out; no later version
    takes them in again, unless by another rollback. `paid` is what the labels of all its batches
    cost, micro-dollars; None where that is not known, as of older versions.
    """

    dataset: str
    number: int
    parent: int | None
    batches: tuple[str, ...]
    files: Mapping[str, Artifact]
    figures: Mapping[str, Any]
    published_at: str
    withdrawn: tuple[str, ...] = ()
    rollback: Rollback | None = None
    paid: int | None = None

    @property
    def name(self) -> str:
        """`v` and six digits."""
        return f"v{self.number:06d}"

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents of the data files: equal data, equal digest."""
        data = {name: a.sha256 for name, a in self.files.items() if name.startswith("data/")}
        return digest(canonical_json(data))

    @property
    def folder(self) -> str:
        """Where the version's folder lies in the lake."""
        return f"datasets/{self.dataset}/{self.name}"

    def n_rows(self, view: str) -> int:
        """Rows of a view over all its shards."""
        return sum(a.n_rows for n, a in self.files.items() if n.startswith(f"data/{view}/"))

    def n_new_rows(self, view: str) -> int:
        """Rows of a view that the newest batch brought, which has files of its own."""
        return sum(
            a.n_rows for name, a in self.new_files.items() if name.startswith(f"data/{view}/")
        )

    @property
    def new_files(self) -> dict[str, Artifact]:
        """The data files that the newest batch brought, by name."""
        newest = self.batches[-1] if self.batches else ""
        return {
            name: artifact
            for name, artifact in self.files.items()
            if name.startswith("data/") and batches_of(name) == (newest, newest)
        }

    def to_bytes(self) -> bytes:
        """The manifest as JSON, with the digest in it for readers."""
        return sealed_json({**as_json(self), "version": self.name, "digest": self.digest})

    @classmethod
    def from_bytes(cls, data: bytes) -> Version:
        """Read back what `to_bytes` wrote.

        Raises:
            ValueError, TypeError: It is nothing of the kind.
        """
        content = read_sealed(data)
        return typed(cls, {k: v for k, v in content.items() if k not in ("version", "digest")})


def store_object(lake: Lake, dataset: str, data: bytes, suffix: str, n_rows: int = 0) -> Artifact:
    """Put a file of a dataset into its objects, once."""
    return shelf(lake, dataset, newest(lake, dataset)).put(data, suffix, n_rows)


def shelf(lake: Lake, dataset: str, parent: Version | None) -> Shelf:
    """Where the files of the version after `parent` are stored."""
    base, held = (parent.number, parent.files) if parent else (0, {})
    return Shelf(lake, dataset, base, held)


def publish(
    lake: Lake,
    dataset: str,
    batch: str,
    files: Mapping[str, Artifact],
    figures: Mapping[str, Any],
    card: Card,
    now: datetime,
    report: Card | None = None,
    paid: Callable[[Version | None], int | None] = lambda _: None,
    known: Version | None = None,
) -> Version:
    """Publish a batch's files as the next version, or return the version that has the batch.

    `paid` says what all labels cost up to the version that follows one; `known` is a version that
    was read before, likely the newest.

    Raises:
        Retryable: A file was removed as garbage while other batches were published; store it again.
        Fatal: The store does not do conditional writes.
    """
    while True:
        parent = newest(lake, dataset, known)
        if parent is not None and _was_published(batch, parent):
            version = _first_with(lake, dataset, batch, parent)
            break
        objects = shelf(lake, dataset, parent)
        held = compacted(objects, parent) if parent else {}
        files_of_all = {**held, **objects.bring(files)}
        version = _next(dataset, parent, batch, files_of_all, figures, now)
        version = replace(version, paid=paid(parent))
        pages = {CARD: objects.put(card(version).encode(), "md")}
        if report is not None:
            pages[REPORT] = objects.put(report(version).encode(), "html")
        version = replace(version, files={**version.files, **pages})
        if commit(lake, version):
            break
    finish(lake, version)
    return version


def commit(lake: Lake, version: Version) -> bool:
    """The act of publishing; False if another version has the number.

    Raises:
        Fatal: The store does not do conditional writes.
        Corrupt: A version of this number was published and its manifest is lost.
    """
    require_conditional_writes(lake)
    path = manifest_path(version.dataset, version.number)
    refuse_lost(lake, path, [f"{version.folder}/{MANIFEST}"])
    return lake.create(path, version.to_bytes())


def finish(lake: Lake, version: Version) -> None:
    """What follows from a committed version: its folder, and what tells which one is the newest."""
    lay_out(lake, version, manifest_path(version.dataset, version.number))
    show_latest(lake, version)
    _point_to(lake, version)


def is_finished(lake: Lake, version: Version) -> bool:
    """Whether a committed version has its folder, and the pointer is at it or further."""
    number, _ = _pointed_to(lake, version.dataset)
    return bool(number >= version.number) and lake.exists(f"{version.folder}/{MANIFEST}")


def newest(lake: Lake, dataset: str, known: Version | None = None) -> Version | None:
    """The version with the highest number, or None before the first.

    A manifest names every file of every night: one that is `known` is not read again.

    Raises:
        Corrupt: A version is lost: one that the pointer names, or one before another.
    """
    number = newest_number(lake, dataset)
    if known is not None and known.number == number:
        return known
    return read_version(lake, dataset, number) if number else None


def newest_number(lake: Lake, dataset: str) -> int:
    """Number of the newest version, 0 before the first. Goes on from the pointer, which may lag.

    Raises:
        Corrupt: The manifest of a version is lost and that of a later one is there.
    """
    number, _ = _pointed_to(lake, dataset)
    folder = f"datasets/{dataset}/versions"
    for name in lake.names(folder, after=_file_name(number) if number else ""):
        if _MANIFEST.fullmatch(name):
            number += 1
            if name != _file_name(number):
                raise Corrupt(
                    f"{lake.uri}/{folder}/{_file_name(number)} is missing, though {name} was made "
                    f"after it; {RESTORE}."
                )
    return number


def read_version(lake: Lake, dataset: str, number: int) -> Version:
    """A version by its number.

    Raises:
        Corrupt: The manifest is missing, or not the one that was published under the number.
    """
    path = manifest_path(dataset, number)
    try:
        stored = lake.read(path)
    except FileNotFoundError as error:
        raise Corrupt(
            f"{lake.uri}/{path}, the manifest of version {number} of {dataset}, is missing; "
            f"{RESTORE}."
        ) from error
    version = parsed(lake, path, Version.from_bytes, stored)
    if version.number != number or json.loads(stored).get("digest") != version.digest:
        raise Corrupt(f"{lake.uri}/{path} does not match its own number and digest; restore it.")
    return version


def _next(
    dataset: str,
    parent: Version | None,
    batch: str,
    files: Mapping[str, Artifact],
    figures: Mapping[str, Any],
    now: datetime,
) -> Version:
    """The version after `parent` that has these files, but for the pages of the parent."""
    return Version(
        dataset=dataset,
        number=parent.number + 1 if parent else 1,
        parent=parent.number if parent else None,
        batches=(*(parent.batches if parent else ()), batch),
        files={name: file for name, file in files.items() if name not in (CARD, REPORT)},
        figures=figures,
        published_at=now.isoformat(timespec="seconds"),
        withdrawn=parent.withdrawn if parent else (),
    )


def _was_published(batch: str, version: Version) -> bool:
    """Whether some version up to this one brought the batch."""
    return batch in version.batches or batch in version.withdrawn


def _first_with(lake: Lake, dataset: str, batch: str, version: Version) -> Version:
    """The version that brought `batch`, going back from a later one, past rollbacks."""
    first = version
    while version.parent is not None and _was_published(batch, version):
        version = read_version(lake, dataset, version.parent)
        if batch in version.batches:
            first = version
    return first


def _point_to(lake: Lake, version: Version) -> None:
    """Move the pointer forward to the version; one that is further already stays."""
    target = sealed_json(
        {"number": version.number, "version": version.name, "digest": version.digest}
    )
    while True:
        number, tag = _pointed_to(lake, version.dataset)
        if number >= version.number:
            return
        if lake.swap(_pointer_path(version.dataset), target, tag):
            return


def _pointed_to(lake: Lake, dataset: str) -> tuple[int, str | None]:
    """The number that the pointer names, 0 before the first, and the tag to swap against."""
    path = _pointer_path(dataset)
    data, tag = lake.read_tagged(path)
    if data is None:
        return 0, tag
    return parsed(lake, path, _number, data), tag


def _number(data: bytes) -> int:
    number = read_sealed(data)["number"]
    if type(number) is not int or number < 1:
        raise ValueError("no version's number")
    return number


def manifest_path(dataset: str, number: int) -> str:
    """Where the manifest of a version lies in the lake."""
    return f"datasets/{dataset}/versions/{_file_name(number)}"


def _file_name(number: int) -> str:
    return f"v{number:06d}.json"


def _pointer_path(dataset: str) -> str:
    return f"datasets/{dataset}/latest.json"
