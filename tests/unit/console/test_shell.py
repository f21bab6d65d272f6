"""The frame: navigation, policy, addresses; and the parts pages are made of."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from markupsafe import Markup

from winnow.console import shell
from winnow.console.parts import Field, Paging
from winnow.console.shell import Page, Site
from winnow.pages.render import templates
from winnow.pages.words import age

from .conftest import NOW


def test_the_policy_allows_the_one_style_and_no_address(site: Site) -> None:
    whole = shell.document(Page("x", "y"), "batches", site)
    style = re.findall(r"<style>(.*?)</style>", whole, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    rules = shell.POLICY.split("; ")
    assert f"style-src 'sha256-{digest}'" in rules
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'self'"} <= set(rules)
    assert "unsafe" not in shell.POLICY


def test_the_frame_says_where_one_is_and_escapes_what_it_is_given(site: Site) -> None:
    whole = shell.document(Page("<b>", Markup("<p>ready</p>")), "batch", site, "<i>")
    assert '<a href="batches" aria-current="true">' in whole
    assert "<title>&lt;b&gt; · Winnow</title>" in whole
    assert "<h1>&lt;b&gt;</h1>" in whole
    assert "<p>ready</p>" in whole
    assert "&lt;i&gt;" in whole
    assert '<a class="skip" href="#page">' in whole
    assert "Read at 2026-11-26 12:00:00 UTC." in whole
    assert whole.count(' aria-current="') == 1
    assert '<a href="spend" aria-current="page">' in shell.document(Page("", ""), "spend", site)


def test_there_is_no_script_but_the_one_that_airflows_frame_needs(site: Site) -> None:
    assert "<script" not in shell.document(Page("", ""), "batches", site)
    framed = shell.document(Page("", ""), "batches", replace(site, ui="../"))
    assert re.findall("<script[^>]*>", framed) == ['<script src="frame.js" defer>']
    assert " style=" not in framed
    assert not re.search(r"\son\w+=", framed)


def test_every_link_is_relative() -> None:
    for name in (*shell.NAV, "batch", "report"):
        assert re.match(r"[a-z]+(\?|$)", shell.to(name, key="//evil.example/?a=b"))


def macro(name: str, *args: Any) -> str:
    """One macro of the console's templates."""
    known = templates(Path(shell.__file__).with_name("templates")).get_template("console.html")
    return str(getattr(known.make_module({"to": shell.to, "site": Site(NOW)}), name)(*args))


def test_pages_are_few_and_the_current_one_is_said() -> None:
    assert macro("pages", Paging("Pages", 1, 1, str)).strip() == ""
    markup = macro("pages", Paging("Pages", 50, 100, lambda n: f"x?page={n}"))
    assert re.findall(r">(\d+|…)<", markup) == ["1", "…", "48", "49", "50", "51", "52", "…", "100"]
    assert markup.count('aria-current="page"') == 1


def test_fields_keep_what_was_asked_and_cannot_be_left() -> None:
    asked = {"q": '"><img src=x>', "state": "done"}
    choice = Field("state", "State", (("", "all"), ("done", "done")))
    markup = macro("filters", "batches", [choice, Field("q", "Text")], asked)
    assert '<option value="done" selected>' in markup
    assert "<img" not in markup
    assert choice.asked({"state": "nonsense"}) == ""
    assert Field("q", "Text").asked({"q": " " + "x" * 10_000}) == "x" * 100


def test_an_age_is_said_in_its_largest_unit(site: Site) -> None:
    ages = {0: "0 seconds", 61: "1 minute", 7200: "2 hours", 86_400: "1 day", -5: "0 seconds"}
    for seconds, said in ages.items():
        assert age(site.now - timedelta(seconds=seconds), site.now) == said
