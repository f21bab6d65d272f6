"""Anybody who opens a link, behind the vendor contract: a page of ours deals out the tasks.

The connection: `url` is the address of the page, to which a link's text is added; `token` the
secret that signs links, random and kept. `extra.books` is a folder or `s3://bucket/prefix` for who
was given what and said what: the folder `links` of the lake (`WINNOW_LAKE`) where it is not said.
`extra.worker_parameter` names the parameter in which a crowd's site says who opens a link, such as
`PROLIFIC_PID`; `extra.completion_url` is where it wants them when they are done, `{code}` in it
their completion code.

A batch is a folder as `file_drop` keeps it. `desk` says how tasks are given and answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice

import numpy as np

from winnow.addresses import holds_secret
from winnow.calls import is_callable
from winnow.errors import Fatal
from winnow.ids import canonical_json
from winnow.label.vendor import BatchState, BatchStatus, BatchTerms, LabelVendor, VendorAccount
from winnow.label.vendors.file_drop.folder import (
    BatchFolder,
    FolderVendor,
    counted,
    open_books,
)
from winnow.label.vendors.links.desk import Desk, answered_keys, task_key
from winnow.label.vendors.links.tokens import Link, Signer
from winnow.lake import Lake

BOOKS = "links"
"""Folder of the lake for the books where the connection names none."""
INDEX = "index"
"""Folder of the books with a file for each batch."""
_AT_ONCE = 16
"""Answers that are read at the same time."""


def connect(account: VendorAccount) -> LabelVendor:
    """The page at the account's address.

    Raises:
        Fatal: The address or the secret cannot be used, or there is no place for the books.
    """
    return links_vendor(account)


def links_vendor(account: VendorAccount) -> LinksVendor:
    """`connect`, for who needs more than the contract."""
    if not is_callable(account.url) or holds_secret(account.url):
        raise Fatal(
            "The host of the links vendor's connection must be the address of its page, such as "
            "https://airflow.example.org/winnow-links, without a password."
        )
    books = open_books(account, "links vendor", BOOKS)
    vendor = LinksVendor(books, account.url, Signer(account.token))
    vendor.worker_parameter = account.extra.get("worker_parameter") or ""
    done = account.extra.get("completion_url") or ""
    if done and not (done.startswith(("https://", "http://")) and is_callable(done)):
        raise Fatal("extra.completion_url of the links vendor's connection must be a URL.")
    vendor.completion_url = done
    return vendor


class LinksVendor(FolderVendor):
    """The page at `url`, its books in `store`, its links by `signer`."""

    name = "links"
    names_people = True
    files_in_a_page = 100
    worker_parameter = ""
    completion_url = ""

    def __init__(
        self,
        store: Lake,
        url: str,
        signer: Signer,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        super().__init__(store, now)
        self.url, self.signer = url.rstrip("/"), signer
        self.place = f"{self.url}, books in {store.uri}"
        self.desk = Desk(store, self._look, self.now)

    def now(self) -> datetime:
        """The time by which links expire."""
        return self._now()

    def address(self, link: Link) -> str:
        """Where a link leads."""
        return f"{self.url}/{self.signer.token(link)}"

    def batches(self) -> list[str]:
        """Refs of the batches that take answers, by name."""
        found = []
        for ref in self._store.names(INDEX):
            folder = self.desk.batch(ref)
            if not self.desk.is_closed(folder) and self.desk.n_free(folder):
                found.append(ref)
        return found

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or make the folder of `batch_key`, and note that it is there."""
        ref = super().open_batch(batch_key, terms)
        self._store.create(f"{INDEX}/{ref}", canonical_json({"batch_key": batch_key}))
        return ref

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands, by the answers that are there."""
        folder = self._look(ref)
        tasks, keys = folder.tasks(), answered_keys(folder)
        places = [place for place, task in enumerate(tasks.ids) if task_key(task) in keys]
        answered = np.array(places, np.intp)
        state = self._state(folder, len(tasks) - len(answered))
        return counted(state, tasks, answered, ())

    def _state(self, folder: BatchFolder, n_open: int) -> BatchState:
        if folder.is_cancelled:
            return "cancelled"
        if not folder.manifests:
            return "draft"
        if not n_open:
            return "complete"
        return "open" if self._now() < folder.terms.deadline else "expired"

    def _answer_paths(self, folder: BatchFolder) -> list[str]:
        return folder.below("answers")

    def _records(self, folder: BatchFolder, paths: Sequence[str], passed: int) -> Iterator[bytes]:
        # A file an answer: a store that is far away is asked for several at once.
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(self._read, islice(paths, passed, None))
