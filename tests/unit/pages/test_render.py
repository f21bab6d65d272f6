"""Whatever a template is told is text: nothing in it acts, and nothing in it is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from winnow.pages.charts import Axis, Point, Row, Series, intervals, plane
from winnow.pages.render import piece, render, with_remark
from winnow.pages.words import Table

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
        drawn = piece("chart", chart)
        assert drawn.count("&lt;b onclick") >= 4
        assert not [each for each in ("<b ", "\u202e", "\x00", "49") if each in drawn]


def test_pieces_escape_texts_and_keep_markup() -> None:
    assert piece("said", "a <b>") == "<bdi>a &lt;b&gt;</bdi>"
    assert "<dt>&lt;i&gt;</dt><dd><i>1</i></dd>" in piece("facts", [("<i>", Markup("<i>1</i>"))])
    made = piece("table", Table("<i>", ["<i>", "n"], [(Markup("<i>x</i>"), "1")], ["n"]))
    assert made.count("&lt;i&gt;") == 2 and '<td class="words"><bdi>1</bdi></td>' in made
    assert "&lt;i&gt;</li>" in piece("legend", [("<i>", "k0")])


def test_a_remark_stands_at_the_head_of_a_page_that_is_there() -> None:
    made = with_remark("<main><h1>x</h1></main>", HOSTILE)
    assert made.startswith('<main><div class="notice"><p><bdi>&lt;b onclick=x&gt;')
    assert made.endswith("<h1>x</h1></main>")
