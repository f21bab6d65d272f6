"""Whatever a template is told is text: nothing in it acts, and nothing in it is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from winnow.pages.charts import Axis, Point, Row, Series, intervals, plane
from winnow.pages.pieces import facts_list, legend, picture, said, table
from winnow.pages.render import render

HOSTILE = "<b onclick=x>\u202e\x00\"'&{{ 7 * 7 }}"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with one template, which shows a text in an element and in an attribute."""
    (tmp_path / "a.html").write_text('{% extends "base.html" %}{% set title = told %}')
    return tmp_path


def test_a_text_is_escaped_and_shows_all_of_itself(page: Path) -> None:
    made = render("a.html", page, told=HOSTILE)
    assert "<title>&lt;b onclick=x&gt;&#34;&#39;&amp;{{ 7 * 7 }}</title>" in made


def test_what_nobody_told_is_an_error_and_no_hole(page: Path) -> None:
    with pytest.raises(UndefinedError, match="told"):
        render("a.html", page)


def test_no_text_of_a_chart_acts() -> None:
    axis = Axis(0.0, 1.0, [(0.5, HOSTILE)], HOSTILE)
    points = Series("k0", [Point(0.5, 0.5, HOSTILE)])
    for chart in (
        plane(HOSTILE, axis, axis, [points], levels=[(1, HOSTILE)]),
        intervals(HOSTILE, [Row(HOSTILE, 0.5, HOSTILE, 0.1, 0.9)]),
    ):
        drawn = picture(chart)
        assert drawn.count("&lt;b onclick") >= 4
        assert not [each for each in ("<b ", "\u202e", "\x00", "49") if each in drawn]


def test_pieces_escape_texts_and_keep_markup() -> None:
    assert said("a <b>") == "<bdi>a &lt;b&gt;</bdi>"
    assert "<dt>&lt;i&gt;</dt><dd><i>1</i></dd>" in facts_list([("<i>", "<i>1</i>")])
    made = table("<i>", ["<i>", "n"], [("<i>x</i>", "1")], ["n"])
    assert made.count("&lt;i&gt;") == 2 and '<td class="words">1</td>' in made
    assert "&lt;i&gt;</li>" in legend([("<i>", "k0")])
