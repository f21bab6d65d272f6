"""Links: the contract, what a link opens and what it does not, and who gets which task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import Fatal, Retryable
from winnow.label.vendor import Message, TaskRequest, VendorAccount
from winnow.label.vendors import connect
from winnow.label.vendors.links.app import LARGEST_FORM, LONGEST_RATIONALE
from winnow.label.vendors.links.client import LinksVendor
from winnow.label.vendors.links.desk import LEASE, Said, Taken
from winnow.label.vendors.links.pace import Pace
from winnow.label.vendors.links.tokens import Expired, Forged, Link, Signer
from winnow.lake import FolderLake, S3Lake

from ...vendor_contract import VendorContract
from ...vendor_faults import Fault, Killed, Strike, calls_to_strike
from ...vendor_world import latest, read_all, submit, terms_of
from .links_fake import SECRET, URL, Browser, LinksWorld

Make = Callable[..., list[TaskRequest]]
SIGNER = Signer(SECRET)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
LATER = int(NOW.timestamp()) + 60
links = st.builds(
    Link,
    st.just(LATER),
    st.text(max_size=60),
    st.text(max_size=60),
    st.text(max_size=40),
    st.integers(0, 10**6),
)


@pytest.fixture
def world(tmp_path: Path) -> LinksWorld:
    return LinksWorld(FolderLake(tmp_path / "links"))


class TestContract(VendorContract):
    pass


# --- what a link's text opens


@given(links)
def test_a_link_opens_what_it_was_made_for_until_it_expires(link: Link) -> None:
    token = SIGNER.token(link)
    assert SIGNER.link(token, NOW) == link
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", token)
    with pytest.raises(Expired):
        SIGNER.link(token, NOW + timedelta(minutes=1))


@given(links, st.integers(0, 10**6), st.characters())
def test_a_link_with_one_character_changed_opens_nothing(link: Link, at: int, other: str) -> None:
    token = SIGNER.token(link)
    at %= len(token)
    changed = token[:at] + other + token[at + 1 :]
    if changed != token:
        with pytest.raises(Forged):
            SIGNER.link(changed, NOW)


def test_a_link_has_one_text() -> None:
    token = SIGNER.token(Link(LATER, "b", "ann"))
    read = []
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        with suppress(Forged):
            read.append(SIGNER.link(token[:-1] + last, NOW))
    assert len(read) == 1


@given(links, st.text(min_size=16, max_size=40).filter(lambda secret: secret != SECRET))
def test_a_link_of_another_secret_opens_nothing(link: Link, secret: str) -> None:
    with pytest.raises(Forged):
        SIGNER.link(Signer(secret).token(link), NOW)


@given(st.text(max_size=2000))
def test_any_other_text_opens_nothing(text: str) -> None:
    with pytest.raises(Forged):
        SIGNER.link(text, NOW)


def test_what_proves_a_form_proves_no_link_and_no_other_form() -> None:
    proofs = [SIGNER.form("b", "t", "k"), SIGNER.form("b", "t", "j"), SIGNER.form("c", "t", "k")]
    assert len({*proofs, SIGNER.form("b", "u", "k")}) == 4
    codes = [SIGNER.code(*each) for each in (("b", "ann"), ("b", "bob"), ("c", "ann"))]
    assert len(set(codes)) == 3
    assert all(re.fullmatch("[A-Z2-7]{8}", code) for code in codes)
    with pytest.raises(Fatal, match="at least 16"):
        Signer("guess me")


def test_the_connection_says_where_the_page_and_the_books_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WINNOW_LAKE", str(tmp_path))
    account = VendorAccount("https://airflow.example/winnow-links/", SECRET)
    vendor = connect("links", account)
    assert isinstance(vendor, LinksVendor)
    assert vendor.place == f"https://airflow.example/winnow-links, books in {tmp_path}/links"
    assert (
        vendor.address(Link(1)) == f"https://airflow.example/winnow-links/{SIGNER.token(Link(1))}"
    )
    for url in ("nowhere", "https://user:pass@host/x"):
        with pytest.raises(Fatal, match="address of its page"):
            connect("links", replace(account, url=url))
    with pytest.raises(Fatal, match="completion_url"):
        connect("links", replace(account, extra={"completion_url": "javascript:alert(1)"}))
    monkeypatch.delenv("WINNOW_LAKE")
    with pytest.raises(Fatal, match="no place for its books"):
        connect("links", account)


# --- a worker's way through


def test_a_worker_answers_one_task_after_the_other_to_a_code(world: LinksWorld, make_tasks) -> None:
    tasks = make_tasks(3)
    ref = submit(world, "night/1", tasks).ref
    link, ann = world.link(ref, "ann"), Browser(world.app())
    assert "Which response helps more?" in ann.open(link).text
    ann.send({})
    for n in range(3):
        assert f"{n} done" in ann.page.text
        assert 'name="choice" value="both_bad"' in ann.page.text
        world.clock += timedelta(seconds=20)
        ann.send({"choice": "ab"[n % 2], "rationale": f"because {n}", **RATED})
    assert "3 answers were kept" in ann.page.text
    code = SIGNER.code(ref, "ann")
    assert code in ann.page.text
    found = latest(read_all(world.connect(), ref)[0])
    assert {each.task_id for each in found} == {task.task_id for task in tasks}
    assert sorted((each.choice, each.rationale) for each in found) == [
        ("a", "because 0"),
        ("a", "because 2"),
        ("b", "because 1"),
    ]
    for each in found:
        assert each.annotator == "ann"
        assert each.ratings["helpfulness"].a == 4
        assert each.started_at is not None and each.finished_at is not None
        assert each.finished_at - each.started_at == timedelta(seconds=20)
    assert code in ann.open(link).text


RATED = {"rating-0-a": "4", "rating-0-b": "2"}


def test_a_link_that_is_used_twice_counts_once(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(3)).ref
    link, ann = world.link(ref, "ann"), Browser(world.app())
    ann.begin(link)
    first, hidden = ann.task, ann.hidden()
    assert [ann.open(link) and ann.task for _ in range(3)] == [first] * 3
    for choice in ("a", "b"):
        ann.open(link)
        ann.send({"choice": choice, **RATED}, form=hidden)
        assert ann.page.status_code == 200
    assert [each["choice"] for each in world.answers(ref)] == ["a"]
    assert ann.task != first


def test_a_link_to_so_many_tasks_ends_after_them(world: LinksWorld, make_tasks) -> None:
    tasks = make_tasks(4)
    ref = submit(world, "night/1", tasks).ref
    app = world.app()
    ann, bob = Browser(app), Browser(app)
    ann.begin(world.link(ref, "ann", most=2))
    assert "0 done of 2" in ann.page.text
    for _ in range(2):
        ann.send({"choice": "tie", **RATED})
    assert SIGNER.code(ref, "ann") in ann.page.text
    wanted = next(t for t in tasks if t.task_id not in {e["task_id"] for e in world.answers(ref)})
    bob.begin(world.link(ref, "bob", task=wanted.task_id))
    bob.send({"choice": "b", **RATED})
    assert SIGNER.code(ref, "bob") in bob.page.text
    assert [e["task_id"] for e in world.answers(ref) if e["annotator"] == "bob"] == [wanted.task_id]


def test_a_shared_link_is_refused_and_noticed(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    link, app = world.link(ref, "ann"), world.app()
    scanner, ann, other = Browser(app), Browser(app), Browser(app)
    before = world.store.tags("")
    scanner.open(link)
    assert world.store.tags("") == before
    ann.begin(link)
    assert ann.task
    assert list(world.connect().desk.workers(ref)) == [("ann", 0, False)]
    assert other.open(link).status_code == scanner.send({}).status_code == 409
    assert "in use" in other.page.text
    assert list(world.connect().desk.workers(ref)) == [("ann", 0, True)]
    other.page, forged = ann.page, ann.hidden()
    assert other.send({"choice": "a", **RATED}, form=forged).status_code == 403
    assert ann.send({"choice": "a", **RATED}).status_code == 200
    assert len(world.answers(ref)) == 1


def test_expired_and_forged_links_open_nothing(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    ann = Browser(world.app())
    token = world.link(ref, "ann", days=1)
    strange = Signer("another-secret-of-16").token(Link(2**40, ref, "ann"))
    before = world.store.tags("")
    for wrong in (strange, token[:-1], token + "A", "x", "..%2f", "9" * 5000):
        assert ann.open(wrong).status_code == 404, wrong
    ann.begin(token)
    world.clock += timedelta(days=1)
    assert ann.send({"choice": "a", **RATED}).status_code == 410
    assert "expired" in ann.open(token).text
    assert not world.answers(ref)
    left = {path for path in world.store.tags("") if path not in before}
    assert {path.split("/")[1] for path in left} == {"leases", "workers"}


def test_a_form_is_taken_for_its_own_task_link_and_browser(world: LinksWorld, make_tasks) -> None:
    refs = [submit(world, f"night/{n}", make_tasks(2, f"tides {n}")).ref for n in range(2)]
    ann, app = [], world.app()
    for ref in refs:
        ann.append(Browser(app))
        ann[-1].begin(world.link(ref, "ann"))
    for form in (
        ann[1].hidden(),
        {},
        {**ann[0].hidden(), "form": ""},
        {**ann[0].hidden(), "form": "é"},
        {**ann[0].hidden(), "task": ann[1].task or ""},
    ):
        shown = ann[0].page
        assert ann[0].send({"choice": "a", **RATED}, form=form).status_code == 403
        ann[0].page = shown
    ann[0].http.cookies.clear()
    assert ann[0].send({"choice": "a", **RATED}).status_code == 403
    assert not world.answers(refs[0]) + world.answers(refs[1])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"choice": "ZZZ"}, "one of the buttons"),
        ({"choice": ""}, "one of the buttons"),
        ({"choice": "a", "rating-0-b": "6"}, "rate both"),
        ({"choice": "a", "rating-0-a": ""}, "rate both"),
        ({"choice": "a", "choice-0": "both_bad"}, "Please choose for care"),
        ({"choice": "a", "rationale": "x" * (LONGEST_RATIONALE + 1)}, "keep the reason"),
    ],
)
def test_an_answer_that_lacks_something_is_asked_again(world, make_tasks, fields, why) -> None:
    vendor = world.connect()
    asked = replace(terms_of(world), dimensions=("truth", "care"), choices=("care",))
    ref = vendor.open_batch("night/1", asked)
    vendor.add_tasks(ref, make_tasks(1))
    vendor.launch(ref)
    ann, whole = Browser(world.app()), {**RATED, "choice-0": "tie"}
    ann.begin(world.link(ref, "ann"))
    answer = ann.send({**whole, **fields})
    assert (answer.status_code, why in answer.text) == (422, True)
    assert not world.answers(ref)
    ann.send({**whole, "choice": "b"})
    [kept] = world.answers(ref)
    assert (kept["ratings"], kept["dimension_choices"]) == (
        {"truth": {"a": 4, "b": 2}},
        {"care": "tie"},
    )


def test_a_skip_needs_nothing_else(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    ann = Browser(world.app())
    ann.begin(world.link(ref, "ann"))
    ann.send({"choice": "skip", "rationale": "\x00 \u202enot mine "})
    [kept] = world.answers(ref)
    assert (kept["choice"], kept["rationale"]) == ("skip", "not mine")


def test_a_crowds_site_says_who_comes_and_is_told_who_is_done(
    world: LinksWorld, make_tasks
) -> None:
    world.worker_parameter = "PROLIFIC_PID"
    ref = submit(world, "night/1", make_tasks(2)).ref
    vendor = world.connect()
    vendor.completion_url = "https://crowd.example/done?cc={code}"
    app, link = world.app(vendors=[vendor]), world.link(ref, most=1)
    ann, bob, nobody = (Browser(app) for _ in range(3))
    assert 'name="PROLIFIC_PID"' in nobody.open(link).text
    for person, name in ((ann, "5f0"), (bob, "6a1")):
        person.begin(link, PROLIFIC_PID=name)
        person.send({"choice": "a", **RATED})
        done = f"https://crowd.example/done?cc={SIGNER.code(ref, name)}"
        assert done in person.page.text
    assert {each["annotator"] for each in world.answers(ref)} == {"5f0", "6a1"}
    assert sorted(world.connect().desk.workers(ref)) == [("5f0", 1, False), ("6a1", 1, False)]
    for odd in ("x" * 101, " \u200b"):
        assert nobody.open(link, PROLIFIC_PID=odd).status_code == 422


def test_a_link_for_everybody_makes_each_browser_a_guest(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(3)).ref
    app, link = world.app(), world.link(ref)
    one, two = Browser(app), Browser(app)
    one.begin(link)
    two.begin(link)
    assert one.task != two.task
    first = one.task
    one.open(link)
    assert one.task == first
    one.send({"choice": "a", **RATED})
    [answer] = world.answers(ref)
    assert answer["annotator"].startswith("guest-")


def test_a_teams_inbox_leads_to_every_batch_that_waits(world: LinksWorld, make_tasks) -> None:
    refs = [submit(world, f"night/{n}", make_tasks(1, f"tides {n}")).ref for n in range(3)]
    world.connect().cancel(refs[2], "enough")
    ann, inbox = Browser(world.app()), world.link("", "ann")
    for n in (2, 1):
        ann.open(inbox)
        found = re.findall(r'href="([^"]+)"', ann.page.text)
        assert len(found) == n
        ann.begin(found[0])
        ann.send({"choice": "a", **RATED})
    assert "Nothing waits" in ann.open(inbox).text
    assert [len(world.answers(ref)) for ref in refs] == [1, 1, 0]
    assert ann.http.post(f"/{inbox}/answer", data={}).status_code == 403


def test_a_batch_that_ended_takes_no_answer(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(3)).ref
    link, ann, bob = world.link(ref, "ann", days=90), Browser(app := world.app()), Browser(app)
    ann.begin(link)
    ann.send({"choice": "a", **RATED})
    world.connect().cancel(ref, "enough")
    assert ann.send({"choice": "a", **RATED}).status_code == 410
    assert SIGNER.code(ref, "ann") in ann.open(link).text
    assert bob.open(world.link(ref, "bob")).status_code == 410
    assert len(world.answers(ref)) == 1
    draft = world.connect().open_batch("night/2", terms_of(world))
    world.connect().add_tasks(draft, make_tasks(1))
    assert bob.open(world.link(draft, "bob")).status_code == 410


# --- who gets which task


def test_no_task_is_two_workers_at_once(world: LinksWorld, make_tasks) -> None:
    tasks = make_tasks(24)
    ref = submit(world, "night/1", tasks).ref
    desks = [world.connect().desk for _ in range(4)]

    def work(who: int) -> list[str]:
        link, done = Link(2**40, ref, f"worker {who}"), []
        while (turn := desks[who % 4].turn(link)).task is not None:
            done.append(turn.task.task_id)
            desks[who % 4].answer(link, turn.task.key, lambda _: Said("a", {}, {}, None))
        return done

    with ThreadPoolExecutor(8) as pool:
        done = [task for each in pool.map(work, range(8)) for task in each]
    assert sorted(done) == sorted(task.task_id for task in tasks)


def test_a_task_that_is_left_alone_goes_to_another_and_is_answered_once(
    world: LinksWorld, make_tasks
) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    app = world.app()
    ann, bob = Browser(app), Browser(app)
    ann.begin(world.link(ref, "ann"))
    bob.begin(world.link(ref, "bob"))
    assert (bool(ann.task), bob.task) == (True, None)
    world.clock += LEASE + timedelta(seconds=1)
    bob.open(world.link(ref, "bob"))
    assert bob.task == ann.task
    assert ann.send({"choice": "a", **RATED}).status_code == 409
    assert "another person" in ann.page.text
    bob.send({"choice": "b", **RATED})
    assert [each["annotator"] for each in world.answers(ref)] == ["bob"]


def test_who_comes_back_late_still_answers_what_nobody_took(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    ann = Browser(world.app())
    ann.begin(world.link(ref, "ann"))
    world.clock += LEASE * 2
    assert ann.send({"choice": "a", **RATED}).status_code == 200
    assert len(world.answers(ref)) == 1


def test_a_pair_comes_to_a_worker_again_only_where_a_repeat_is_wanted(
    world: LinksWorld, make_tasks
) -> None:
    one, two = make_tasks(2)
    other = replace(one, task_id="other")
    repeat = replace(one, task_id="repeat", repeats=one.task_id)
    ref = submit(world, "night/1", [one, two, other, repeat]).ref
    desk, seen = world.connect().desk, {}
    for who in ("ann", "bob"):
        link, seen[who] = Link(2**40, ref, who), []
        while (turn := desk.turn(link)).task is not None:
            seen[who].append(turn.task.task_id)
            desk.answer(link, turn.task.key, lambda _: Said("a", {}, {}, None))
    assert sorted(seen["ann"] + seen["bob"]) == sorted(
        task.task_id for task in (one, two, other, repeat)
    )
    assert not {one.task_id, "other"} <= {*seen["ann"]}
    assert not {one.task_id, "other"} <= {*seen["bob"]}
    assert ("repeat" in seen["ann"]) == (one.task_id in seen["ann"])


def test_a_repeat_is_given_to_others_last(world: LinksWorld, make_tasks) -> None:
    one = make_tasks(1)[0]
    repeat = replace(one, task_id="repeat", repeats=one.task_id)
    for n in range(8):
        ref = submit(world, f"night/{n}", [one, repeat]).ref
        task = world.connect().desk.turn(Link(2**40, ref, f"worker {n}")).task
        assert task is not None and task.task_id == one.task_id


def test_a_task_begins_when_its_worker_saw_it_first(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    link, ann, begun = world.link(ref, "ann"), Browser(world.app()), world.clock
    ann.begin(link)
    for _ in range(3):
        world.clock += LEASE * 0.7
        ann.open(link)
    ann.send({"choice": "a", **RATED})
    [answer] = latest(read_all(world.connect(), ref)[0])
    assert answer.started_at == begun


def test_of_two_answers_at_the_same_moment_one_counts(world: LinksWorld, make_tasks) -> None:
    task = make_tasks(1)[0]
    ref = submit(world, "night/1", [task]).ref
    desk, ann = world.connect().desk, Link(2**40, ref, "ann")
    turn = desk.turn(ann)
    assert turn.task is not None

    def meanwhile(_: Any) -> Said:
        world.clock += LEASE * 2
        world.answer(ref, task.task_id, "bob", "b")
        return Said("a", {}, {}, None)

    with pytest.raises(Taken):
        desk.answer(ann, turn.task.key, meanwhile)
    assert [(each["annotator"], each["choice"]) for each in world.answers(ref)] == [("bob", "b")]


def test_what_is_answered_is_given_to_nobody_who_looked_before(
    world: LinksWorld, make_tasks
) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    slow, ann, bob = world.connect().desk, Link(2**40, ref, "ann"), Link(2**40, ref, "bob")
    slow._clock = lambda: 0.0
    task = world.connect().desk.turn(ann).task
    assert task is not None
    assert slow.turn(bob).task is None
    world.clock += LEASE * 2
    world.connect().desk.answer(ann, task.key, lambda _: Said("a", {}, {}, None))
    assert slow.turn(bob).task is None


def test_a_call_off_holds_at_once(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    vendor = world.connect()
    vendor.desk._clock = lambda: 0.0
    ann = Browser(world.app(vendors=[vendor]))
    ann.begin(world.link(ref, "ann"))
    world.connect().cancel(ref, "enough")
    assert ann.send({"choice": "a", **RATED}).status_code == 410
    assert not world.answers(ref)


def test_nobody_answers_a_task_that_is_not_theirs(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    desk = world.connect().desk
    ann, bob = Link(2**40, ref, "ann"), Link(2**40, ref, "bob")
    task = desk.turn(ann).task
    assert task is not None
    for link, key in ((bob, task.key), (ann, "0" * 32)):
        with pytest.raises(Taken):
            desk.answer(link, key, lambda _: Said("a", {}, {}, None))
    assert not world.answers(ref)


@pytest.mark.sampled
@pytest.mark.parametrize("fault", list(Fault), ids=lambda f: f.name.lower())
def test_killed_between_any_two_calls_no_answer_is_lost_or_doubled(
    world: LinksWorld, make_tasks, fault: Fault
) -> None:
    for at in calls_to_strike(fault):
        tasks = make_tasks(2, f"tides {at}")
        ref = submit(world, f"night/{at}", tasks).ref
        strike, said = Strike(fault, at), []
        for broken in (True, False):
            desk = world.connect(strike if broken else None).desk
            try:
                said += _all_answered(desk, Link(2**40, ref, "ann"))
            except (Killed, Retryable):
                continue
        status = world.connect().status(ref)
        assert (status.state, status.n_answered) == ("complete", 2), f"call {at}"
        found = latest(read_all(world.connect(), ref)[0])
        assert sorted(e.task_id for e in found) == sorted(t.task_id for t in tasks)
        assert len(set(said)) == len(said)
        if strike.is_over:
            break
    assert at > 5


def _all_answered(desk: Any, link: Link) -> Iterator[str]:
    while (turn := desk.turn(link)).task is not None:
        desk.answer(link, turn.task.key, lambda _: Said("a", {}, {}, None))
        yield turn.task.task_id


def test_the_same_on_s3(s3_lake: S3Lake, make_tasks) -> None:
    world = LinksWorld(s3_lake, datetime.now(UTC))
    ref = submit(world, "night/1", make_tasks(3)).ref
    app = world.app()
    ann, bob = Browser(app), Browser(app)
    ann.begin(world.link(ref, "ann"))
    bob.begin(world.link(ref, "bob"))
    assert ann.task and bob.task and ann.task != bob.task
    for person in (ann, bob, ann):
        person.send({"choice": "a", **RATED})
    assert world.connect().status(ref).state == "complete"
    assert len(latest(read_all(world.connect(), ref)[0])) == 3


# --- hostile texts, and too much of anything

HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> [go](javascript:alert(1)) "
    "![pic](https://evil.example/p.png) <style>*{display:none}</style> \x00\u202eevil\u2066 "
    "[d](data:text/html,<script>1</script>) </form><form action=//evil> {{ 7 * 7 }}\n\n"
    "```\n</code></pre><script>\n```\n\n| <b> | `\"'>` |\n|-|-|\n| a | b |\n"
)


def test_no_text_acts_on_the_page(world: LinksWorld, make_tasks) -> None:
    task = replace(
        make_tasks(1)[0],
        messages=(Message(HOSTILE, HOSTILE),),
        response_a=HOSTILE,
        response_b=HOSTILE * 200,
        instructions=HOSTILE,
        dimension=HOSTILE,
    )
    ref = submit(world, "night/1", [task]).ref
    ann = Browser(world.app())
    ann.begin(world.link(ref, "ann <b>"))
    text = ann.page.text
    assert ann.task
    body = text[text.index("<body>") :]
    tags = {tag.lower() for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", body)}
    assert not tags & {"img", "style", "a", "iframe", "object", "svg", "link", "base", "meta"}
    assert body.count("<script>") == body.count("<form") == 1
    assert not re.search(r"<[^>]*\s(on\w+|src|href|style)\s*=", body)
    assert not set("\x00\u202e\u2066") & set(text)
    assert "{{ 7 * 7 }}" in text
    policy = ann.page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    assert "form-action 'self'; frame-ancestors 'none'" in policy
    for name, value in {"referrer-policy": "no-referrer", "cache-control": "no-store"}.items():
        assert ann.page.headers[name] == value
    cookie = ann.http.get(f"/{world.link(ref, 'ann <b>')}").headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie


def test_too_many_requests_and_too_large_ones_are_refused(world: LinksWorld, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    ann = Browser(world.app(link_minute=5))
    link, other = world.link(ref, "ann"), world.link(ref, "bob")
    assert [ann.open(link).status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert ann.open(other).status_code == 200
    ann.page = ann.http.get(f"/{other}")
    assert ann.send({"rationale": "x" * LARGEST_FORM}).status_code == 413
    for _ in range(40):
        ann.open("forged")
    assert ann.open("forged either").status_code == 429
    assert ann.open(other).status_code == 200
    assert not world.answers(ref)


def test_a_pace_fills_again_and_forgets() -> None:
    time = [0.0]
    pace = Pace(60, lambda: time[0])
    assert [pace.wait("a") for _ in range(60)] == [0.0] * 60
    assert pace.wait("a") == pytest.approx(1.0)
    assert pace.wait("b") == 0.0
    time[0] = 2.0
    assert [pace.wait("a") for _ in range(3)] == [0.0, 0.0, pytest.approx(1.0)]


def test_only_a_links_page_is_there(world: LinksWorld) -> None:
    ann = Browser(world.app())
    for path in ("/", "/docs", "/openapi.json", "/a/b", "/a/b/c", "/../x"):
        assert ann.http.get(path).status_code == 404, path
    assert ann.http.post("/a/answer", content=b"\xff\x00&&==").status_code == 404
    assert URL not in ann.http.get("/").text
