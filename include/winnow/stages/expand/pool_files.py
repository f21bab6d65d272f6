"""Selection on its own: candidate pools in a file, comparisons in a file; no lake, no vendor.

A row is a response: `prompt` (a text or turns) and `response` (a text, or turns that end with it),
and where known a `vector` (its embedding, of one length in all rows), a `score` or `reward` (a
reward model's word on it), the `model` that wrote it, and a `language` or `topic` to put floors on.
Or it is of a known format (`winnow.ingest.shapes`) and brings all its responses.
Preferences that were bought before (`prompt`, `chosen`, `rejected`, as trainers read them) teach
the reward model; without any, pairs are chosen on the scores, or by diversity. They are compared by
vectors where both sides have one, in `chosen_vector` and `rejected_vector` or as responses of the
pools; by scores likewise.

Always holds: rows in = rows read + rows refused, each with file, line and reason; the same
files give the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.errors import Fatal
from winnow.expand.text_features import text_features
from winnow.ids import pair_id, response_id
from winnow.ingest.brought import read_vector, score_of
from winnow.ingest.formats.raw import RawRow
from winnow.ingest.normalise import check_prompt, prompt_identity, read_tools
from winnow.ingest.pairs import judged, pairs_of
from winnow.ingest.readers import ENDINGS, is_read, parsed, read_rows
from winnow.ingest.shapes.registry import COLUMNS, unfolded
from winnow.ingest.values import Unreadable, columns_of
from winnow.records import Quarantined
from winnow.reward import Block, Blocks, centre, fit, fit_projection, prior_of
from winnow.reward.blocks import SCORE
from winnow.select import Choice, Pool, Rules, choose_for_pools, one_blas_thread
from winnow.select.fallback import effective_dimension, effective_rules
from winnow.select.screen import answers_nothing, near_duplicates

WRITTEN = (".jsonl", ".parquet")
"""Endings of the file that is written."""

OWN_COLUMNS = ("response", "vector", "score", "reward", "model", "topic")
"""Columns of a row that is one response."""
BESIDE_COLUMNS = ("chosen_vector", "rejected_vector", "chosen_score", "rejected_score")
POOL_COLUMNS = (*COLUMNS, *OWN_COLUMNS)
PREFERENCE_COLUMNS = (*COLUMNS, *BESIDE_COLUMNS)

_TOLD = ("rank", "reason", "info_gain", "decision_gain", "p_first", "propensity")
"""What a comparison tells of why it was chosen."""

_MAX_PROMPT_CHARS = 1_000_000
_MAX_COMPONENTS = 64
_MOST = 1e100
"""Numbers of a vector are smaller: their squares must be numbers too."""

Vector = NDArray[np.float64]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A response; `vector` is an embedding (c,), `score` a reward model's (1,).

    `is_own`: its row is this response; else it is one of a row of a known format.
    """

    prompt_id: str
    prompt: str
    response_id: str
    text: str
    model: str
    vector: Vector | None
    score: Vector | None
    strata: tuple[str, ...]
    line: int
    is_own: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Preference:
    """What a row says of two responses; `chosen_id` is the response's id, were it in a pool."""

    prompt: str
    chosen: str
    rejected: str
    chosen_id: str
    rejected_id: str
    chosen_vector: Vector | None
    rejected_vector: Vector | None
    chosen_score: Vector | None
    rejected_score: Vector | None


@dataclass(frozen=True, slots=True)
class Selected:
    """What was read and chosen; `note` says what the reward model could not be given."""

    rows_in: int
    comparisons: list[dict[str, Any]]
    refused: list[Quarantined]
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class _Features:
    """Raw features: of the r responses, and of both sides of the e preferences.

    `near_rc` is what near duplicates are told by.
    """

    raw_rc: Vector
    chosen_ec: Vector
    rejected_ec: Vector
    blocks: Blocks
    near_rc: Vector
    note: str


def select_file(pools: Path, out: Path, rules: Rules, preferences: Path | None) -> Selected:
    """Choose from the pools of a file and write the comparisons to `out`.

    Refused rows go to a file beside it, `OUT.quarantine.jsonl`.

    Raises:
        Fatal: A file cannot be read or its ending is unknown, holds nothing that serves, or vectors
            differ in length, or these or scores are missing in some rows.
    """
    for path in (pools, *([preferences] if preferences else [])):
        if not is_read(path.name):
            raise Fatal(f"{path}: the ending must be one of {', '.join(ENDINGS)}.")
    if out.suffix not in WRITTEN:
        raise Fatal(f"{out}: the ending must be one of {', '.join(WRITTEN)}.")
    n_rows, responses, refused = read_pools(pools)
    responses, unscored = _scored_alike(responses)
    known: list[Preference] = []
    wrong: list[Quarantined] = []
    if preferences is not None:
        n_known, known, wrong = _rows(preferences, PREFERENCE_COLUMNS, _preferences)
        n_rows += n_known
    beside = Path(f"{out}.quarantine.jsonl")
    beside.unlink(missing_ok=True)
    if refused or wrong:
        _write(beside, [asdict(row) for row in (*refused, *wrong)])
    needs = "a response: a row needs `prompt` and `response`"
    _check_given(pools, responses, refused, needs)
    if preferences is not None:
        needs = "a preference: a row needs `prompt`, `chosen` and `rejected`"
        _check_given(preferences, known, wrong, needs)
    comparisons, note = _choose(responses, known, rules)
    _write(out, comparisons)
    note = " ".join(part for part in (unscored, note) if part)
    return Selected(n_rows, comparisons, [*refused, *wrong], note)


def read_pools(file: Path) -> tuple[int, list[Response], list[Quarantined]]:
    """How many rows a file of pools has, its responses, and the rows that are refused.

    Raises:
        Fatal: It cannot be read.
    """
    return _rows(file, POOL_COLUMNS, _responses)


def _rows(
    path: Path, columns: Sequence[str], parse: Callable[[RawRow], list[Row]]
) -> tuple[int, list[Row], list[Quarantined]]:
    """How many rows there are, what `parse` makes of them, and those of which it makes nothing.

    Each question of a tree with several answers is a row.
    """
    try:
        whole = (each for row in read_rows(path.name, path, columns) for each in unfolded(row))
        rows = list(parsed(whole, parse, "select"))
    except OSError as error:
        raise Fatal(f"{path} cannot be read: {error.strerror}.") from error
    refused = [row for row in rows if isinstance(row, Quarantined)]
    read = [each for row in rows if not isinstance(row, Quarantined) for each in row]
    return len(rows), read, refused


def _check_given(
    path: Path, rows: Sequence[object], refused: Sequence[Quarantined], needs: str
) -> None:
    """Say why a file gives nothing."""
    if rows:
        return
    if not refused:
        raise Fatal(f"{path} is empty.")
    first = f"line {refused[0].line}, {refused[0].reason}: {refused[0].detail}"
    raise Fatal(f"None of the {len(refused)} rows of {path} is {needs}. The first: {first}.")


def _responses(raw: RawRow) -> list[Response]:
    """The responses of a row: its `response` with what stands beside it, or all of its format."""
    example = judged(raw.value)
    if not example.candidates:
        raise Unreadable("no_text", "the row has no response")
    messages = check_prompt(example.prompt, _MAX_PROMPT_CHARS)
    prompt = prompt_identity(messages, read_tools(example.tools))
    row = columns_of(raw.value, OWN_COLUMNS)
    is_own = "response" in row
    own_score = _score(row, "score" if "score" in row else "reward") if is_own else None
    facts = {**row, **example.facts}
    scores = [score_of(said) for said in example.candidates]
    strata = tuple(f"{name}:{facts[name]}" for name in ("language", "topic") if facts.get(name))
    return [
        Response(
            prompt,
            _shown(messages),
            response_id(prompt, said.text),
            said.text,
            str(row.get("model", "")) if is_own else said.model or "",
            _vector({"vector": said.vector}, "vector"),
            own_score if is_own or score is None else np.array([score]),
            strata,
            raw.line,
            is_own,
        )
        for said, score in zip(example.candidates, scores, strict=True)
    ]


def _preferences(raw: RawRow) -> list[Preference]:
    example = judged(raw.value)
    prompt = prompt_identity(
        check_prompt(example.prompt, _MAX_PROMPT_CHARS), read_tools(example.tools)
    )
    row = columns_of(raw.value, BESIDE_COLUMNS)
    beside = [
        _vector(row, "chosen_vector"),
        _vector(row, "rejected_vector"),
        _score(row, "chosen_score"),
        _score(row, "rejected_score"),
    ]
    return [
        Preference(
            _shown(pair.messages),
            pair.chosen,
            pair.rejected,
            response_id(prompt, pair.chosen),
            response_id(prompt, pair.rejected),
            *beside,
        )
        for pair in pairs_of(example, _MAX_PROMPT_CHARS)
    ]


def _scored_alike(responses: Sequence[Response]) -> tuple[list[Response], str]:
    """Responses of formats whose scores are missing in some without any; and what is said then."""
    brought = [each for each in responses if not each.is_own]
    n_scored = sum(each.score is not None for each in brought)
    if n_scored == len(brought):
        return list(responses), ""
    without = [each if each.is_own else replace(each, score=None) for each in responses]
    note = "Some responses have no score: the reward model does without scores." if n_scored else ""
    return without, note


def _shown(messages: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(message["content"] for message in messages)


def _vector(row: Mapping[str, Any], name: str) -> Vector | None:
    value = row.get(name)
    if value is None:
        return None
    return read_vector(value, name, _MOST)


def _score(row: Mapping[str, Any], name: str) -> Vector | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        # CSV knows only texts.
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not abs(score) < _MOST:
        raise Unreadable("wrong_score", f"`{name}` must be a number, finite and not too large")
    return np.array([score])


@one_blas_thread()
def _choose(
    responses: Sequence[Response], known: Sequence[Preference], rules: Rules
) -> tuple[list[dict[str, Any]], str]:
    given = _features(responses, known)
    raw_rc = given.raw_rc
    rows_of: dict[str, list[int]] = {}
    for number, response in enumerate(responses):
        rows_of.setdefault(response.prompt_id, []).append(number)
    if all(len({responses[k].response_id for k in rows}) < 2 for rows in rows_of.values()):
        raise Fatal("No prompt has two responses that differ: there is no pair to choose.")
    half_ec = 0.5 * (given.chosen_ec - given.rejected_ec)
    centred = np.vstack([*(centre(raw_rc[rows]) for rows in rows_of.values()), half_ec, -half_ec])
    projection = fit_projection(centred, given.blocks, _MAX_COMPONENTS)
    z_ed = projection.apply(given.chosen_ec) - projection.apply(given.rejected_ec)
    posterior = prior_of(projection.blocks)
    if known:
        ones_e = np.ones(len(known))
        longer_e = [np.log1p(len(p.chosen)) - np.log1p(len(p.rejected)) for p in known]
        posterior = fit(
            z_ed, ones_e, ones_e, np.zeros(len(known)), longer_e, blocks=projection.blocks
        )
    # Preferences that come along have judged no model: enough of them open the gate.
    rules, note = effective_rules(
        rules,
        posterior.n_labels,
        effective_dimension(posterior),
        "open",
        has_score=projection.has_score,
    )
    note = " ".join(part for part in (note, given.note) if part)
    blocked_r = answers_nothing(
        [r.prompt_id for r in responses],
        [r.text for r in responses],
        [r.model for r in responses],
        asked_r=[r.prompt for r in responses],
    )
    pools = (
        Pool(
            prompt,
            [responses[k].response_id for k in rows],
            centre(projection.apply(raw_rc[rows])),
            clusters=near_duplicates(
                given.near_rc[rows], text_n=[responses[k].text for k in rows]
            ).tolist(),
            blocked=blocked_r[rows],
            strata=responses[rows[0]].strata,
        )
        for prompt, rows in sorted(rows_of.items())
    )
    text = {response.response_id: response for response in responses}
    return [
        _comparison(pool, choice, text, rules)
        for pool, choices in choose_for_pools(pools, posterior, rules)
        for choice in choices
    ], note


def _features(responses: Sequence[Response], known: Sequence[Preference]) -> _Features:
    """What is read of the responses and the preferences, with their scores where all have one."""
    given = _text_or_vectors(responses, known)
    score_r1 = _all_of(responses, "score")
    if score_r1 is None:
        return given
    pairs = _of_preferences(responses, known, "score")
    if pairs is None:
        note = (
            "Some preferences have no scores (chosen_score and rejected_score, or as responses of "
            "the pools): the reward model does without scores."
        )
        return replace(given, note=" ".join(part for part in (given.note, note) if part))
    return replace(
        given,
        raw_rc=np.hstack([given.raw_rc, score_r1]),
        chosen_ec=np.hstack([given.chosen_ec, pairs[0]]),
        rejected_ec=np.hstack([given.rejected_ec, pairs[1]]),
        blocks=(*given.blocks, Block(SCORE, 1)),
    )


def _text_or_vectors(responses: Sequence[Response], known: Sequence[Preference]) -> _Features:
    """Features of the responses and the preferences: vectors, or of the text where one lacks them.

    Near duplicates among the responses are told by their vectors in any case, if they have any.
    """
    near_rc = _all_of(responses, "vector")
    pairs = None if near_rc is None else _of_preferences(responses, known, "vector")
    if near_rc is not None and pairs is not None:
        n_columns = near_rc.shape[1]
        return _Features(near_rc, *pairs, (Block("vector", n_columns),), near_rc, "")
    prompts = [r.prompt for r in responses] + [p.prompt for p in known] * 2
    texts = [r.text for r in responses] + [p.chosen for p in known] + [p.rejected for p in known]
    raw = text_features(prompts, texts, _MAX_COMPONENTS).astype(np.float64)
    n, e = len(responses), len(known)
    note = ""
    if near_rc is not None:
        note = (
            "Some preferences have no vectors (chosen_vector and rejected_vector, or as responses "
            "of the pools): the reward model reads the texts; vectors tell near duplicates."
        )
    return _Features(
        raw[:n],
        raw[n : n + e],
        raw[n + e :],
        (Block("embedding", _MAX_COMPONENTS), Block("style", raw.shape[1] - _MAX_COMPONENTS)),
        raw[:n, :_MAX_COMPONENTS] if near_rc is None else near_rc,
        note,
    )


def _all_of(responses: Sequence[Response], name: str) -> Vector | None:
    """The vectors or scores (r, c) of all responses; None if none has one."""
    without = [response for response in responses if getattr(response, name) is None]
    if len(without) == len(responses):
        return None
    if without:
        raise Fatal(
            f"{len(without)} of {len(responses)} responses have no `{name}`, the first in line "
            f"{without[0].line}: give all rows one, or none."
        )
    return _stacked([getattr(response, name) for response in responses], name)


def _of_preferences(
    responses: Sequence[Response], known: Sequence[Preference], name: str
) -> tuple[Vector, Vector] | None:
    """Vectors or scores (e, c) of the chosen and the rejected sides; None where one is missing."""
    of_pool = {response.response_id: getattr(response, name) for response in responses}
    values: list[Vector | None] = []
    for side in ("chosen", "rejected"):
        own = [getattr(preference, f"{side}_{name}") for preference in known]
        ids = [getattr(preference, f"{side}_id") for preference in known]
        values += [of_pool.get(i) if v is None else v for i, v in zip(ids, own, strict=True)]
    if any(value is None for value in values):
        return None
    # One of the pool's besides: they must be of its length.
    both = _stacked([*values, getattr(responses[0], name)], f"chosen_{name} and rejected_{name}")
    return both[: len(known)], both[len(known) : -1]


def _stacked(vectors: Sequence[Vector | None], name: str) -> Vector:
    present = [vector for vector in vectors if vector is not None]
    lengths = sorted({len(vector) for vector in present})
    if len(lengths) > 1:
        raise Fatal(f"`{name}` has {lengths} numbers: give all rows the same length.")
    return np.stack(present)


def _comparison(
    pool: Pool, choice: Choice, text: Mapping[str, Response], rules: Rules
) -> dict[str, Any]:
    first, second = (text[pool.response_ids[k]] for k in (choice.i, choice.j))
    return {
        "pair_id": pair_id(first.response_id, second.response_id),
        "prompt_id": pool.prompt_id,
        "prompt": first.prompt,
        "first": first.text,
        "second": second.text,
        "kind": choice.kind,
        "strategy": rules.strategy,
        **{name: getattr(choice, name) for name in _TOLD},
    }


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    """A file of the rows, which appears whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    if out.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), part)
    else:
        lines = (json.dumps(row, ensure_ascii=False, default=_readable) for row in rows)
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.replace(out)


def _readable(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
