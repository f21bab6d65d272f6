"""Why a stage of a batch failed last, as it lies in the lake.

    batches/nightly/2026-11-22/failures/expand.json

Airflow tells a DAG that a run failed, not why; so the process that fails writes it down itself. One
that is killed cannot, which is why a failure without a note is taken for one that may pass.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import datetime

from winnow.batch import batch_folder
from winnow.errors import Retryable, WinnowError
from winnow.lake import Lake
from winnow.lake.disk import in_words as told_by_disk
from winnow.operate.standing import Failure
from winnow.stored import parsed, reader, sealed_json
from winnow.text import plain_line

SHOWN_CHARS = 500


def note_failure(
    lake: Lake,
    campaign: str,
    key: str,
    stage: str,
    run_id: str,
    error: BaseException,
    now: datetime,
) -> None:
    """Write down that a task of a stage failed; the last one to say so stands.

    An error that Winnow did not raise on purpose is named by its kind alone, a disk's by what it
    says: its text may hold what must not reach the lake.
    """
    is_own = isinstance(error, WinnowError)
    final = is_own and not isinstance(error, Retryable)
    message = plain_line(str(error), SHOWN_CHARS) if is_own else ""
    if isinstance(error, OSError) and error.errno is not None:
        message = told_by_disk(OSError(error.errno, os.strerror(error.errno)))
    words = f"{type(error).__name__}: {message}" if message else type(error).__name__
    failure = Failure(run_id, final, words, now.isoformat(timespec="seconds"))
    path = _path(campaign, key, stage)
    lake.swap(path, sealed_json(asdict(failure)), lake.read_tagged(path)[1])


def read_failure(lake: Lake, campaign: str, key: str, stage: str) -> Failure | None:
    """The last failure of a stage, or None.

    Raises:
        Corrupt: The note cannot be read.
    """
    path = _path(campaign, key, stage)
    data, _ = lake.read_tagged(path)
    return None if data is None else parsed(lake, path, reader(Failure), data)


def _path(campaign: str, key: str, stage: str) -> str:
    return f"{batch_folder(campaign, key)}/failures/{stage}.json"
