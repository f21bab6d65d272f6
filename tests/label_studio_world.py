"""Label Studio's side of the vendor contract: people who answer over its REST API, and its books.

It drives the real server and the fake one alike.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from winnow.label.vendors.label_studio.client import LabelStudioVendor

from .vendor_faults import FaultyTransport, Strike
from .vendor_world import Can

TOKEN = "0123456789abcdef0123456789abcdef01234567"


def chosen(choice: str) -> list[dict[str, Any]]:
    """The result of an annotation, as the page sends it."""
    return [_part("choice", "choices", {"choices": [choice]})]


def ordered(*ids: str) -> list[dict[str, Any]]:
    """The result of a ranking, as the page sends it; without ids a skip, which it sends beside."""
    given = {"from_name": "order", "to_name": "responses", "type": "ranker"}
    order = {**given, "value": {"ranker": {"order": list(ids or ("any",))}}}
    skip = {"from_name": "skip", "to_name": "task", "type": "choices"}
    return [order] if ids else [order, {**skip, "value": {"choices": ["skip"]}}]


def rated(choice: str, a: int, b: int, why: str) -> list[dict[str, Any]]:
    """The same with the first dimension rated, and a reason."""
    return [
        *chosen(choice),
        _part("rating_0_a", "rating", {"rating": a}),
        _part("rating_0_b", "rating", {"rating": b}),
        _part("rationale", "textarea", {"text": [why]}),
    ]


def _part(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "response_a", "type": kind, "value": value}


class LabelStudioWorld:
    """The server at `url`; `count_held` looks up in its own tables how often a task is there."""

    can = Can(misdeliver=False, account_keys=False)
    n_tasks = 3
    n_paged = 5

    def __init__(
        self, url: str, transport: httpx.BaseTransport, count_held: Callable[[str], int]
    ) -> None:
        self.url, self.transport, self._count_held = url, transport, count_held
        self._passed = timedelta()
        self._users: dict[str, int] = {}
        self._http = httpx.Client(
            base_url=url, transport=transport, headers={"Authorization": f"Token {TOKEN}"}
        )

    def connect(self, strike: Strike | None = None, token: str | None = None) -> LabelStudioVendor:
        inner = self.transport
        transport = inner if strike is None else FaultyTransport(inner, strike)
        vendor = LabelStudioVendor(self.url, token or TOKEN, transport, lambda _: None, self.now)
        vendor.max_request, vendor.page_size = 2, 3
        return vendor

    def now(self) -> datetime:
        return datetime.now(UTC) + self._passed

    def answer(self, ref: str, task_id: str, annotator: str, choice: str) -> None:
        self.annotate(self.numbers(ref)[task_id], annotator, result=chosen(choice))

    def annotate(self, number: int, annotator: str, **fields: Any) -> dict[str, Any]:
        """An annotation of `annotator` on a task, by the server's number of it."""
        body = {"completed_by": self.user(annotator), "lead_time": 4.5, **fields}
        return self.ask("POST", f"/api/tasks/{number}/annotations/", body)

    def edit(self, ref: str, task_id: str, choice: str) -> None:
        number = self._annotation(ref, task_id)
        self.ask("PATCH", f"/api/annotations/{number}/", {"result": chosen(choice)})

    def retract(self, ref: str, task_id: str) -> None:
        self.ask("DELETE", f"/api/annotations/{self._annotation(ref, task_id)}/")

    def expire(self, ref: str) -> None:
        self._passed += timedelta(days=8)

    def times_held(self, task_id: str) -> int:
        return self._count_held(task_id)

    def charged(self, ref: str) -> int:
        paid: dict[tuple[str, int], int] = {}
        for task in self.tasks(ref):
            kept = task["meta"]["winnow"]
            for annotation in task["annotations"]:
                if "task_id" in kept and not annotation["was_cancelled"]:
                    paid[kept["task_id"], annotation["completed_by"]] = kept["price"]
        return sum(paid.values())

    def user(self, name: str) -> int:
        """The number of a user, who is made if need be."""
        if name not in self._users:
            email = f"u{name.encode().hex()}@example.com"
            found = {u["email"]: u["id"] for u in self.ask("GET", "/api/users/")}
            body = {"email": email, "username": email.split("@")[0][:30], "first_name": name[:30]}
            self._users[name] = found.get(email) or self.ask("POST", "/api/users/", body)["id"]
        return self._users[name]

    def numbers(self, ref: str) -> dict[str, int]:
        """The server's number of each task by its id."""
        return {
            task["meta"]["winnow"]["task_id"]: task["id"]
            for task in self.tasks(ref)
            if "task_id" in task["meta"]["winnow"]
        }

    def tasks(self, ref: str) -> list[dict[str, Any]]:
        """Everything that the server holds of a project's tasks."""
        params = {"project": ref, "fields": "all", "page_size": 1000}
        return list(self.ask("GET", "/api/tasks/", params=params)["tasks"])

    def ask(self, method: str, path: str, body: Any = None, params: Any = None) -> Any:
        """Call the server as its owner."""
        answer = self._http.request(method, path, json=body, params=params)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _annotation(self, ref: str, task_id: str) -> int:
        (task,) = [t for t in self.tasks(ref) if t["meta"]["winnow"].get("task_id") == task_id]
        return int(task["annotations"][0]["id"])
