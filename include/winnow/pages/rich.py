"""Markdown of prompts and models as a page shows it to people: formatted, and inert.

What always holds: no text makes an element that loads, runs, leads away or is styled. HTML in it is
text; a link and an image are their words and their address, as text; formulas are shown as they are
written, in the style of code; calls and definitions of tools fold open as JSON. Every block finds
its own direction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from markupsafe import Markup

from winnow.text import plain_text

LONGEST = 40_000
"""Characters that are read as Markdown; a longer text is shown as it is written."""
_TOOLS = re.compile("<(tool_call|tool_response|tools)>")
_WORDS = {"tool_call": "Tool call", "tool_response": "Tool result", "tools": "Tools"}
_MATH = re.compile(
    r"\\\((?:.+?)\\\)|\\\[(?:.+?)\\\]|\$\$(?:.+?)\$\$|\$(?=[^\s$])[^$\n]*?(?<=[^\s$\\])\$(?!\d)",
    re.DOTALL,
)
_LONGEST_MATH = 2000
_LEVELS = 3
"""So much deeper than a text's own are its headings on a page."""


def rich(text: str) -> Markup:
    r"""`text` as HTML in which nothing acts.

    >>> print(rich("**a** <b>[x](http://y)"))
    <p dir="auto"><strong>a</strong> &lt;b&gt;x <small>(http://y)</small></p>
    <BLANKLINE>
    """
    shown = plain_text(text)
    if len(shown) > LONGEST:
        return _as_written(shown)
    return Markup("").join(_parts(shown))


def _parts(text: str) -> Iterator[Markup]:
    """A text cut at the tools in it."""
    if (whole := _json(text)) is not None:
        yield _folded("JSON", whole)
        return
    end = 0
    for found in _TOOLS.finditer(text):
        close = f"</{found[1]}>"
        stop = text.find(close, found.end())
        if stop < 0:
            break
        if found.start() < end:
            continue
        yield _markdown(text[end : found.start()])
        told = text[found.end() : stop].strip()
        inner = _json(told)
        name = inner.get("name") if isinstance(inner, dict) else None
        title = _WORDS[found[1]] + (f": {name}" if isinstance(name, str) else "")
        yield _folded(title, told if inner is None else inner)
        end = stop + len(close)
    yield _markdown(text[end:])


def _json(text: str) -> Any:
    """The object or list that a text is; None where it is none."""
    if not text.strip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) or (isinstance(value, list) and value) else None


def _folded(title: str, value: Any) -> Markup:
    try:
        told = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        told = "nested too deeply to be shown"
    # Escapes of JSON may have hidden what nobody sees.
    told, title = plain_text(told), plain_text(title)[:120]
    box = '<details class="tool"><summary>{}</summary>{}</details>'
    return Markup(box).format(title, _code(told))


def _code(text: str) -> Markup:
    return Markup('<pre dir="ltr"><code>{}</code></pre>\n').format(text)


def _as_written(text: str) -> Markup:
    return Markup('<p dir="auto" class="written">{}</p>').format(text)


def _markdown(text: str) -> Markup:
    if not text.strip():
        return Markup("")
    try:
        return Markup(_parser().render(text))
    except RecursionError:
        return _as_written(text)


@cache
def _parser() -> Any:
    """CommonMark with tables, without HTML, links and images."""
    from markdown_it import MarkdownIt

    class Inert(MarkdownIt):
        def validateLink(self, url: str) -> bool:  # noqa: N802
            # A scheme that a browser would run is as harmless as any other text.
            return True

    parser = Inert("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
    parser.enable(["table", "strikethrough"])
    # What a reference defines would be hidden, and an entity hides what is written.
    parser.disable(["reference", "entity"])
    parser.inline.ruler.before("escape", "math", _math)
    parser.core.ruler.push("inert", _inert)
    parser.add_render_rule("math_inline", _show_math)
    parser.add_render_rule("link_open", lambda *_: "")
    parser.add_render_rule("link_close", _show_address)
    parser.add_render_rule("image", _show_image)
    parser.add_render_rule("fence", _show_code)
    parser.add_render_rule("code_block", _show_code)
    return parser


def _math(state: Any, silent: bool) -> bool:
    """A formula, before a backslash or an underscore in it is taken for a sign of Markdown."""
    if state.src[state.pos] not in "\\$":
        return False
    end = min(state.posMax, state.pos + _LONGEST_MATH)
    found = _MATH.match(state.src, state.pos, end)
    if found is None:
        return False
    if not silent:
        state.push("math_inline", "code", 0).content = found[0]
    state.pos = found.end()
    return True


def _inert(state: Any) -> None:
    """Give each block its direction, headings their level, and a closing link its address."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + _LEVELS)}"
        kept = {name: token.attrs[name] for name in ("start",) if name in token.attrs}
        # What is in a block follows it: a list whose items had their own would have no direction.
        is_outermost = token.level == 0 and token.nesting == 1
        token.attrs = {**kept, "dir": "auto"} if is_outermost else kept
        opened: list[tuple[str, str, int]] = []
        for place, child in enumerate(token.children or ()):
            if child.type == "link_open":
                address, title = (str(child.attrs.get(name, "")) for name in ("href", "title"))
                opened.append((address, title, place))
            elif child.type == "link_close" and opened:
                address, title, start = opened.pop()
                words = "".join(each.content for each in token.children[start + 1 : place])
                told = [each for each in (address, title) if each and each != words]
                child.meta = {"told": " ".join(told)}


def _show_math(_: Any, tokens: Any, place: int, *__: Any) -> str:
    return str(Markup('<code class="math">{}</code>').format(tokens[place].content))


def _show_address(_: Any, tokens: Any, place: int, *__: Any) -> str:
    told = tokens[place].meta.get("told")
    return str(Markup(" <small>({})</small>").format(told)) if told else ""


def _show_image(_: Any, tokens: Any, place: int, *__: Any) -> str:
    token = tokens[place]
    about = " ".join(str(token.attrs[name]) for name in ("src", "title") if name in token.attrs)
    return str(Markup("[image: {}] <small>({})</small>").format(token.content, about))


def _show_code(_: Any, tokens: Any, place: int, *__: Any) -> str:
    token = tokens[place]
    label = token.info.strip()[:40]
    named = Markup('<small class="language">{}</small>').format(label) if label else Markup("")
    return str(named + _code(token.content))
