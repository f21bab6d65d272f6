"""Selection on its own: candidate pools in a file, comparisons in a file; no lake, no vendor.

A row is a response: `prompt` (a string or messages) and `response` (a string), and where known a
`vector` (its embedding, of one length in all rows), the `model` that wrote it, and a `language` or
`topic` to put floors on.
Preferences that were bought before (`prompt`, `chosen`, `rejected`, as trainers read them) teach
the reward model; without any, pairs are chosen by diversity.

Always holds: rows in = responses read + rows refused, each with file, line and reason; the same
files give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.errors import Fatal
from winnow.expand.text_features import text_features
from winnow.ids import pair_id, response_id
from winnow.ingest.normalise import NotAPrompt, Prompt, parse_prompt
from winnow.ingest.readers import RawRow, read_rows
from winnow.records import Quarantined
from winnow.reward import Posterior, centre, fit, fit_projection, prior
from winnow.select import Choice, Pool, Rules, choose_for_pools, one_blas_thread
from winnow.select.fallback import effective_dimension, effective_rules
from winnow.select.screen import answers_nothing, near_duplicates

SUFFIXES = (".jsonl", ".parquet")

_MAX_PROMPT_CHARS = 1_000_000
_MAX_COMPONENTS = 64


@dataclass(frozen=True, slots=True)
class Response:
    """One row of a pool file."""

    prompt_id: str
    prompt: str
    response_id: str
    text: str
    model: str
    vector: tuple[float, ...] | None
    strata: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preference:
    """One row of a file of preferences."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Selected:
    """What was read and chosen; `note` says when the reward model was not yet trusted."""

    rows_in: int
    comparisons: list[dict[str, Any]]
    refused: list[Quarantined]
    note: str


def select_file(pools: Path, out: Path, rules: Rules, preferences: Path | None) -> Selected:
    """Choose from the pools of a file and write the comparisons to `out`.

    Refused rows go to a file beside it, `OUT.quarantine.jsonl`.

    Raises:
        Fatal: A file cannot be read or its ending is unknown, no row is a response, or vectors
            differ in length.
    """
    for path in (pools, out, *([preferences] if preferences else [])):
        if path.suffix not in SUFFIXES:
            raise Fatal(f"{path}: the ending must be one of {', '.join(SUFFIXES)}.")
    raw = _rows(pools)
    responses, refused = _parsed(raw, _response)
    known: list[Preference] = []
    if preferences is not None:
        raw_preferences = _rows(preferences)
        known, wrong = _parsed(raw_preferences, _preference)
        raw, refused = raw + raw_preferences, refused + wrong
    if not responses:
        raise Fatal(f"{pools} holds no response: a row needs `prompt` and `response`.")
    comparisons, note = _choose(responses, known, rules)
    _write(out, comparisons)
    if refused:
        lines = (json.dumps(asdict(row), default=_readable) for row in refused)
        Path(f"{out}.quarantine.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Selected(len(raw), comparisons, refused, note)


def _rows(path: Path) -> list[RawRow]:
    try:
        return list(read_rows(path.name, path.read_bytes()))
    except OSError as error:
        raise Fatal(f"{path} cannot be read: {error.strerror}.") from error


def _parsed(rows: Iterable[RawRow], parse: Any) -> tuple[list[Any], list[Quarantined]]:
    """Each row as `parse` reads it, or the reason why it cannot."""
    found, refused = [], []
    for row in rows:
        try:
            if row.fault is not None:
                raise NotAPrompt(*row.fault.split(": ", 1))
            found.append(parse(row))
        except NotAPrompt as fault:
            refused.append(
                Quarantined("select", fault.reason, fault.detail, row.file, row.line, raw=row.raw)
            )
    return found, refused


def _response(row: RawRow) -> Response:
    prompt = parse_prompt(row.value, row.file, row.line, _MAX_PROMPT_CHARS)
    text = _text(row.value, "response")
    strata = tuple(
        f"{name}:{row.value[name]}" for name in ("language", "topic") if row.value.get(name)
    )
    return Response(
        prompt.prompt_id,
        _shown(prompt),
        response_id(prompt.prompt_id, text),
        text,
        str(row.value.get("model") or ""),
        _vector(row.value.get("vector")),
        strata,
    )


def _preference(row: RawRow) -> Preference:
    prompt = parse_prompt(row.value, row.file, row.line, _MAX_PROMPT_CHARS)
    chosen, rejected = _text(row.value, "chosen"), _text(row.value, "rejected")
    if chosen == rejected:
        raise NotAPrompt("same_text", "chosen and rejected are one text")
    return Preference(_shown(prompt), chosen, rejected)


def _text(value: Mapping[str, Any], name: str) -> str:
    """A string, or the last turn of a conversation, as trainers write responses."""
    found = value.get(name)
    if isinstance(found, list) and found and isinstance(found[-1], dict):
        found = found[-1].get("content")
    if not isinstance(found, str):
        raise NotAPrompt("no_text", f"`{name}` must be a string or messages")
    return found


def _shown(prompt: Prompt) -> str:
    return "\n".join(message["content"] for message in prompt.messages)


def _vector(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        vector = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        raise NotAPrompt("wrong_vector", "`vector` must be a list of numbers") from None
    if not np.isfinite(vector).all():
        raise NotAPrompt("wrong_vector", "`vector` holds a number that is not finite")
    return vector


@one_blas_thread()
def _choose(
    responses: Sequence[Response], known: Sequence[Preference], rules: Rules
) -> tuple[list[dict[str, Any]], str]:
    raw_rc, known_first, known_second, n_embedding = _raw_features(responses, known)
    rows_of: dict[str, list[int]] = {}
    for number, response in enumerate(responses):
        rows_of.setdefault(response.prompt_id, []).append(number)
    half_ec = 0.5 * (known_first - known_second)
    centred = np.vstack([*(centre(raw_rc[rows]) for rows in rows_of.values()), half_ec, -half_ec])
    projection = fit_projection(centred, n_embedding, _MAX_COMPONENTS)
    z_ed = projection.apply(known_first) - projection.apply(known_second)
    posterior = _posterior(z_ed, known)
    rules, note = effective_rules(
        rules, posterior.n_labels, effective_dimension(posterior), "undecided"
    )
    blocked_r = answers_nothing(
        [r.prompt_id for r in responses],
        [r.text for r in responses],
        [r.model for r in responses],
    )
    embedding_rc = raw_rc[:, :n_embedding]
    pools = (
        Pool(
            prompt,
            [responses[k].response_id for k in rows],
            centre(projection.apply(raw_rc[rows])),
            clusters=near_duplicates(embedding_rc[rows]).tolist(),
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


def _raw_features(
    responses: Sequence[Response], known: Sequence[Preference]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Raw features of the responses, and of the chosen and rejected texts of the preferences.

    The last number says how many of their columns, the first ones, are an embedding.

    Vectors serve when every response has one and nothing else must be compared with them; features
    of the text alone serve otherwise.
    """
    vectors = [response.vector for response in responses]
    if not known and all(vector is not None for vector in vectors):
        lengths = {len(vector or ()) for vector in vectors}
        if len(lengths) > 1:
            raise Fatal(f"`vector` has {sorted(lengths)} numbers: give all rows the same length.")
        raw_rc = np.array(vectors, dtype=np.float64)
        return raw_rc, raw_rc[:0], raw_rc[:0], raw_rc.shape[1]
    prompts = [r.prompt for r in responses] + [p.prompt for p in known] * 2
    texts = [r.text for r in responses] + [p.chosen for p in known] + [p.rejected for p in known]
    raw = text_features(prompts, texts, _MAX_COMPONENTS).astype(np.float64)
    n, e = len(responses), len(known)
    return raw[:n], raw[n : n + e], raw[n + e :], _MAX_COMPONENTS


def _posterior(z_ed: NDArray[np.float64], known: Sequence[Preference]) -> Posterior:
    if not known:
        return prior(z_ed.shape[1], float(max(z_ed.shape[1], 1)))
    n_labels = len(known)
    longer_e = [np.log1p(len(p.chosen)) - np.log1p(len(p.rejected)) for p in known]
    return fit(z_ed, np.ones(n_labels), np.ones(n_labels), np.zeros(n_labels), longer_e)


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
        "rank": choice.rank,
        "reason": choice.reason,
        "info_gain": choice.info_gain,
        "decision_gain": choice.decision_gain,
        "p_first": choice.p_first,
        "propensity": choice.propensity,
    }


def _write(out: Path, comparisons: list[dict[str, Any]]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    if out.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(comparisons), part)
    else:
        lines = (json.dumps(row, ensure_ascii=False) for row in comparisons)
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.replace(out)


def _readable(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
