"""What people ask of a page by its query: filters, and the part of a list to show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

PER_PAGE = 50
LONGEST_QUERY = 100


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a filter: any text, or one of a few options (value and label).

    The first option is the default; `kind` is how a browser asks for a text.
    """

    name: str
    label: str
    options: Sequence[tuple[str, str]] = ()
    kind: Literal["search", "date"] = "search"

    def asked(self, query: Mapping[str, str]) -> str:
        """What a query has: an option, or a text without white space around it, cut."""
        value = query.get(self.name, "")
        if not self.options:
            return value.strip()[:LONGEST_QUERY]
        return value if value in dict(self.options) else self.options[0][0]


@dataclass(frozen=True, slots=True)
class Paging:
    """Pages of a list: the one shown, from 1, how many there are, and the address of each."""

    label: str
    number: int
    n_pages: int
    address: Callable[[int], str]

    @property
    def steps(self) -> list[int | None]:
        """Pages to link to, None for those left out between two; none where one page holds all."""
        near = {1, self.n_pages, *range(self.number - 2, self.number + 3)}
        shown = sorted(n for n in near if 1 <= n <= self.n_pages)
        steps: list[int | None] = []
        for before, n in zip([0, *shown], shown, strict=False):
            steps += [None, n] if n > before + 1 else [n]
        return steps if self.n_pages > 1 else []


def paging(
    label: str,
    query: Mapping[str, str],
    n: int,
    address: Callable[[int], str],
    per_page: int = PER_PAGE,
) -> tuple[Paging, slice]:
    """The page that a query's `page` asks for of a list of `n`, and the part of the list on it."""
    n_pages, asked = max(1, -(-n // per_page)), query.get("page", "")
    is_number = asked.isascii() and asked.isdigit()
    number = max(1, min(int(asked[:9]), n_pages)) if is_number else 1
    part = slice((number - 1) * per_page, number * per_page)
    return Paging(label, number, n_pages, address), part
