"""Find the prompt files of a campaign's sources: local folders or files, or S3 prefixes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from winnow.errors import Fatal
from winnow.ids import content_id
from winnow.ingest.readers import SUFFIXES
from winnow.lake import open_lake


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A prompt file. `file_id` changes with its name below the source and with its content."""

    name: str
    file_id: str
    read: Callable[[], bytes]


def source_files(sources: list[str], day: str, s3_client: Any = None) -> list[SourceFile]:
    """Every prompt file of the sources, by name; `{day}` in a source is the batch key.

    Raises:
        Fatal: A local source without `{day}` does not exist. (A dated folder may be missing.)
    """
    found = [_files_of(source, day, s3_client) for source in sources]
    return sorted((file for files in found for file in files), key=lambda file: file.name)


def _files_of(source: str, day: str, s3_client: Any) -> list[SourceFile]:
    place = source.replace("{day}", day).rstrip("/")
    is_local = "://" not in place
    if is_local and not Path(place).exists():
        if "{day}" in source:
            return []
        raise Fatal(f"Source {source} does not exist; correct ingest.sources of the campaign.")
    folder, _, wanted = place.rpartition("/") if place.endswith(SUFFIXES) else (place, "", "")
    lake = open_lake(folder or ".", s3_client)
    return [
        SourceFile(f"{folder}/{name}", content_id(name, tag), partial(lake.read, name))
        for name, tag in lake.tags("").items()
        if name.endswith(SUFFIXES) and wanted in ("", name)
    ]
