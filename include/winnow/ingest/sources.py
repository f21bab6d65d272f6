"""Find the files that a campaign names: folders or files, or S3 prefixes.

What is found is read or named as passed over, with the reason; hidden files and folders are counted
only. Nothing is opened but regular files whose ending is known: no pipe, no link that leads out of
the source, no stranger's archive.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from winnow.errors import Fatal, Retryable
from winnow.ids import content_id, file_digest
from winnow.ingest.formats.raw import RawRow
from winnow.ingest.hugging_face import MOST_BYTES, no_data
from winnow.ingest.normalise import PROMPT_COLUMNS
from winnow.ingest.readers import ENDINGS, is_read, read_rows
from winnow.lake import S3Lake, open_lake
from winnow.text import plain_text

_SETTLED_NS = 100_000_000
"""So long after its last change another one shows in a file's times, whatever the clock's steps."""

HIDDEN = "hidden"
"""Why most files are passed over: their name, or that of a folder, says so."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read.

    `look` names it as it lies there, without a read of it: name below the source, size, times and
    inode. It is None on S3, and where the file changed so lately that a later change may not show.
    """

    name: str
    identify: Callable[[], str]
    local: Callable[[], AbstractContextManager[Path]]
    look: str | None = None

    @property
    def file_id(self) -> str:
        """Changes with its name below the source and with its content, which is read once.

        Raises:
            Retryable: It is gone since it was found, or cannot be read now.
        """
        try:
            return self.identify()
        except OSError as error:
            raise Retryable(f"{self.name} cannot be read now: {error}") from error

    def rows(self, columns: Sequence[str] = PROMPT_COLUMNS) -> Iterator[RawRow]:
        """Its rows, one after another; see `read_rows`.

        Raises:
            Retryable: It is gone since it was found, or cannot be read now.
        """
        try:
            with self.local() as path:
                yield from read_rows(self.name, path, columns)
        except OSError as error:
            raise Retryable(f"{self.name} cannot be read now: {error}") from error


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or folder that is not read, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at the sources, each by name."""

    files: tuple[SourceFile, ...]
    passed_over: tuple[PassedOver, ...]


def look_for(sources: Sequence[str], day: str, s3_client: Any = None) -> Found:
    """Every file of the sources; `{day}` in a source is the batch key.

    Raises:
        Fatal: A source without `{day}` does not exist, or names a file that is never read. (What
            is dated may be missing.)
    """
    places = [_look(source, day, s3_client) for source in sources]
    files = sorted((f for each in places for f in each.files), key=lambda file: file.name)
    passed_over = sorted((p for each in places for p in each.passed_over), key=lambda p: p.name)
    return Found(tuple(files), tuple(passed_over))


def named_files(source: str, day: str, setting: str) -> tuple[SourceFile, ...]:
    """The files of a source that a setting of the campaign names for more than prompts.

    Raises:
        Fatal: There is none, unless the source is dated; or as `look_for`.
    """
    lying = look_for([source], day)
    if not lying.files and "{day}" not in source:
        passed_over = told(lying.passed_over)
        raise Fatal(
            f"No file to read at {source}{f': passed over {passed_over}' if passed_over else ''}; "
            f"correct {setting} of the campaign."
        )
    return lying.files


def told(passed_over: Sequence[PassedOver], most: int = 5) -> str:
    """What is passed over in a line: names with their reasons, hidden ones counted; "" if none."""
    seen = [p for p in passed_over if p.why != HIDDEN]
    parts = [f"{Path(p.name).name} ({p.why})" for p in seen[:most]]
    if len(seen) > most:
        parts.append(f"{len(seen) - most} more")
    n_hidden = len(passed_over) - len(seen)
    if n_hidden:
        parts.append(f"{n_hidden} hidden")
    return ", ".join(parts)


def _look(source: str, day: str, s3_client: Any) -> Found:
    place = source.replace("{day}", day).rstrip("/") or source[:1]
    if not place:
        raise Fatal("A source is empty; name a folder, a file or s3://bucket/prefix.")
    if place.startswith("s3://"):
        lying = _on_s3(place, s3_client)
    elif "://" in place and not place.startswith("file://"):
        raise Fatal(f"Source {source} is neither a folder, a file nor s3://bucket/prefix.")
    else:
        try:
            lying = _on_disk(Path(place.removeprefix("file://")))
        except (OSError, ValueError) as error:
            raise Fatal(f"Source {plain_text(ascii(source))} cannot be read: {error}") from error
    if lying is None and "{day}" not in source:
        raise Fatal(f"Source {source} does not exist; correct ingest.sources of the campaign.")
    return lying or Found((), ())


def _on_disk(place: Path) -> Found | None:
    if not place.exists():
        return None
    if place.is_dir():
        return _in_folder(place)
    why = _why_not_read(place.name, place.stat())
    if why is not None:
        raise _never_read(str(place), why)
    return Found((_local_file(place, f"{place.parent}/{place.name}", place.name),), ())


def _in_folder(folder: Path) -> Found:
    root = folder.resolve()
    files, passed_over = [], []
    entries = dict(_walk(folder, "", root))
    seen = [name for name, path in entries.items() if _is_own_file(root, path)]
    told = no_data(seen, lambda name: _begin_of(entries[name]))
    for name, path in entries.items():
        shown = f"{folder}/{plain_text(ascii(name)[1:-1] if not _is_utf8(name) else name)}"
        why = HIDDEN if _is_hidden(path) else _refused(root, path, name) or told.get(name)
        try:
            if why is None:
                files.append(_local_file(path, f"{folder}/{name}", name))
        except FileNotFoundError:
            continue
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
        if why is not None:
            passed_over.append(PassedOver(shown, why))
    return Found(tuple(files), tuple(passed_over))


def _is_own_file(root: Path, path: Path) -> bool:
    try:
        real = Path(os.path.realpath(path))
        return not _is_hidden(path) and path.is_file() and real.is_relative_to(root)
    except OSError:
        return False


def _begin_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)


def _walk(folder: Path, below: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Names below a folder with their paths; of a folder that is not looked into its own."""
    try:
        entries = sorted(os.scandir(folder / below), key=lambda each: each.name)
    except OSError:
        yield below or ".", folder / below
        return
    for entry in entries:
        name = f"{below}{entry.name}"
        path = Path(entry.path)
        if not _is_hidden(path) and _is_looked_into(entry, path, root):
            yield from _walk(folder, f"{name}/", root)
        else:
            yield name, path


def _is_looked_into(entry: os.DirEntry[str], path: Path, root: Path) -> bool:
    """Whether it is a folder, or a link to one that is looked into nowhere else.

    So a mounted ConfigMap shows its folders: as links into the hidden one that holds its files.
    """
    if not entry.is_symlink():
        return entry.is_dir()
    real = Path(os.path.realpath(path))
    if not (real.is_relative_to(root) and real.is_dir()):
        return False
    above = [root / part for part in real.relative_to(root).parents]
    return any(_is_hidden(each) for each in (real, *above) if each != root)


def _is_hidden(path: Path) -> bool:
    return _says_hidden(path.name) or (_says_hidden(path.name, is_folder=True) and path.is_dir())


def _says_hidden(name: str, is_folder: bool = False) -> bool:
    """Whether a name says that it is not data: .Trash, .a.jsonl, Spark's _temporary/."""
    return name.startswith((".", "_") if is_folder else ".")


def _refused(root: Path, path: Path, name: str) -> str | None:
    """Why an entry of a folder is not read; None: it is."""
    if not _is_utf8(name):
        return "its name is no UTF-8"
    try:
        # os.path.realpath does not raise on links that lead in a circle.
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
            return "a link that leads out of the source"
        if path.is_dir():
            return "a link to a folder" if path.is_symlink() else "a folder that cannot be read"
        return _why_not_read(name, path.stat())
    except FileNotFoundError:
        return "a link to nothing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _why_not_read(name: str, about: os.stat_result) -> str | None:
    if not stat.S_ISREG(about.st_mode):
        return "no regular file"
    return None if is_read(name) else _ending(name)


def _ending(name: str) -> str:
    return f"the ending {Path(name).suffix} is not read" if Path(name).suffix else "has no ending"


def _never_read(place: str, why: str) -> Fatal:
    return Fatal(f"{place} is never read: {why}. Read are {', '.join(ENDINGS)}.")


def _local_file(path: Path, name: str, below: str) -> SourceFile:
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
    times = (about.st_mtime_ns, about.st_ctime_ns)
    is_settled = time.time_ns() - max(times) > _SETTLED_NS
    look = content_id("look", below, about.st_size, *times, about.st_ino) if is_settled else None
    identify = cache(lambda: content_id(below, file_digest(path)))
    return SourceFile(name, identify, lambda: nullcontext(path), look)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _on_s3(place: str, s3_client: Any) -> Found | None:
    lake = open_lake(place, s3_client)
    tags = lake.tags("")
    if not tags:
        return _s3_object(place, s3_client)
    files, passed_over = [], []
    told = no_data([name for name in tags if not _is_hidden_key(name)], lake.read)
    for name, tag in tags.items():
        if name.endswith("/"):
            continue
        if _is_hidden_key(name):
            passed_over.append(PassedOver(f"{place}/{name}", HIDDEN))
        elif not is_read(name):
            passed_over.append(PassedOver(f"{place}/{name}", _ending(name)))
        elif name in told:
            passed_over.append(PassedOver(f"{place}/{name}", told[name]))
        else:
            file_id = content_id(name, tag)
            identify = partial(str, file_id)
            files.append(SourceFile(f"{place}/{name}", identify, partial(lake.local, name)))
    return Found(tuple(files), tuple(passed_over))


def _is_hidden_key(name: str) -> bool:
    *folders, last = name.split("/")
    return _says_hidden(last) or any(_says_hidden(each, is_folder=True) for each in folders)


def _s3_object(place: str, s3_client: Any) -> Found | None:
    """The one object that a source names; None if there is none."""
    folder, _, name = place.rpartition("/")
    lake = open_lake(folder, s3_client)
    data_tag = lake.tag(name) if isinstance(lake, S3Lake) and folder != "s3:/" else None
    if data_tag is None:
        return None
    if not is_read(name):
        raise _never_read(place, _ending(name))
    identify = partial(str, content_id(name, data_tag))
    return Found((SourceFile(place, identify, partial(lake.local, name)),), ())
