"""The page behind links in a real browser: phone and desktop, keyboard alone, both themes."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from winnow.label.vendor import BatchTerms, Message, TaskRequest
from winnow.lake import FolderLake

from ..unit.label.links_fake import SECRET, LinksWorld

pytestmark = pytest.mark.slow

VIEWS = {
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "has_touch": True,
        "is_mobile": True,
        "color_scheme": "dark",
    },
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
}
ANSWER = (
    """# An answer
<script>document.title = "pwned"</script><img src="http://127.0.0.1:9/x.png" onerror="alert(1)">
![pixel](http://127.0.0.1:9/pixel.png) [a link](http://127.0.0.1:9/away) `code` and \\(x_1^2\\).

| a wide | table | of many | columns | that | does not | fit a phone |
|-|-|-|-|-|-|-|
| 1111111 | 2222222 | 3333333 | 4444444 | 5555555 | 6666666 | 7777777 |

```python
def a_long_line_of_code(that_goes_on, and_on, and_on, until_no_phone_is_wide_enough_for_it): ...
```

<tool_call>{"name": "search", "arguments": {"q": "tides"}}</tool_call>

"""
    + "w" * 300
)
ARABIC = "المد والجزر يتبعان القمر.\n\n- أولاً\n- ثانياً"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LinksWorld]:
    """A batch of three tasks, served on loopback."""
    world = LinksWorld(FolderLake(tmp_path / "links"))
    terms = BatchTerms("Which helps more?", "h-1", ("truth",), world.now().replace(year=2099))
    plain = TaskRequest(
        task_id="0",
        pair_id="0",
        messages=(Message("system", "Be brief."), Message("user", "Why do tides change?")),
        response_a=ANSWER,
        response_b=ARABIC,
        dimension="helpfulness",
        instructions="Which helps more?",
        rubric_version="h-1",
        price=100_000,
    )
    vendor = world.connect()
    vendor.max_request = 10
    world.ref = vendor.open_batch("night/1", terms)  # type: ignore[attr-defined]
    vendor.add_tasks(world.ref, [replace(plain, task_id=str(n), pair_id=str(n)) for n in range(3)])
    vendor.launch(world.ref)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        config = uvicorn.Config(world.app(), lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        world.url = f"http://127.0.0.1:{door.getsockname()[1]}"  # type: ignore[attr-defined]
        yield world
        server.should_exit = True
        thread.join()


@contextmanager
def opened(browser: Any, world: Any, view: str, **told: Any) -> Iterator[tuple[Any, list[str]]]:
    """A page on a worker's link, and whatever went wrong on it or left for elsewhere."""
    context = browser.new_context(**VIEWS[view], **told)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda r: None if r.url.startswith(world.url) else wrong.append(r.url))
    page.goto(f"{world.url}/{world.link(world.ref, view)}")
    yield page, wrong
    context.close()


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until an element is focused; its outline is seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            width = page.locator(":focus").evaluate("e => getComputedStyle(e).outlineWidth")
            assert float(width.removesuffix("px")) > 0
            return
    raise AssertionError(f"Tab never came to {selector}")


def is_sound(page: Any, view: str) -> None:
    """Nothing is wider than the screen, the theme is the person's, texts can be read."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("h1").count() == 1
    look = "(() => { const s = getComputedStyle(document.body); return [s.background, s.color] })()"
    colours = page.evaluate(look)
    paper, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (paper < ink) == (view == "phone")
    assert abs(paper - ink) > 400


@pytest.mark.parametrize("view", VIEWS)
def test_all_is_answered_by_keyboard_alone(world: Any, browser: Any, view: str) -> None:
    with opened(browser, world, view) as (page, wrong):
        is_sound(page, view)
        page.keyboard.press("Enter")
        page.get_by_text("0 done").wait_for()
        is_sound(page, view)
        # Without the ratings the browser says what is missing, and sends nothing.
        page.keyboard.press("1")
        for side in ("a", "b"):
            tab_to(page, f"input[name=rating-0-{side}]")
            page.keyboard.press("Space")
            page.keyboard.press("ArrowRight")
        tab_to(page, "textarea")
        page.keyboard.type("10 reasons")
        assert not world.answers(world.ref)
        tab_to(page, "button[value=a]")
        page.keyboard.press("2")
        page.get_by_text("1 done").wait_for()
        page.keyboard.press("s")
        page.get_by_text("2 done").wait_for()
        page.keyboard.press("S")
        page.get_by_text("3 answers were kept").wait_for()
        is_sound(page, view)
        assert re.fullmatch("[A-Z2-7]{8}", page.locator("code").inner_text())
        first = next(each for each in world.answers(world.ref) if each["choice"] == "b")
        assert first["rationale"] == "10 reasons"
        assert first["ratings"] == {"truth": {"a": 2, "b": 2}}
        assert sorted(each["choice"] for each in world.answers(world.ref)) == ["b", "skip", "skip"]
        assert wrong == []


@pytest.mark.parametrize("view", VIEWS)
def test_texts_are_formatted_and_inert(world: Any, browser: Any, view: str) -> None:
    with opened(browser, world, view) as (page, wrong):
        page.get_by_role("button", name="Begin").click()
        page.get_by_text("0 done").wait_for()
        assert "pwned" not in page.title()
        answer = page.get_by_role("region", name="Answer A")
        assert answer.locator("table td").count() == 7
        assert answer.locator("h4").inner_text() == "An answer"
        assert "<script>" in answer.inner_text()
        assert page.locator("main img, main a").count() == 0
        call = answer.locator("details.tool")
        assert not call.locator("pre").is_visible()
        call.locator("summary").click()
        assert '"q": "tides"' in call.locator("pre").inner_text()
        arabic = page.get_by_role("region", name="Answer B")
        for block in ("p", "ul"):
            direction = "e => getComputedStyle(e).direction"
            assert arabic.locator(block).first.evaluate(direction) == "rtl"
        boxes = [page.get_by_role("region", name=f"Answer {s}").bounding_box() for s in "AB"]
        assert (boxes[0]["y"] == boxes[1]["y"]) == (view == "desktop")
        for button in page.locator(".choices button").all():
            assert button.bounding_box()["height"] >= 40
        assert wrong == []


def test_it_works_without_script_and_not_in_a_second_browser(world: Any, browser: Any) -> None:
    with opened(browser, world, "phone", java_script_enabled=False) as (page, wrong):
        page.get_by_role("button", name="Begin").tap()
        page.get_by_role("button", name="I cannot judge this").tap()
        page.get_by_text("1 done").wait_for()
        assert wrong == []
    with opened(browser, world, "phone") as (page, _):
        assert page.get_by_role("heading", name="This link is in use").is_visible()
        is_sound(page, "phone")
    assert SECRET not in page.url
    assert len(world.answers(world.ref)) == 1
