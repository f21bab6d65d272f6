"""Which shape a row has, and what it says: decided row by row, or by a format that is named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from winnow.ingest.formats.raw import RawRow
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

_KNOWN = dict.fromkeys([*PROMPT_COLUMNS, *(c for each in _ALL for c in each.columns)])

COLUMNS = tuple(name for name in _KNOWN if name not in rated.OWN_COLUMNS)
"""Columns of a file of prompts that are read, whatever its format."""


@dataclass(frozen=True, slots=True)
class How:
    """How rows are read: by one format or by what each is (`auto`), and names of columns.

    `columns` says for a known column which one of the file is it. With `as_pools` responses are
    taken too, and what only they have is read.
    """

    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    as_pools: bool = False

    @property
    def read(self) -> tuple[str, ...]:
        """The columns of a file that are read."""
        own = rated.OWN_COLUMNS if self.as_pools else ()
        return tuple(dict.fromkeys([*COLUMNS, *own, *self.columns.values()]))


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
    looks = f"it looks like `{found.name}`" if found else f"it has {names_of(value)}"
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
            f"the row has neither `prompt` nor `messages`, but {names_of(value)}; name its columns "
            "in `ingest.columns`",
        )
    try:
        tidied = columns_of(row, found.names)
        if not found.fits(tidied):
            # A column whose inside is all null is absent: without it the row is another one.
            nulls = [name for name in found.names if name in row and name not in tidied]
            return read_example(_without(row, nulls), replace(how, columns={}))
        example = found.read(tidied)
        _tell_of_one(example, row)
    except Unreadable as fault:
        fault.format = found.name
        raise
    facts = {name: tidied[name] for name in PROMPT_COLUMNS if name in tidied}
    example.facts = {**facts, **example.facts}
    return found, example


def unfolded(row: RawRow) -> Iterator[RawRow]:
    """A row of pools, and behind it what it holds beside: a tree's later questions, a row each."""
    yield row
    for value in openassistant.later_rows(row.value):
        yield replace(row, given=None, value=value)


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    given = {ours: theirs for ours, theirs in columns.items() if theirs in row}
    if not given:
        return row
    renamed = Twice({**row, **{ours: row[theirs] for ours, theirs in given.items()}})
    twice = row.names if isinstance(row, Twice) else frozenset()
    renamed.names = twice | {ours for ours, theirs in given.items() if theirs in twice}
    return renamed


def _without(row: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    left = Twice({name: value for name, value in row.items() if name not in names})
    if len(left) == len(row):
        raise Unreadable("wrong_type", "its columns hold what their format does not")
    left.names = row.names if isinstance(row, Twice) else frozenset()
    return left


def _seen(value: Any) -> Any:
    """A value to tell a format by: a text may stand as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _tell_of_one(example: Example, row: Mapping[str, Any]) -> None:
    """Take what a row says beside its only response, where its format has read nothing else."""
    if len(example.candidates) != 1 or example.spoilt or not row.keys() & rated.ABOUT:
        return
    try:
        about = rated.about_response(columns_of(row, rated.ABOUT))
    except Unreadable as fault:
        example.unfit = example.unfit or fault
        example.spoilt.append(fault)
        example.candidates.clear()
        return
    said = example.candidates[0]
    unsaid = {name: value for name, value in about.items() if getattr(said, name) is None}
    example.candidates[0] = replace(said, **unsaid)


def names_of(row: Mapping[str, Any]) -> str:
    """The columns of a row that hold something, in a message."""
    names = [shown(name)[1:-1] for name, value in row.items() if not is_absent(value)]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "no columns"
