"""A model that judges, behind the vendor contract: any OpenAI-compatible server, vLLM's too.

The connection: `url` is the server's address, `token` its key, if it has one; `extra.books` a
folder or `s3://bucket/prefix` for the books of what was asked, which is the folder `judge` of the
lake (`WINNOW_LAKE`) where it is not said. The campaign says which model, and how it is asked
(`label.judge`).

A batch is a folder as `file_drop` keeps it. `launch` asks all that it holds, and may be repeated:
what has a verdict is not asked again. It works until all is asked, so it belongs into a process
that may be busy; every other call looks at the books alone. What always holds: `books` says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np

from winnow.addresses import ServerAddress
from winnow.chat_server import opening_calls
from winnow.errors import Fatal
from winnow.flight import Patience
from winnow.ingest.values import read_json
from winnow.label.vendor import BatchState, BatchStatus, LabelVendor, VendorAccount
from winnow.label.vendors.file_drop.folder import (
    BatchFolder,
    FolderVendor,
    counted,
    open_books,
)
from winnow.label.vendors.judge.asking import Asking
from winnow.label.vendors.judge.books import Account, Books, Entries
from winnow.lake import Lake

BOOKS = "judge"
"""Folder of the lake for the books where the connection names none."""


def connect(account: VendorAccount) -> LabelVendor:
    """The judge at the account's address.

    Raises:
        Fatal: The address or the key cannot be used, or there is no place for the books.
    """
    address = ServerAddress(account.url, account.token)
    opening_calls(address).close()
    return JudgeVendor(open_books(account, "judge", BOOKS), address)


class JudgeVendor(FolderVendor):
    """The judge at `server`, its books in `store`."""

    name = "judge"
    names_people = True
    files_in_a_page = 100

    def __init__(
        self,
        store: Lake,
        server: ServerAddress,
        now: Callable[[], datetime] | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(store, now)
        self._server, self._patience, self._books = server, patience, Books(store)
        self.place = f"{server.url}, books in {store.uri}"

    def launch(self, ref: str) -> None:
        """Ask all tasks that have no verdict; returns when they are asked, or none is wanted.

        Raises:
            Retryable: The server fails, or another process asks them.
            Fatal: The batch's terms name no judge, or the server refuses the key or the model.
        """
        folder = self._launched(ref)
        account = self._books.account(folder)
        wanted = folder.launched().keys() - account.answered
        if not wanted or folder.is_cancelled or self._is_due(folder):
            return
        judge = folder.terms.judge
        if judge is None:
            raise Fatal(f"Batch {ref} was opened without label.judge: nobody is asked.")
        asking = Asking(
            self._server,
            judge,
            Entries(self._store, folder, account),
            lambda: self._store.exists(f"{ref}/cancelled.json") or self._is_due(folder),
            self._now,
            self._patience,
        )
        asking.run(self._tasks(folder, wanted), len(wanted), _budget(folder))

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands, by the books; a request that is open counts as charged."""
        folder = self._look(ref)
        account, tasks = self._books.account(folder), folder.tasks()
        state = self._state(folder, account)
        places = [tasks.ids.place(task_id) for task_id in account.answered]
        answered = np.array(sorted(p for p in places if p is not None), np.intp)
        status = counted(state, tasks, answered, (), account.most)
        most = max(status.charged, _budget(folder))
        return replace(status, committed=min(status.committed, most))

    def _state(self, folder: BatchFolder, account: Account) -> BatchState:
        if folder.is_cancelled:
            return "cancelled"
        if not folder.manifests:
            return "draft"
        is_done = not folder.tasks().keys() - account.answered
        if is_done or self._books.spent(folder):
            return "complete"
        return "expired" if self._is_due(folder) else "open"

    def _is_due(self, folder: BatchFolder) -> bool:
        return self._now() >= folder.terms.deadline

    def _tasks(self, folder: BatchFolder, wanted: set[str]) -> Iterator[dict[str, Any]]:
        """The tasks that are `wanted`, as they stand in the manifests."""
        launched = folder.launched()
        for path in folder.manifests:
            with self._store.local(path) as manifest, manifest.open("rb") as text:
                for place, line in zip(launched.places(path), text, strict=True):
                    task_id = launched.line(place).task_id
                    if task_id in wanted:
                        wanted.remove(task_id)
                        yield read_json(line)

    def _answer_paths(self, folder: BatchFolder) -> list[str]:
        return folder.below("verdicts")

    def _records(self, folder: BatchFolder, paths: Sequence[str], passed: int) -> Iterator[bytes]:
        return islice(self._books.records(paths), passed, None)


def _budget(folder: BatchFolder) -> int:
    """Most that the batch may be charged, micro-dollars; beyond it nothing is asked."""
    budget = folder.terms.budget
    return sum(task.price for task in folder.tasks().values()) if budget is None else budget
