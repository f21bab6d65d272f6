"""A store that ignores the conditions of a write is refused before anything is published to it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from winnow.errors import Fatal
from winnow.lake import FolderLake, Lake, S3Lake
from winnow.publish.probe import require_conditional_writes


@pytest.fixture
def store_without(s3_client: Any) -> Iterator[Callable[[str], S3Lake]]:
    """Makes a store that ignores a condition: it never hears of the header."""
    hooks: list[Callable[..., None]] = []

    def make(header: str) -> S3Lake:
        def drop(request: Any, **_: Any) -> None:
            del request.headers[header]

        s3_client.meta.events.register("before-sign.s3.PutObject", drop)
        hooks.append(drop)
        bucket = uuid.uuid4().hex
        s3_client.create_bucket(Bucket=bucket)
        return S3Lake(bucket, "", s3_client)

    yield make
    for hook in hooks:
        s3_client.meta.events.unregister("before-sign.s3.PutObject", hook)


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_a_condition_is_refused_by_name_and_reason(
    store_without: Callable[[str], S3Lake], header: str
) -> None:
    lake = store_without(header)
    for _ in range(2):
        with pytest.raises(Fatal, match=f"ignores {header}") as refused:
            require_conditional_writes(lake)
        assert lake.uri in str(refused.value)
        assert "http://127.0.0.1" in str(refused.value)


def test_a_folder_without_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(Fatal, match="not permitted"):
        require_conditional_writes(FolderLake(tmp_path))


def test_a_store_is_tried_once_a_process_and_again_after_another_process(lake: Lake) -> None:
    require_conditional_writes(lake)
    before = lake.listing("")
    create, lake.create = lake.create, None  # type: ignore[method-assign, assignment]
    require_conditional_writes(lake)
    lake.create = create  # type: ignore[method-assign]
    assert lake.listing("") == before


def test_a_store_that_was_refused_passes_once_it_is_mended(lake: Lake) -> None:
    lake.create("datasets/.conditional-writes", b"written over")
    require_conditional_writes(lake)
