"""Markdown of anybody is formatted, whole, and inert."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.pages.rich import LONGEST, rich

BLOCKS = {"p", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "hr", "details", "summary"}
TABLES = {"table", "thead", "tbody", "tr", "th", "td"}
INLINE = {"strong", "em", "s", "code", "small", "br"}
ATTRIBUTES = {("dir", "auto"), ("dir", "ltr")}
CLASSES = {"math", "language", "tool", "written"}
PIECES = [
    *("<script>", "</code>", "<img src=x onerror=y>", "[a](javascript:b)", "![a](http://b/c.png)"),
    *("<http://a.b>", "[a][b]", "\n[b]: http://c 'd'\n", "&lt;", "&#x202e;", "\u202e", "\x00"),
    *("$a_1$", r"\(x\)", r"\[", "$$", "```", "`", "|", "\n|-|\n", "\n\n", "# ", "> ", "- ", "1. "),
    *("*", "__", "~~", "\\", "<tool_call>", "</tool_call>", '{"name": "<b>"}', "data:text/html,x"),
    *("مرحبا", "\ud800", "\"'", "onclick=", "{{ x }}"),
]


class Seen(HTMLParser):
    """Elements, attributes and text of a fragment."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=30).map("".join))
def test_no_text_makes_an_element_that_acts(text: str) -> None:
    seen = Seen(str(rich(text)))
    assert seen.tags <= BLOCKS | TABLES | INLINE
    for name, value in seen.attributes - ATTRIBUTES:
        assert (name == "class" and value in CLASSES) or (name == "start" and value.isdigit())
    assert not set("\x00\u202e\ud800") & set(seen.text)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# T\n\ntext", '<h4 dir="auto">T</h4>\n<p dir="auto">text</p>\n'),
        ("a\nb", '<p dir="auto">a<br />\nb</p>\n'),
        ("- x\n", '<ul dir="auto">\n<li>x</li>\n</ul>\n'),
        ("3. x\n", '<ol start="3" dir="auto">\n<li>x</li>\n</ol>\n'),
        (
            "```py\nif a < b:\n    c\n```",
            '<small class="language">py</small>'
            '<pre dir="ltr"><code>if a &lt; b:\n    c\n</code></pre>\n',
        ),
        (r"\(a_1*b*\) **c**", r'<code class="math">\(a_1*b*\)</code> <strong>c</strong>'),
        ("$x_1$ for $5 or $6", '<code class="math">$x_1$</code> for $5 or $6'),
        ("$$\na_1\n= b\n$$", '<code class="math">$$\na_1\n= b\n$$</code>'),
        ("[go](http://a 'b')", "go <small>(http://a b)</small>"),
        ("<http://a.b>", '<p dir="auto">http://a.b</p>'),
        ("![pic](http://a/b.png)", "[image: pic] <small>(http://a/b.png)</small>"),
        ("[a]: http://hidden", "[a]: http://hidden"),
        ("<b>no</b> &amp;", "&lt;b&gt;no&lt;/b&gt; &amp;amp;"),
        ("|a|\n|-|\n|b|", "<td>b</td>"),
        (
            'Look: <tool_call>{"name": "get<b>", "arguments": {"é": 1}}</tool_call>',
            "<summary>Tool call: get&lt;b&gt;</summary>",
        ),
        ("<tool_response>\nfree\n</tool_response>", "<code>free</code>"),
        ('[{"type": "function"}]', "<summary>JSON</summary>"),
        ("<tool_call>never closed", "&lt;tool_call&gt;never closed"),
    ],
)
def test_what_is_written_is_shown(text: str, html: str) -> None:
    assert html in str(rich(text))


DEEP = {
    "brackets": "[" * LONGEST,
    "images": "![" * (LONGEST // 2),
    "quotes": ">" * LONGEST,
    "emphasis": "*a " * (LONGEST // 3),
    "dollars": "$a" * (LONGEST // 2),
    "formulas": "\\(" * (LONGEST // 2),
    "tools": "<tool_call>" * (LONGEST // 11 - 1) + "</tools>",
    "json": "[" * (LONGEST // 2) + "]" * (LONGEST // 2),
    "lists": "- " * (LONGEST // 2),
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_no_text_is_too_deep_to_be_shown(text: str) -> None:
    assert len(text) <= LONGEST
    rich(text)


def test_a_text_that_is_too_long_is_shown_as_it_is_written() -> None:
    text = "**a** <b>\n" * LONGEST
    seen = Seen(str(rich(text)))
    assert (seen.tags, seen.text) == ({"p"}, text)
