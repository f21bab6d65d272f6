"""The links vendor for tests: its books, its page without a server, and people with browsers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import count
from typing import Any

from starlette.testclient import TestClient

from winnow.label.vendors.links.app import create_app
from winnow.label.vendors.links.client import LinksVendor
from winnow.label.vendors.links.desk import Said, task_key
from winnow.label.vendors.links.tokens import Link, Signer
from winnow.lake import Lake

from ...vendor_faults import Strike
from ...vendor_world import Can
from .folder_world import FolderWorld
from .lake_fake import FaultyLake

SECRET, URL = "secret-of-the-tests", "http://links.test"


@dataclass
class LinksWorld(FolderWorld):
    """People who are given links to tasks, and answer them as the test says."""

    store: Lake
    clock: datetime = field(default_factory=lambda: datetime.now(UTC))
    worker_parameter: str = ""
    can = Can(
        edit=False,
        retract=False,
        misdeliver=False,
        odd_choices=False,
        account_keys=False,
        refuse_tokens=False,
    )
    n_tasks = 3
    n_paged = 4

    def connect(self, strike: Strike | None = None, token: str | None = None) -> LinksVendor:
        store = self.store if strike is None else FaultyLake(self.store, strike)
        vendor = LinksVendor(store, URL, Signer(SECRET), self.now)
        vendor.max_request, vendor.files_in_a_page = 2, 1
        vendor.worker_parameter = self.worker_parameter
        # Every look is a new one: what is known of the others may be seconds old.
        vendor.desk._clock = count(0, 60).__next__
        return vendor

    def link(self, ref: str, worker: str = "", days: float = 1, **told: Any) -> str:
        """The text of a link."""
        expires = int((self.clock + timedelta(days=days)).timestamp())
        return Signer(SECRET).token(Link(expires, ref, worker, **told))

    def answer(self, ref: str, task_id: str, annotator: str, choice: str) -> None:
        desk = self.connect().desk
        link = Link(2**40, ref, annotator, task=task_id)
        turn = desk.turn(link)
        assert turn.task is not None and turn.task.task_id == task_id
        desk.answer(link, task_key(task_id), lambda _: Said(choice, {}, {}, None))

    def charged(self, ref: str) -> int:
        return sum(each["price"] for each in self.answers(ref))

    def answers(self, ref: str) -> list[dict[str, Any]]:
        """Every answer in the books."""
        paths = [path for path in self.store.tags(ref) if "/answers/" in path]
        return [json.loads(self.store.read(path)) for path in paths]

    def app(self, **told: Any) -> Any:
        """The page."""
        told = {"link_minute": 10_000, "vendors": [self.connect()], **told}
        vendors = told.pop("vendors")
        return create_app(lambda: vendors, **told)


class Browser:
    """Somebody's browser, with its cookies and without script."""

    def __init__(self, app: Any) -> None:
        self.http = TestClient(app, base_url=URL)

    def open(self, token: str, **query: str) -> Any:
        """The page of a link, where that leads."""
        self.page = self.http.get(f"/{token}", params=query)
        return self.page

    def begin(self, token: str, **query: str) -> Any:
        """Open a link, and press the button of its first page."""
        self.open(token, **query)
        return self.send({})

    def send(self, fields: Mapping[str, str], form: Mapping[str, str] | None = None) -> Any:
        """Send the form of the page that is shown, with its hidden fields or others."""
        action = re.search(r'<form method="post" action="([^"]+)"', self.page.text)
        assert action is not None, self.page.text
        sent = {**(self.hidden() if form is None else form), **fields}
        self.page = self.http.post(str(self.page.url.join(action[1])), data=sent)
        return self.page

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the page's form."""
        found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.page.text)
        return {name: unescape(value) for name, value in found}

    @property
    def task(self) -> str | None:
        """The key of the task that is shown."""
        return self.hidden().get("task")
