"""Data Docs of a batch: what Great Expectations found, in its own words, as one page of ours.

Its own site loads scripts and styles from elsewhere, and writes values of rows as they are, so
that a response could be markup. Here its renderer makes the sections; the page around them loads
nothing and allows no script. What comes from rows or suites passes the renderer as signs that stand
for `<`, `&` and their like, and becomes text again behind it.

Always holds: equal findings give equal bytes; there is no clock in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from winnow.pages.render import render
from winnow.text import cut, plain_text

TEMPLATES = Path(__file__).with_name("templates")

_LONGEST = 300
_MOST_VALUES = 20
_COUNTS = ("element_count", "missing_count", "unexpected_count")
_WHOLE = ("observed_value", "partial_missing_list", "partial_unexpected_list")

# Of a private use area: no renderer makes anything of them.
_SIGNS = {sign: chr(0xF8C0 + k) for k, sign in enumerate("<>&\"'$`*_[]\\")}
_HIDE = str.maketrans(_SIGNS) | {ord(stand_in): "\ufffd" for stand_in in _SIGNS.values()}
_SHOW = str.maketrans({stand_in: f"&#{ord(sign)};" for sign, stand_in in _SIGNS.items()})
_BLANK = re.compile(r"\s*\n\s*")
_WORDS = ("operator", "type")
"""Of a condition, by which the renderer reads it."""


class Page(NamedTuple):
    """A suite's name, and of each expectation what it found on each frame, if anything."""

    name: str
    results: Sequence[Sequence[Any]]


class _Suite(NamedTuple):
    """`fault` says why there are no sections."""

    name: str
    n: int
    n_failed: int
    sections: Sequence[Markup]
    fault: str = ""


def data_docs(pages: Sequence[Page]) -> str:
    """The page on all suites of a batch."""
    suites = [_suite(page.name, k, page.results) for k, page in enumerate(pages) if page.results]
    return render("data_docs.html", TEMPLATES, suites=suites)


def _suite(name: str, place: int, found: Sequence[Sequence[Any]]) -> _Suite:
    n_failed = sum(not all(each is not None and each.success for each in of) for of in found)
    try:
        sections = [*_sections(name, place, [_result(of) for of in found])]
    except Exception as error:  # Whatever the renderer makes of odd values, the gate goes on.
        return _Suite(name, len(found), n_failed, [], type(error).__name__)
    return _Suite(name, len(found), n_failed, sections)


def _sections(name: str, place: int, results: Sequence[Any]) -> Iterator[Markup]:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    found = ExpectationSuiteValidationResult(
        success=all(each.success for each in results),
        results=results,
        suite_name=_hidden(name),
        statistics={},
        meta={},
    )
    view = DefaultJinjaPageView()
    numbers = count()
    view.env.filters["generate_html_element_uuid"] = lambda prefix="": f"{prefix}{next(numbers)}"
    template = view.env.from_string('{% include "section.j2" %}')
    document = ValidationResultsPageRenderer().render(found).to_json_dict()
    # The first one counts the suite's expectations, which ours does.
    for k, section in enumerate(document["sections"][1:]):
        made = template.render(section=section, section_loop={"index": f"{place}-{k}"})
        yield Markup(_BLANK.sub("\n", made.translate(_SHOW)))


def _result(found: Sequence[Any]) -> Any:
    """An expectation's findings on all frames as one, of texts that are no markup."""
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    first, config = found[0], found[0].expectation_config
    # Of whole tables no row is counted, which the renderer would take for granted.
    result = {n: first.result[n] for n in _WHOLE if n in first.result} | {"unexpected_count": 0}
    if len(found) > 1 and "observed_value" in result:
        # How many rows there are, of which each frame has some.
        result["observed_value"] = sum(each.result["observed_value"] for each in found)
    if first.result.get("element_count"):
        # Of rows, which may have come in several frames.
        result = {n: sum(each.result.get(n, 0) for each in found) for n in _COUNTS}
        result["unexpected_percent"] = 100.0 * result["unexpected_count"] / result["element_count"]
        listed = (value for each in found for value in each.result["partial_unexpected_list"])
        result["partial_unexpected_list"] = list(islice(listed, _MOST_VALUES))
    return ExpectationValidationResult(
        success=all(each.success for each in found),
        expectation_config=ExpectationConfiguration(
            type=config.type,
            kwargs=_hidden({k: v for k, v in config.kwargs.items() if k != "batch_id"}),
            notes=_hidden(config.notes),
            description=_hidden(config.description),
        ),
        result=_hidden(result),
        meta={},
        exception_info=_exception(first.exception_info),
    )


def _exception(info: Any) -> Any:
    """What was raised, without the places in files that a traceback names."""
    if not isinstance(info, dict):
        return {}
    told = {k: _exception(v) if isinstance(v, dict) else _hidden(v) for k, v in info.items()}
    return {**told, "exception_traceback": ""} if "exception_traceback" in told else told


def _hidden(value: Any, name: str = "") -> Any:
    """A value of plain types, in whose texts no sign means anything to a renderer."""
    if isinstance(value, Mapping):
        return {key: _hidden(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_hidden(each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, int | float):
        return value
    if isinstance(value, datetime):
        value = value.isoformat(sep=" ")
    text = str(value)
    return text if name in _WORDS else cut(plain_text(text), _LONGEST).translate(_HIDE)
