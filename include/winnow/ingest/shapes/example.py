"""What a row says, whatever its shape: a prompt, responses to it, and what was said of them.

The prompt must be whole, or the row is refused. What is wrong with the responses alone is kept
beside them (`unfit`): such a row is still a prompt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

from winnow.ingest.normalise import normalise as as_stored
from winnow.ingest.normalise import told_apart
from winnow.ingest.turns import Turn, read_turns, said_aloud
from winnow.ingest.values import Unreadable, kind, read_json, shown

Winner = Literal["first", "second", "tie", "both_bad"]


_CURSOR = "\u258c"
_BANNERS = (
    "NETWORK ERROR DUE TO HIGH TRAFFIC",
    "**NETWORK ERROR DUE TO HIGH TRAFFIC",
    "$MODERATION$ YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES",
    "API REQUEST ERROR",
)
_MARKER = re.compile(
    r"<\|im_start\|>\s*(?:system|user|assistant)\b"
    r"|<\|start_header_id\|>\s*(?:system|user|assistant)\b"
)
_PLACE = re.compile(r"\{\{ ?[A-Za-z_][A-Za-z_0-9.]* ?\}\}")
_TEMPLATING = re.compile(
    r"[`\\<$]|\{%|templat|jinja|handlebars|mustache|liquid|vue|angular|ansible|helm|placeholder",
    re.IGNORECASE,
)
"""What tells that a text is about places to be filled in, and not one itself: code, formulas."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A response as it is judged; what was thought before it stands apart.

    `score` is of any scale, more is better; `ratings` are by name; of `rank` the lowest is best;
    `liked` is a thumb up or down. `vector` is as it stands in the row, `logprob` in nats.
    """

    text: str
    model: str | None = None
    score: float | None = None
    ratings: Mapping[str, float] = field(default_factory=dict)
    rank: float | None = None
    liked: bool | None = None
    thought: str = ""
    vector: Any = None
    logprob: float | None = None
    n_tokens: int | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """What somebody said of two candidates, by their places; `strength` from 1, None if unsaid."""

    first: int
    second: int
    winner: Winner
    strength: float | None = None


@dataclass(slots=True)
class Example:
    """A row. `facts` are its columns such as `source`; `mended` names the rules that changed it.

    `spoilt` says of each response that is none of the `candidates` why; `unfit` says what is wrong
    first, with a response or with what is said of them.
    """

    prompt: list[Turn]
    candidates: list[Candidate] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    tools: Any = None
    facts: dict[str, Any] = field(default_factory=dict)
    mended: list[str] = field(default_factory=list)
    unfit: Unreadable | None = None
    spoilt: list[Unreadable] = field(default_factory=list)

    def add(self, raw: Any, name: str, **about: Any) -> int | None:
        """Take a response: a text, a `Turn`, or a talk whose turns before it are the prompt.

        Its place; None of one that is not there or cannot be judged, which `unfit` then says.
        """
        try:
            before, answer = talk_of(raw, name)
            if before and not same_talk(before, self.prompt):
                raise Unreadable("context_differs", f"`{name}` has other turns before it")
            if not as_seen(answer.text):
                raise Unreadable("empty_response", f"`{name}` holds nothing that can be seen")
            _check(answer, f"`{name}`")
        except Unreadable as fault:
            self.unfit = self.unfit or fault
            self.spoilt.append(fault)
            return None
        self.candidates.append(Candidate(answer.text, thought=answer.thought, **about))
        return len(self.candidates) - 1

    def add_each(self, raws: Iterable[Any], read: Callable[[Any], None]) -> None:
        """Take several responses by what reads one; one that it cannot read is spoilt."""
        for raw in raws:
            try:
                read(raw)
            except Unreadable as fault:
                self.unfit = self.unfit or fault
                self.spoilt.append(fault)

    def vote(
        self, places: Iterable[int | None], winner: Winner, strength: float | None = None
    ) -> None:
        """Take what was said of two candidates; of one that is not there nothing can be said."""
        first, second = places
        if first is None or second is None:
            return
        texts = [as_seen(self.candidates[k].text) for k in (first, second)]
        if texts[0] == texts[1]:
            fault = Unreadable("same_text", "both responses look the same")
            self.unfit = self.unfit or fault
            return
        self.votes.append(Vote(first, second, winner, strength))

    def preferences(self) -> Iterator[Vote]:
        """What was voted, and what ranks say of each two candidates."""
        yield from self.votes
        ranked = [(k, c.rank) for k, c in enumerate(self.candidates) if c.rank is not None]
        for (i, a), (j, b) in combinations(ranked, 2):
            yield Vote(i, j, "tie" if a == b else "first" if a < b else "second")


def mended_prompt(example: Example, *, skips_opening: bool = False) -> Example:
    """The example with its prompt brought to turns that alternate, each change named in `mended`.

    - `thoughts_apart`: what an earlier answer begins with in `<think>` is no part of it.
    - `cursor`: the sign that a chat window shows while it writes, at the end of an answer, goes.
    - `opening_answer`: with `skips_opening`, what an assistant said before anybody asked goes.
    - `joined_turns`: neighbours of one role are one turn, but results and calls of tools; one that
      repeats the other goes.
    - `results_ordered`: results of calls stand in the order of the calls.

    Raises:
        Unreadable: A turn is empty, holds a marker of turns, a place to be filled in, or the words
            of a chat window that failed.
    """
    turns = [said_aloud(turn) for turn in example.prompt]
    changed = {"thoughts_apart"} if turns != example.prompt else set()
    for k, turn in enumerate(turns):
        if turn.role == "assistant" and turn.text.rstrip().endswith(_CURSOR):
            turns[k] = replace(turn, text=turn.text.rstrip().rstrip(_CURSOR))
            changed.add("cursor")
    if skips_opening:
        first = next((k for k, turn in enumerate(turns) if turn.role != "system"), 0)
        asked = next((k for k, turn in enumerate(turns) if turn.role == "user"), first)
        if asked > first:
            turns[first:asked] = []
            changed.add("opening_answer")
    joined: list[Turn] = []
    for turn in turns:
        if joined and _is_one_turn(joined[-1], turn):
            joined[-1] = _joined(joined[-1], turn)
            changed.add("joined_turns")
        else:
            joined.append(turn)
    for place, turn in enumerate(joined, start=1):
        _check(turn, f"turn {place}", is_last=place == len(joined))
    ordered = _in_order_of_calls(joined) if any(turn.answers for turn in joined) else joined
    if ordered != joined:
        changed.add("results_ordered")
    example.prompt = ordered
    example.mended += sorted(changed)
    return example


def _check(turn: Turn, where: str, is_last: bool = False) -> None:
    """Look for what tells that a turn is not what was said."""
    if not turn.text.strip() and turn.role in ("user", "assistant") and not is_last:
        raise Unreadable("empty_turn", f"{where} holds nothing")
    if "<|" in turn.text and _MARKER.search(turn.text):
        raise Unreadable("marker_in_turn", f"{where} holds a marker of turns: who says what?")
    place = _PLACE.search(turn.text) if "{{" in turn.text else None
    if place is not None and not _TEMPLATING.search(turn.text):
        raise Unreadable("placeholder", f"{where} holds {shown(place[0])}, to be filled in")
    if turn.role == "assistant" and turn.text.lstrip().startswith(_BANNERS):
        raise Unreadable("error_banner", f"{where} is the error of a chat window")


def split(turns: Sequence[Turn]) -> tuple[list[Turn], Turn | None, Unreadable | None]:
    """Turns before the last answer; the answer; why it cannot be told which one was judged."""
    n = len(turns)
    while n and turns[n - 1].role == "assistant":
        n -= 1
    answers = [said_aloud(turn) for turn in turns[n:]]
    if not answers:
        return list(turns), None, None
    answer = answers[0]
    for more in answers[1:]:
        answer = _joined(answer, more)
    is_call = any(turn.calls for turn in answers)
    fault = None
    if len(answers) > 1 and not is_call:
        fault = Unreadable("same_role_twice", f"it ends with {len(answers)} answers in a row")
    return list(turns[:n]), answer, fault


def talk_of(raw: Any, name: str) -> tuple[list[Turn], Turn]:
    """The turns before a response, if it is a talk, and the response.

    Raises:
        Unreadable: It is neither a text nor turns, or the assistant does not have the last word.
    """
    if isinstance(raw, Turn):
        return [], raw
    if raw is None:
        raise Unreadable("no_text", f"`{name}` is not there")
    if isinstance(raw, dict) and {"role", "from"} & raw.keys():
        raw = [raw]
    turns = [Turn("assistant", raw)] if isinstance(raw, str) else read_turns(raw, name)
    before, answer, fault = split(turns)
    if answer is None:
        detail = f"the last turn of `{name}` is no assistant's"
        raise Unreadable("last_turn_not_assistant", detail)
    if fault is not None:
        raise fault
    return before, answer


def context_of(row: Mapping[str, Any], *talks: Any) -> list[Turn]:
    """The turns before responses that are whole talks, such as `chosen`; [] where none is.

    Raises:
        Unreadable: They differ, cannot be read, or do not end with one answer.
    """
    contexts = [talk_of(raw, "a response")[0] for raw in talks if isinstance(raw, list | dict)]
    if any(not same_talk(each, contexts[0]) for each in contexts):
        raise Unreadable("context_differs", "the turns before the responses are not the same")
    return contexts[0] if contexts else []


def same_talk(one: Sequence[Turn], other: Sequence[Turn]) -> bool:
    """Whether two talks look the same."""
    seen = [[(t.role, as_seen(t.text)) for t in map(said_aloud, talk)] for talk in (one, other)]
    return seen[0] == seen[1]


def as_seen(text: str) -> str:
    """What two texts share that look the same; "" of one that shows nothing."""
    return told_apart(as_stored(text)).strip()


def liked(row: Mapping[str, Any]) -> bool | None:
    """The thumb up or down of KTO's rows, their `label`; None where it is none."""
    label = row.get("label")
    return label if isinstance(label, bool) else None


def number(raw: Any, name: str) -> float | None:
    """A number, or the text of one; None of what stands for none: null, "N/A", "".

    Raises:
        Unreadable: It is something else.
    """
    if raw is None or (isinstance(raw, str) and raw.strip().lower() in ("", "n/a", "na", "none")):
        return None
    try:
        value = math.nan if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise Unreadable("wrong_score", f"`{name}` is no number: {shown(raw)}")
    return value


def text_or_none(raw: Any) -> str | None:
    """A text; None of anything else."""
    return raw if isinstance(raw, str) else None


def spared(example: Example, read: Callable[[], None]) -> None:
    """Read what was said of responses; what is wrong there leaves the prompt as it is."""
    try:
        read()
    except Unreadable as fault:
        example.unfit = example.unfit or fault


def listed(raw: Any, name: str) -> list[Any]:
    """A list, or the JSON of one.

    Raises:
        Unreadable: It is neither.
    """
    if isinstance(raw, str):
        try:
            raw = read_json(raw)
        except Unreadable as fault:
            reason = "wrong_type" if fault.reason == "invalid_json" else fault.reason
            raise Unreadable(reason, f"`{name}` is no list: {fault.detail}") from None
    if not isinstance(raw, list):
        raise Unreadable("wrong_type", f"`{name}` must be a list, not {kind(raw)}")
    return raw


def _is_one_turn(one: Turn, other: Turn) -> bool:
    return one.role == other.role != "tool" and not (one.calls or other.calls)


def _joined(one: Turn, other: Turn) -> Turn:
    if as_seen(one.text) == as_seen(other.text):
        return one
    gap = "\n" if one.calls or other.calls else "\n\n"
    return replace(
        one,
        text=gap.join(text for text in (one.text, other.text) if text.strip()),
        thought="\n".join(thought for thought in (one.thought, other.thought) if thought),
        calls=one.calls + other.calls,
    )


def _in_order_of_calls(turns: Sequence[Turn]) -> list[Turn]:
    ordered: list[Turn] = []
    k = 0
    while k < len(turns):
        end = k
        while end < len(turns) and turns[end].role == "tool":
            end += 1
        asked = turns[k - 1].calls if k else ()
        results = list(turns[k:end])
        is_known = all(turn.answers and turn.answers in asked for turn in results)
        if is_known and len(set(asked)) == len(asked):
            results.sort(key=lambda turn: asked.index(turn.answers))
        ordered += results
        if end < len(turns):
            ordered.append(turns[end])
        k = end + 1
    return ordered
