"""Which files of a folder are data where Hugging Face's libraries wrote it.

`save_to_disk` names its shards in `state.json`; a repository of Parquet may name its files in the
head of `README.md`. Other files there tell of the data, or are left from before: read as rows they
would be old or senseless ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import yaml

ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json")
"""Files that tell of data, whatever lies beside them."""

STATE, CARD = "state.json", "README.md"
MOST_BYTES = 1 << 20
"""Bytes of such a file that are looked at."""

_TELLS = "tells of a dataset"

Read = Callable[[str], bytes]


def no_data(names: Collection[str], read: Read) -> Mapping[str, str]:
    """Why files of a source are no data, by name; what is not named is as it is.

    Args:
        names: The files' names below the source, with `/` between folders.
        read: The bytes of one; raises OSError (or KeyError) where it cannot be read.
    """
    there = frozenset(names)
    why: dict[str, str] = {}
    for state in (name for name in names if _last(name) == STATE):
        folder = _folder(state)
        if f"{folder}dataset_info.json" in there:
            why |= _of_saved(folder, there, _json(read, state))
    why |= {name: _TELLS for name in there if _last(name) in ABOUT}
    if CARD in there:
        why |= _of_repository(there - why.keys(), _configs(read))
    for name in there - why.keys():
        if _last(name).startswith(("cache-", "indices")) and name.endswith(".arrow"):
            why[name] = "a cache"
    return why


def _of_saved(folder: str, there: Collection[str], state: Any) -> dict[str, str]:
    """A folder of `save_to_disk`: its shards are those that its state names."""
    shards = _names(state, "_data_files")
    told = "state.json does not name it"
    if _names(state, "_indices_data_files"):
        shards, told = [], "rows are picked by indices; load it and save it again"
    left = (name for name in _in(folder, there) if name.removeprefix(folder) not in shards)
    return {**dict.fromkeys(left, told), f"{folder}{STATE}": _TELLS}


def _of_repository(there: frozenset[str], configs: list[Any]) -> dict[str, str]:
    """A repository with several configurations: the default one is read, if one is named."""
    named = [each for each in configs if isinstance(each, Mapping) and each.get("data_files")]
    chosen = [each for each in named if each.get("default") is True]
    chosen = chosen or [each for each in named if each.get("config_name") == "default"] or named
    mine = {name for each in chosen for glob in _globs(each["data_files"]) for name in there
            if _fits(name, glob)}  # fmt: skip
    if not mine:
        return {}
    told = f"no file of {' and '.join(sorted(str(c.get('config_name')) for c in chosen))} in {CARD}"
    return dict.fromkeys((name for name in there - mine if name != CARD), told)


def _globs(files: Any) -> Iterator[str]:
    if isinstance(files, str):
        yield files.removeprefix("./")
    elif isinstance(files, Mapping):
        # A split with its path, or paths by split.
        for path in [files["path"]] if "path" in files else files.values():
            yield from _globs(path)
    elif isinstance(files, list):
        for each in files:
            yield from _globs(each)


def _fits(name: str, glob: str) -> bool:
    """Whether a name is meant: a star does not go over folders, two do."""
    if "**" in glob:
        return fnmatchcase(name, glob) or fnmatchcase(name, glob.replace("**/", ""))
    return PurePosixPath(name).match(glob) and name.count("/") == glob.count("/")


def _configs(read: Read) -> list[Any]:
    try:
        text = read(CARD).decode("utf-8-sig", "replace").replace("\r\n", "\n")
        head = text.split("\n---", 1)[0].removeprefix("---\n") if text.startswith("---\n") else ""
        about = yaml.safe_load(head)
    except (OSError, KeyError, ValueError, yaml.YAMLError, RecursionError):
        return []
    configs = about.get("configs") if isinstance(about, Mapping) else None
    return configs if isinstance(configs, list) else []


def _json(read: Read, name: str) -> Any:
    try:
        return json.loads(read(name))
    except (OSError, KeyError, ValueError, RecursionError):
        return None


def _names(state: Any, key: str) -> list[str]:
    files = state.get(key) if isinstance(state, Mapping) else None
    return [str(each.get("filename")) for each in files or () if isinstance(each, Mapping)]


def _in(folder: str, there: Collection[str]) -> list[str]:
    """The files that lie in a folder itself."""
    return [name for name in there if name.startswith(folder) and _folder(name) == folder]


def _folder(name: str) -> str:
    return name[: len(name) - len(_last(name))]


def _last(name: str) -> str:
    return name.rpartition("/")[2]
