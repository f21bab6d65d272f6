"""Whom and what a response speaks of: named groups, words of a stance, praise and blame.

Terms are whole words, in one case and one form of Unicode. In scripts without spaces each character
is a word, so that a term there is a phrase. What a response speaks of is stored among its flags, as
`content NAME`, and counted as they are, from the pool to the bought and the chosen responses.

A list of words cannot see a group that is only hinted at, a name that tells where somebody is from,
a second meaning, irony, or whether what is said is denied or quoted.

Always holds: the order of the list changes nothing; a text is read once, whatever the list's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from winnow.campaign import Content
from winnow.campaign.reading import read_yaml
from winnow.records import CONTENT
from winnow.text import WORD, plain_text, unicode_form

_NEAR = 5
"""A word of praise or blame is about a group that is named within so many words of it."""

_MOST_SILENT = 1 << 17
"""Words that begin no term are passed over at once, so many of them at most."""

_GAPS = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "_")}

Term = tuple[str, tuple[str, ...], bool]
"""Name, words behind the first, whether the last word goes on."""


class ContentReader:
    """Reads texts by one list of terms.

    Args:
        content: The campaign's, which adds to the shipped list or stands in its place.
    """

    def __init__(self, content: Content) -> None:
        kinds = [_merged(content, kind) for kind in ("groups", "stances", "tones")]
        self._groups, _, self._tones = map(frozenset, kinds)
        self._by_first: dict[str, list[Term]] = {}
        self._by_stem: dict[str, list[Term]] = {}
        for name, terms in (each for kind in kinds for each in kind.items()):
            for term in terms:
                self._add(name, term)
        self._sizes = sorted({len(stem) for stem in self._by_stem})
        self._silent: set[str] = set()

    def _add(self, name: str, term: str) -> None:
        goes_on = term.endswith("*")
        match _words(term):
            case [stem] if goes_on:
                self._by_stem.setdefault(stem, []).append((name, (), False))
            case [first, *rest]:
                self._by_first.setdefault(first, []).append((name, tuple(rest), goes_on))

    def traits(self, text: str) -> list[str]:
        """What a text speaks of, as it stands among its flags, in order."""
        words = _words(text)
        held = {word: self._terms_from(word) for word in set(words) - self._silent}
        self._silent |= {word for word, terms in held.items() if not terms}
        if len(self._silent) > _MOST_SILENT:
            self._silent.clear()
        places: dict[str, list[int]] = {}
        for place, word in enumerate(words):
            for name, rest, goes_on in held.get(word, ()):
                if not rest or _goes_on(words, place + 1, rest, goes_on):
                    places.setdefault(name, []).append(place)
        found = places.keys() - self._tones
        for tone in places.keys() & self._tones:
            found |= {
                f"{tone} of {group}"
                for group in places.keys() & self._groups
                if _are_near(places[tone], places[group])
            }
        return [f"{CONTENT}{name}" for name in sorted(found)]

    def _terms_from(self, word: str) -> Sequence[Term]:
        """The terms that begin with a word."""
        stems = (word[:size] for size in self._sizes if size <= len(word))
        of_stems = (term for stem in stems for term in self._by_stem.get(stem, ()))
        return (*self._by_first.get(word, ()), *of_stems)


def _merged(content: Content, kind: str) -> dict[str, Sequence[str]]:
    """Terms by name: the campaign's, and the shipped ones of all other names."""
    own: Mapping[str, Sequence[str]] = getattr(content, kind)
    return {**(_shipped()[kind] if content.shipped else {}), **own}


@cache
def _shipped() -> Mapping[str, Any]:
    held = read_yaml(Path(__file__).with_name("content.yaml"), "List of terms")
    return Content.model_validate(held).model_dump()


def _words(text: str) -> list[str]:
    plain = plain_text(text)
    if plain.isascii():
        # What `WORD` finds too, at five times the speed.
        return plain.lower().translate(_GAPS).split()
    return WORD.findall(unicode_form(plain, "NFKC").casefold())


def _goes_on(words: Sequence[str], place: int, rest: Sequence[str], is_stem: bool) -> bool:
    *whole, last = rest
    end = place + len(whole)
    if end >= len(words) or list(words[place:end]) != whole:
        return False
    return words[end].startswith(last) if is_stem else words[end] == last


def _are_near(places: Iterable[int], others: Sequence[int]) -> bool:
    near = {place + step for place in others for step in range(-_NEAR, _NEAR + 1)}
    return not near.isdisjoint(places)
