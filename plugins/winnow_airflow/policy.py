"""What every Winnow DAG shares: owner, retries, and which errors deserve one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from winnow.errors import Ambiguous, Blocked, Corrupt, Fatal, Retryable

RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[Fatal, Blocked, Corrupt, Ambiguous],
            action=RetryAction.FAIL,
            reason="a retry cannot help; the message says what can",
        ),
        RetryRule(exception=Retryable, retry_delay=timedelta(seconds=30)),
    ]
)
"""A full disk or a lost host gets the ordinary retries; what a person must mend fails at once."""

DAG_DEFAULTS: dict[str, Any] = {
    "catchup": False,
    "default_args": {
        "owner": "winnow",
        "retries": 3,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": RETRY_POLICY,
    },
}
