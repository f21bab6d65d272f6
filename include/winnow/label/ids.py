"""Ids of a batch's tasks as columns: some 40 bytes each, of which Python's own sets take 150."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import islice

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 10_000
_ANY = "surrogatepass"
"""A vendor may send what is no character."""


class Ids(Set[str]):
    """A set of ids, each found at its place: that of the first equal one among those given.

    Shapes: n ids as they were given, s distinct ones, sorted.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        waiting, parts = iter(ids), [np.empty(0, np.bytes_)]
        while some := [name.encode(errors=_ANY) for name in islice(waiting, _AT_ONCE)]:
            parts.append(np.array(some, np.bytes_))
        self._name_n = np.concatenate(parts)
        self._order_n = np.argsort(self._name_n, kind="stable")
        self._is_first_n = np.ones(len(self._name_n), np.bool_)
        before, after = self._order_n[:-1], self._order_n[1:]
        self._is_first_n[after] = self._name_n[before] != self._name_n[after]

    def plus(self, other: Ids) -> Ids:
        """These and then the others, whose places go on after these."""
        both, n = Ids(), len(self._name_n)
        others = other._name_n[other._order_n]
        at = self._name_n.searchsorted(others, side="right", sorter=self._order_n)
        both._name_n = np.concatenate([self._name_n, other._name_n])
        both._order_n = np.insert(self._order_n, at, n + other._order_n)
        both._is_first_n = np.concatenate([self._is_first_n, np.zeros(len(others), np.bool_)])
        both._is_first_n[n + other.only_here(self)] = True
        return both

    def place(self, name: str) -> int | None:
        """The place of an id; None where it is not among them."""
        wanted = name.encode(errors=_ANY)
        # A longer one would be looked for in a copy that is as wide.
        if len(wanted) > self._name_n.itemsize:
            return None
        at = self._name_n.searchsorted(wanted, sorter=self._order_n)
        if at == len(self._order_n):
            return None
        place = int(self._order_n[at])
        return place if self._name_n[place] == wanted else None

    def places(self, other: Ids) -> NDArray[np.intp]:
        """The place of each of the distinct others, sorted; -1 where it is not among these."""
        name_s = other._name_n[other._distinct()]
        if not len(self):
            return np.full(len(name_s), -1)
        at = self._name_n.searchsorted(name_s, sorter=self._order_n)
        place_s = self._order_n[np.minimum(at, len(self._order_n) - 1)]
        return np.where(self._name_n[place_s] == name_s, place_s, -1)

    def only_here(self, other: Set[str]) -> NDArray[np.intp]:
        """Places of the distinct ones that are not among the others, sorted by id."""
        place_s = self._distinct()
        if isinstance(other, Ids):
            return place_s[other.places(self) < 0]
        return np.array([place for place in place_s if self.at(place) not in other], np.intp)

    def firsts(self) -> NDArray[np.bool_]:
        """Of each id as it was given, whether none before it is equal."""
        return self._is_first_n.copy()

    def at(self, place: int) -> str:
        """The id at a place."""
        name: bytes = self._name_n[place]
        return name.decode(errors=_ANY)

    def _distinct(self) -> NDArray[np.intp]:
        """Places of the distinct ones, sorted by id."""
        return self._order_n[self._is_first_n[self._order_n]]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.place(name) is not None

    def __iter__(self) -> Iterator[str]:
        return map(self.at, self._distinct())

    def __len__(self) -> int:
        return int(np.count_nonzero(self._is_first_n))
