"""Has a judge asked a batch's tasks, as `submit_tasks` would; it may be killed at any instruction.

    python judge_worker.py SERVER BOOKS TASKS.json

`TASKS.json` holds the terms and the tasks.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from winnow.campaign import Judge
from winnow.label.submit import submit_tasks
from winnow.label.vendor import BatchTerms, Message, TaskRequest, VendorAccount
from winnow.label.vendors import connect


def main(server: str, books: str, file: str) -> None:
    """Buy what is in the file; returns when every task is asked."""
    given = json.loads(Path(file).read_text())
    terms = given["terms"]
    terms |= {"deadline": datetime.fromisoformat(terms["deadline"]), "dimensions": ()}
    terms["judge"] = Judge(**terms["judge"])
    tasks = [
        TaskRequest(**{**task, "messages": tuple(Message(**turn) for turn in task["messages"])})
        for task in given["tasks"]
    ]
    vendor = connect("judge", VendorAccount(server, "", extra={"books": books}))
    submit_tasks(vendor, given["key"], BatchTerms(**terms), tasks, terms["budget"])


if __name__ == "__main__":
    main(*sys.argv[1:])
