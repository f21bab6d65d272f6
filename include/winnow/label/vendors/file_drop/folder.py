"""A batch as files below one folder: what vendors that take files share.

What always holds: every object that Winnow writes is written once. A task is in the batch when it
is a line of a part below `input/`, and is asked when it is a line of a manifest; a manifest holds
what no earlier one does, so that over all manifests each task is one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from winnow.errors import Corrupt, Fatal, Retryable
from winnow.ids import canonical_json, digest
from winnow.ingest.values import Unreadable, read_json, tidy
from winnow.label.vendor import (
    BatchState,
    BatchStatus,
    BatchTerms,
    Price,
    TaskRequest,
    VendorAccount,
)
from winnow.label.vendors.container import container_name
from winnow.lake import Lake, aws_client, open_lake

_REF = re.compile(r"[a-z0-9-]{1,63}")
_MANIFEST = re.compile(r"input(-\d{4,})?\.manifest")
_TERMS = TypeAdapter(BatchTerms)
_PRICE: TypeAdapter[int] = TypeAdapter(Price)
_TRIES = 5


@dataclass(frozen=True, slots=True)
class AskedLine:
    """A task as it stands in a part or a manifest; `line` is what the vendor reads."""

    task_id: str
    price: int
    line: bytes


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """The folder `ref` of a batch in `store`, which was opened before."""

    store: Lake
    ref: str
    terms: BatchTerms
    paths: tuple[str, ...]
    """All objects below the folder, sorted, at the time it was looked at."""

    @property
    def is_cancelled(self) -> bool:
        """True after `cancel`."""
        return f"{self.ref}/cancelled.json" in self.paths

    @property
    def manifests(self) -> list[str]:
        """Paths of the manifests, in the order in which they were launched."""
        names = [p.removeprefix(f"{self.ref}/") for p in self.paths]
        found = [name for name in names if _MANIFEST.fullmatch(name)]
        return [f"{self.ref}/{name}" for name in sorted(found, key=lambda n: (len(n), n))]

    def below(self, folder: str) -> list[str]:
        """Paths of the objects below a folder of the batch, sorted."""
        return [path for path in self.paths if path.startswith(f"{self.ref}/{folder}/")]

    def tasks(self) -> dict[str, AskedLine]:
        """All tasks of the batch by id; of twins that two writers made, the first."""
        return _by_id(line for path in self.below("input") for line in self.lines(path))

    def launched(self) -> dict[str, AskedLine]:
        """The tasks that the vendor is asked for."""
        return _by_id(line for path in self.manifests for line in self.lines(path))

    def lines(self, path: str) -> list[AskedLine]:
        """The tasks in a part or a manifest.

        Raises:
            Corrupt: Somebody changed the file.
        """
        try:
            return [_asked(line) for line in self.store.read(path).splitlines()]
        except (Unreadable, KeyError, TypeError, ValidationError) as error:
            raise Corrupt(
                f"{self.store.uri}/{path} is not as Winnow wrote it; look who writes there."
            ) from error

    def add(self, tasks: Sequence[TaskRequest]) -> None:
        """Put those of `tasks` that the batch does not hold into a new part."""
        held = self.tasks()
        lines = [input_line(t, self.terms) for t in tasks if t.task_id not in held]
        if lines:
            part = b"".join(lines)
            number = len(self.below("input")) + 1
            self.store.create(f"{self.ref}/input/{number:04d}-{digest(part)[:16]}.jsonl", part)

    def cancel(self, reason: str, at: datetime) -> None:
        """Say that no more answers are wanted; the first reason stays."""
        note = canonical_json({"reason": reason, "at": at.isoformat()})
        self.store.create(f"{self.ref}/cancelled.json", note)


def open_store(account: VendorAccount) -> Lake:
    """Where the account's files are: a folder, or `s3://bucket/prefix`.

    On S3 `login` and `token` are the access key, both empty for the machine's own credentials;
    `extra.endpoint_url` and `extra.region` say which service.

    Raises:
        Fatal: The address is empty or of an unknown kind.
    """
    if not account.url:
        raise Fatal("Set the vendor's connection to a folder or to s3://bucket/prefix.")
    on_s3 = account.url.startswith("s3://")
    return open_lake(account.url, account_client("s3", account) if on_s3 else None)


def account_client(service: str, account: VendorAccount) -> Any:
    """A client of an AWS service with the account's credentials; raises as `aws_client`."""
    return aws_client(
        service,
        aws_access_key_id=account.login or None,
        aws_secret_access_key=account.token or None,
        endpoint_url=account.extra.get("endpoint_url"),
        region_name=account.extra.get("region"),
    )


def read_delivered(store: Lake, path: str, most_bytes: int) -> bytes:
    """A file that a vendor left, which may be of any size.

    Raises:
        FileNotFoundError: It is gone.
        Fatal: It has more than `most_bytes`.
    """
    data = store.part(path, 0, most_bytes + 1)
    if len(data) > most_bytes:
        raise Fatal(
            f"{store.uri}/{path} has more than {most_bytes >> 20:,} MiB, which is the largest file "
            "that is read: let the vendor split it, or move it away."
        )
    return data


def make_folder(store: Lake, batch_key: str, terms: BatchTerms, longest: int = 63) -> str:
    """Find or make the folder of `batch_key`; the first terms stay."""
    ref = container_name(batch_key, longest)
    about = {"batch_key": batch_key, "terms": _TERMS.dump_python(terms, mode="json")}
    store.create(f"{ref}/batch.json", canonical_json(about))
    return ref


def look_at(store: Lake, ref: str) -> BatchFolder:
    """The batch's folder as it is now; raises as `read_terms`."""
    return BatchFolder(store, ref, read_terms(store, ref), tuple(sorted(store.tags(ref))))


def read_terms(store: Lake, ref: str) -> BatchTerms:
    """The terms under which the batch's folder was made.

    Raises:
        Fatal: There is no such batch.
        Corrupt: Its `batch.json` is not as Winnow wrote it.
    """
    try:
        about = store.read(f"{ref}/batch.json") if _REF.fullmatch(ref) else None
    except FileNotFoundError:
        about = None
    if about is None:
        raise Fatal(f"{store.uri} holds no batch {ref}: was the vendor's connection changed?")
    try:
        return _TERMS.validate_python(json.loads(about)["terms"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise Corrupt(f"{store.uri}/{ref}/batch.json is not as Winnow wrote it.") from error


def write_manifest(store: Lake, ref: str) -> BatchFolder:
    """Launch every task that no manifest asks for; the folder as it is afterwards.

    Raises:
        Retryable: Others launch the same batch at the same time.
    """
    for _ in range(_TRIES):
        folder = look_at(store, ref)
        launched, tasks = folder.launched(), folder.tasks()
        missing = [task.line for task_id, task in tasks.items() if task_id not in launched]
        number = len(folder.manifests) + 1
        if folder.is_cancelled or (number > 1 and not missing):
            return folder
        name = "input.manifest" if number == 1 else f"input-{number:04d}.manifest"
        store.create(f"{ref}/{name}", b"".join(line + b"\n" for line in missing))
    raise Retryable(f"{store.uri}/{ref} is being launched by another process; try again later.")


def input_line(task: TaskRequest, terms: BatchTerms) -> bytes:
    """A task as a line of JSON, with the `source` that Ground Truth wants in each."""
    fields = {"source": task.task_id, **asdict(task), "dimensions": list(terms.dimensions)}
    return canonical_json(fields) + b"\n"


def counted(
    state: BatchState,
    tasks: Mapping[str, AskedLine],
    answered: Collection[str],
    charged: int | None = None,
) -> BatchStatus:
    """The status of a batch in `state`; once it ended, what is not answered has expired.

    `charged` is what its answers cost, the tasks' prices if absent.
    """
    n_open = len(tasks) - len(answered)
    n_pending = n_open if state in ("draft", "open") else 0
    due = sum(tasks[task_id].price for task_id in answered)
    unanswered = sum(task.price for task in tasks.values()) - due
    charged = due if charged is None else charged
    return BatchStatus(
        state=state,
        n_tasks=len(tasks),
        n_answered=len(answered),
        n_expired=n_open - n_pending,
        n_pending=n_pending,
        charged=charged,
        committed=charged + (unanswered if n_pending else 0),
        expected_done_at=None,
    )


def _asked(line: bytes) -> AskedLine:
    """A task that a line asks for; one whose price is none was not written by Winnow."""
    fields = tidy(read_json(line), "line")
    return AskedLine(str(fields["task_id"]), _PRICE.validate_python(fields["price"]), line)


def _by_id(lines: Iterable[AskedLine]) -> dict[str, AskedLine]:
    found: dict[str, AskedLine] = {}
    for line in lines:
        found.setdefault(line.task_id, line)
    return found
