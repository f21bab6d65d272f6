"""The simulator's pages for people: batches, and each task with its answer and charge.

Every text on them comes from prompts and models and is hostile: it is escaped, and shown as text.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from html import escape

from winnow.label.vendor import BatchStatus
from winnow.label.vendors.simulator.books import Books
from winnow.label.vendors.simulator.hand import HOLD_SECONDS, KEPT, n_by_hand, why_not_waiting
from winnow.label.vendors.simulator.look import dollars, frame, sides, times, turns

TASKS_SHOWN = 200

_HEAD = (
    "<th>Key</th><th>Ref</th><th>State</th><th>Opened (UTC)</th><th class=n>Tasks</th>"
    "<th class=n>Answered</th><th class=n>Unanswered</th><th class=n>Pending</th>"
    "<th class=n>Charged</th>"
)


def overview_page(books: Books) -> str:
    """All batches with their counts and charges."""
    batches = books.batches()
    rows = "".join(_batch_row(batch, books.status(batch["ref"])) for batch in batches)
    table = (
        f'<div class="scroll"><table><thead><tr>{_HEAD}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )
    empty = "<p>No batch yet.</p>"
    return frame("<h2>Batches</h2>" + (table if batches else empty), n_by_hand(books))


def batch_page(books: Books, ref: str, form_token: str) -> str:
    """One batch with its tasks, the first `TASKS_SHOWN` of them, and buttons to answer by hand.

    Raises:
        UnknownBatch: No batch has this ref.
    """
    status = books.status(ref)
    tasks = books.per_task(ref, TASKS_SHOWN)
    more = status.n_tasks - len(tasks)
    can_answer = status.state == "open" and status.n_pending > 0
    start = (
        _button(f"/batch/{ref}/next", form_token, "Answer tasks by hand")
        + f'<p class="soft">The simulated staff leaves {KEPT} tasks to you for '
        f"{HOLD_SECONDS / 60:.0f} minutes and goes on with the rest.</p>"
    )
    return frame(
        f'<p><a href="/">All batches</a></p><h2>Batch {escape(ref)}</h2><p>{_sentence(status)}</p>'
        + (start if can_answer else "")
        + "".join(_task(task, form_token) for task in tasks)
        + (f'<p class="soft">{more} more tasks are not shown here.</p>' if more > 0 else ""),
        n_by_hand(books),
    )


def _batch_row(batch: sqlite3.Row, status: BatchStatus) -> str:
    ref = escape(batch["ref"])
    opened = datetime.fromtimestamp(batch["opened_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    counts = (status.n_tasks, status.n_answered, status.n_expired, status.n_pending)
    cells = "".join(f"<td class=n>{count}</td>" for count in counts)
    return (
        f'<tr><td>{escape(batch["batch_key"])}</td><td><a href="/?batch={ref}">{ref}</a></td>'
        f"<td>{status.state}</td><td>{opened}</td>{cells}"
        f"<td class=n>{dollars(status.charged)}</td></tr>"
    )


def _sentence(status: BatchStatus) -> str:
    done = status.expected_done_at
    expected = f" The last answer is expected at {done:%Y-%m-%d %H:%M:%S} UTC." if done else ""
    return (
        f"{status.state.capitalize()}: {status.n_answered} of {status.n_tasks} tasks answered, "
        f"{status.n_expired} ended unanswered, {status.n_pending} pending; "
        f"{dollars(status.charged)} charged.{expected}"
    )


def _task(task: sqlite3.Row, form_token: str) -> str:
    request = json.loads(task["request"])
    record = json.loads(task["record"]) if task["record"] else None
    answer = f"{record['choice']} ({record['annotator']})" if record else "no answer"
    waits = why_not_waiting(task) is None
    button = _button(f"/task/{task['task_id']}/hold", form_token, "Answer this by hand")
    return (
        f"<details><summary>{escape(task['task_id'])} · {escape(answer)} · "
        f"{dollars(task['charged'])} · bought {times(task['bought'])}, asked for "
        f"{times(task['asked'])}</summary><p>{escape(request['instructions'])}</p>"
        f"{turns(request['messages'])}{sides(request)}{button if waits else ''}</details>"
    )


def _button(path: str, form_token: str, label: str) -> str:
    return (
        f'<form method="post" action="{escape(path)}">'
        f'<input type="hidden" name="form_token" value="{escape(form_token)}">'
        f"<p><button>{escape(label)}</button></p></form>"
    )
