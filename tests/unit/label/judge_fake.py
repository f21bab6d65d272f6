"""A judge for tests: its server on loopback, and its books as the contract moves them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from winnow.addresses import ServerAddress
from winnow.campaign import Judge
from winnow.ids import content_id
from winnow.label.vendor import BatchTerms, DeliveredAnnotation
from winnow.label.vendors.file_drop.folder import FolderVendor
from winnow.label.vendors.judge.books import Books, Entries
from winnow.label.vendors.judge.client import JudgeVendor
from winnow.label.vendors.judge.prompt import PROBE
from winnow.lake import Lake

from ...vendor_faults import Strike
from ...vendor_world import Can
from .folder_world import FolderWorld
from .lake_fake import FaultyLake

MODEL = "tiny"
NOWHERE = ServerAddress("http://127.0.0.1:9")


class _Held(JudgeVendor):
    """Launched, but not asked: the tests of the contract say themselves when a verdict comes."""

    def launch(self, ref: str) -> None:
        FolderVendor.launch(self, ref)


@dataclass
class JudgeWorld(FolderWorld):
    """A judge of which the test says what it answers, and when."""

    store: Lake
    clock: datetime = datetime(2026, 11, 22, tzinfo=UTC)
    can = Can(
        edit=False,
        retract=False,
        misdeliver=False,
        odd_choices=False,
        account_keys=False,
        refuse_tokens=False,
        name_people=False,
        choices=("a", "b", "tie", "skip"),
    )
    n_tasks = 3
    n_paged = 4

    def connect(self, strike: Strike | None = None, token: str | None = None) -> JudgeVendor:
        store = self.store if strike is None else FaultyLake(self.store, strike)
        vendor = _Held(store, NOWHERE, self.now)
        vendor.max_request, vendor.files_in_a_page = 2, 1
        return vendor

    def answer(self, ref: str, task_id: str, annotator: str, choice: str) -> None:
        folder = self.connect()._look(ref)
        price = folder.launched()[task_id].price
        entries = Entries(self.store, folder, Books(self.store).account(folder))
        verdict = DeliveredAnnotation(
            annotation_id=content_id("verdict", task_id),
            task_id=task_id,
            annotator=MODEL,
            choice=choice,
            finished_at=self.clock,
            price=price,
            model=MODEL,
        )
        entries.close(entries.begin([task_id], price), price, [verdict])

    def charged(self, ref: str) -> int:
        return sum(closed["charged"] for closed in closings(self.store, ref))


def closings(store: Lake, ref: str) -> list[dict[str, Any]]:
    """What the books say of each group of tasks that is closed."""
    paths = sorted(p for p in store.tags(ref) if "/verdicts/" in p)
    return [json.loads(store.read(path)) for path in paths]


@dataclass(frozen=True)
class Question:
    """A question as the server sees it: its parts between the lines with the mark."""

    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @property
    def mark(self) -> str:
        """The mark that the first line in brackets after the preface holds."""
        line = next(each for each in self.lines if each.endswith(" PROMPT]"))
        return line.removeprefix("[").removesuffix(" PROMPT]")

    @property
    def fences(self) -> list[str]:
        """The lines that hold the mark, but for the preface that names it."""
        return [line for line in self.lines if line.startswith(f"[{self.mark} ")]

    @property
    def sides(self) -> tuple[str, str]:
        """What stands as response A, and as response B."""
        _, rest = self.text.split(f"[{self.mark} RESPONSE A]\n")
        first, rest = rest.split(f"\n[{self.mark} RESPONSE B]\n")
        second, _ = rest.split(f"\n[{self.mark} END]\n")
        return first, second


def completion(
    content: str | None,
    logs: Mapping[str, float] | None = None,
    reason: str = "length",
    usage: tuple[int, int] | None = (300, 1),
    **message: Any,
) -> dict[str, Any]:
    """An answer: its text, log-probabilities by token, tokens read and written."""
    top = [{"token": token, "logprob": log} for token, log in (logs or {}).items()]
    told = {"content": [{"token": content, "logprob": 0.0, "top_logprobs": top}]} if logs else None
    answer: dict[str, Any] = {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": reason,
                "logprobs": told,
            }
        ]
    }
    if usage is not None:
        answer["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return answer


def chances(a: float, b: float, tie: float = 0.001) -> dict[str, float]:
    """Log-probabilities of the labels that are as likely as said."""
    return {"A": math.log(a), "B": math.log(b), "C": math.log(tie)}


Script = Callable[[Question, Mapping[str, Any]], dict[str, Any]]


def answering(script: Script) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A server's answers: to the probe and to questions about tokens as they should be."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if "prompt" in body:
            return {"tokens": [1000 + ord(body["prompt"][-1]) + 500 * (len(body["prompt"]) - 1)]}
        text = body["messages"][0]["content"]
        if text == PROBE:
            told = chances(0.9, 0.05) if body.get("logprobs") else None
            return completion("A", told, usage=(20, 1))
        return script(Question(text), body)

    return answer


def is_task(body: Mapping[str, Any]) -> bool:
    """Whether a request asks for a verdict."""
    return "messages" in body and body["messages"][0]["content"] != PROBE


def judge_terms(deadline: datetime, **settings: Any) -> BatchTerms:
    """Terms under which a judge is asked."""
    named = {"model": MODEL, "concurrency": 4, "timeout_seconds": 5.0, **settings}
    return BatchTerms("Which helps more?", "h-1", (), deadline, judge=Judge(**named))


def verdicts(records: Iterable[bytes]) -> dict[str, DeliveredAnnotation]:
    """The annotations in records by task; each task once."""
    read = [DeliveredAnnotation.model_validate_json(record) for record in records]
    assert len({each.task_id for each in read}) == len(read)
    return {each.task_id: each for each in read}


def asked_sides(bodies: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The sides of each question for a verdict."""
    return [Question(b["messages"][0]["content"]).sides for b in bodies if is_task(b)]
