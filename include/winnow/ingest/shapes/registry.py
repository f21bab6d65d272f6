"""Which shape a row has, and what it says: decided row by row, or by a format that is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from winnow.ingest.normalise import PROMPT_COLUMNS
from winnow.ingest.shapes import alpaca, arena, openassistant, pairs, rated, talks
from winnow.ingest.shapes.example import Example
from winnow.ingest.values import Twice, Unreadable, columns_of, is_absent, kind, shown

AUTO = "auto"


@dataclass(frozen=True)
class Format:
    """A shape of rows: the columns that it has beside a prompt's own, its sign, its reader."""

    name: str
    columns: tuple[str, ...]
    fits: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], Example]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All columns of a row that are read."""
        return tuple(dict.fromkeys([*PROMPT_COLUMNS, *self.columns]))


_ALL = (
    # The first that fits a row is its format: what has the rarer signs comes first.
    Format(
        "openassistant",
        openassistant.COLUMNS,
        openassistant.is_openassistant,
        openassistant.read_openassistant,
    ),
    Format("arena", arena.COLUMNS, arena.is_arena, arena.read_arena),
    Format(
        "ultrafeedback",
        rated.ULTRAFEEDBACK_COLUMNS,
        rated.is_ultrafeedback,
        rated.read_ultrafeedback,
    ),
    Format("nectar", rated.NECTAR_COLUMNS, rated.is_nectar, rated.read_nectar),
    Format("helpsteer", rated.HELPSTEER_COLUMNS, rated.is_helpsteer, rated.read_helpsteer),
    Format("hh_rlhf", pairs.HH_COLUMNS, pairs.is_hh, pairs.read_hh),
    Format("ultrafeedback_binarized", pairs.PAIR_COLUMNS, pairs.is_binarized, pairs.read_pair),
    Format("alpaca", alpaca.COLUMNS, alpaca.is_alpaca, alpaca.read_alpaca),
    Format("pairs", pairs.PAIR_COLUMNS, pairs.is_pair, pairs.read_pair),
    Format("pool", rated.POOL_COLUMNS, rated.is_pool, rated.read_pool),
    Format("sharegpt", talks.SHAREGPT, talks.is_sharegpt, talks.read_sharegpt),
    Format("prompts", talks.PROMPTS, talks.is_prompts, talks.read_prompts),
    Format("openai", talks.CHAT, talks.is_openai, talks.read_openai),
)
FORMATS: Mapping[str, Format] = {each.name: each for each in _ALL}

COLUMNS = tuple(dict.fromkeys([*PROMPT_COLUMNS, *(c for each in _ALL for c in each.columns)]))
"""Columns of a file of prompts that are read, whatever its format."""
_KNOWN = frozenset(COLUMNS)


@dataclass(frozen=True, slots=True)
class How:
    """How rows are read: by one format or by what each is (`auto`), and names of columns.

    `columns` says for a known column which one of the file is it.
    """

    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def read(self) -> tuple[str, ...]:
        """The columns of a file that are read."""
        return tuple(dict.fromkeys([*COLUMNS, *self.columns.values()]))


AS_EACH_IS = How()
"""Each row by what it is."""


def format_of(value: Any, how: How = AS_EACH_IS) -> tuple[Format | None, Mapping[str, Any]]:
    """The format of a row, None of one that has none, and its columns that are not empty.

    Raises:
        Unreadable: The row is no object, or has another format than the one that is named.
    """
    if not isinstance(value, Mapping):
        raise Unreadable("wrong_type", f"a row must be an object, not {kind(value)}")
    row = _renamed(value, how.columns)
    there = {k: _seen(v) for k, v in row.items() if k in _KNOWN and not is_absent(v)}
    found = next((each for each in _ALL if each.fits(there)), None)
    if how.format == AUTO or (found is not None and found.name == how.format):
        return found, row
    named = FORMATS[how.format]
    if named.fits(there):
        return named, row
    looks = f"it looks like `{found.name}`" if found else f"it has {_names(value)}"
    raise Unreadable(
        "other_format",
        f"the row is no `{named.name}`: {looks}; set `ingest.format` to `auto` or to what the "
        "file is, or name its columns in `ingest.columns`",
        found.name if found else None,
    )


def read_example(value: Any, how: How = AS_EACH_IS) -> tuple[Format, Example]:
    """What a row says, and by which format it was read.

    Raises:
        Unreadable: It is of no format or of another one, or holds no prompt.
    """
    found, row = format_of(value, how)
    if found is None:
        raise Unreadable(
            "no_prompt",
            f"the row has neither `prompt` nor `messages`, but {_names(value)}; name its columns "
            "in `ingest.columns`",
        )
    try:
        tidied = columns_of(row, found.names)
        example = found.read(tidied)
    except Unreadable as fault:
        fault.format = found.name
        raise
    facts = {name: tidied[name] for name in PROMPT_COLUMNS if name in tidied}
    example.facts = {**facts, **example.facts}
    return found, example


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    given = {ours: theirs for ours, theirs in columns.items() if theirs in row}
    if not given:
        return row
    renamed = Twice({**row, **{ours: row[theirs] for ours, theirs in given.items()}})
    twice = row.names if isinstance(row, Twice) else frozenset()
    renamed.names = twice | {ours for ours, theirs in given.items() if theirs in twice}
    return renamed


def _seen(value: Any) -> Any:
    """A value to tell a format by: a text may stand as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _names(row: Mapping[str, Any]) -> str:
    names = [shown(name)[1:-1] for name in row]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "no columns"
