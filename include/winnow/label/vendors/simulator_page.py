"""The simulator's page for people: batches, and each task with its answer and charge.

Every text on it comes from prompts and models and is hostile: it is escaped, and shown as text.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from winnow.label.vendor import BatchStatus
from winnow.label.vendors.simulator_books import Books
from winnow.records import MICROS

TASKS_SHOWN = 200

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
details { border-bottom: 1px solid #8886; padding: .5rem 0 } summary { cursor: pointer }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; margin: .2rem 0 .8rem }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
.note { background: #fc82; padding: .6rem .8rem; border-radius: .3rem }
h3 { margin: .4rem 0 0; font-size: 1rem }
"""

_HEAD = (
    "<th>Key</th><th>Ref</th><th>State</th><th>Opened (UTC)</th><th class=n>Tasks</th>"
    "<th class=n>Answered</th><th class=n>Unanswered</th><th class=n>Pending</th>"
    "<th class=n>Charged</th>"
)


def overview_page(books: Books) -> str:
    """All batches with their counts and charges."""
    batches = books.batches()
    rows = "".join(_batch_row(batch, books.status(batch["ref"])) for batch in batches)
    table = f"<table><thead><tr>{_HEAD}</tr></thead><tbody>{rows}</tbody></table>"
    return _page("<h2>Batches</h2>" + (table if batches else "<p>No batch yet.</p>"))


def batch_page(books: Books, ref: str) -> str:
    """One batch with its tasks, the first `TASKS_SHOWN` of them.

    Raises:
        UnknownBatch: No batch has this ref.
    """
    status = books.status(ref)
    tasks = books.per_task(ref)
    more = len(tasks) - TASKS_SHOWN
    return _page(
        f'<p><a href="/">All batches</a></p><h2>Batch {escape(ref)}</h2><p>{_sentence(status)}</p>'
        + "".join(_task(task) for task in tasks[:TASKS_SHOWN])
        + (f"<p>{more} more tasks are not shown here.</p>" if more > 0 else "")
    )


def _page(body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Labelling vendor simulator</title><style>{_STYLE}</style></head><body>"
        "<h1>Labelling vendor simulator</h1>"
        '<p class="note">No human answered any of this: simulated annotators judge by a formula, '
        f"and no money moves.</p>{body}</body></html>"
    )


def _batch_row(batch: sqlite3.Row, status: BatchStatus) -> str:
    ref = escape(batch["ref"])
    opened = datetime.fromtimestamp(batch["opened_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    counts = (status.n_tasks, status.n_answered, status.n_expired, status.n_pending)
    cells = "".join(f"<td class=n>{count}</td>" for count in counts)
    return (
        f'<tr><td>{escape(batch["batch_key"])}</td><td><a href="/?batch={ref}">{ref}</a></td>'
        f"<td>{status.state}</td><td>{opened}</td>{cells}"
        f"<td class=n>{_dollars(status.charged)}</td></tr>"
    )


def _sentence(status: BatchStatus) -> str:
    done = status.expected_done_at
    expected = f" The last answer is expected at {done:%H:%M:%S} UTC." if done else ""
    return (
        f"{status.state.capitalize()}: {status.n_answered} of {status.n_tasks} tasks answered, "
        f"{status.n_expired} ended unanswered, {status.n_pending} pending; "
        f"{_dollars(status.charged)} charged.{expected}"
    )


def _task(task: sqlite3.Row) -> str:
    request = json.loads(task["request"])
    record = json.loads(task["record"]) if task["record"] else None
    answer = f"{record['choice']} ({record['annotator']})" if record else "no answer"
    return (
        f"<details><summary>{escape(task['task_id'])} · {escape(answer)} · "
        f"{_dollars(task['charged'])} · bought {_times(task['bought'])}, asked for "
        f"{_times(task['asked'])}"
        f"</summary><p>{escape(request['instructions'])}</p>{_turns(request['messages'])}"
        f'<div class="sides">{_text("Response A", request["response_a"])}'
        f"{_text('Response B', request['response_b'])}</div></details>"
    )


def _turns(messages: Iterable[dict[str, str]]) -> str:
    return "".join(_text(message["role"], message["content"]) for message in messages)


def _text(heading: str, text: str) -> str:
    return f'<div><h3>{escape(heading)}</h3><pre dir="auto">{escape(text)}</pre></div>'


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _dollars(micros: int) -> str:
    return f"${micros / MICROS:.2f}"
