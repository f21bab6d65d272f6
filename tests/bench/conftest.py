"""What the benches' tests share."""

from __future__ import annotations

import pickle
from typing import Any

import pytest


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is handed to a process of its own is done in this one, which has its modules.

    It gets and gives what a process would: copies.
    """

    def done(*asked: Any) -> Any:
        work, *arguments = pickle.loads(pickle.dumps(asked))
        return pickle.loads(pickle.dumps(work(*arguments)))

    for bench in ("night", "publish"):
        monkeypatch.setattr(f"winnow_bench.{bench}.in_a_process", done)
