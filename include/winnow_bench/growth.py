"""What adaptive pools save: pools that were drawn in full, grown again under the rule.

A file of pools holds more responses a prompt than the fixed pool it is compared with. Each prompt's
responses are put in a random order, and grow in rounds under `stages.select.growth` at one price of
tokens after another, as a night would let them grow. A dearer token ends pools earlier. For each
price two things are told: gain and tokens beside the fixed pool's, and what is saved of the tokens
that fixed pools of the *same gain* take, whatever their size (between the sizes that were measured,
gain is taken to rise with the logarithm of the size).

Always holds: gain is the rule's own, the information gain of the best pairs before any label;
intervals are over prompts, resampled.

Shapes: p prompts, q sizes of fixed pools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import FloatArray, IndexArray
from winnow.campaign import Expand, Select
from winnow.errors import Fatal
from winnow.expand.flags import flags_of
from winnow.expand.growth import PoolSoFar
from winnow.expand.shard import round_ends
from winnow.ids import response_id
from winnow.ingest.formats.raw import RawRow
from winnow.ingest.readers import read_rows
from winnow.ingest.values import Unreadable, columns_of
from winnow.stages.select.growth import promise
from winnow.style import style_figures
from winnow_bench.document import write_report

FIXED = 50
FIXED_SIZES = (8, 12, 16, 24, 32, 40, FIXED, 64, 80, 96, 128)
FIRST_ROUND = 8
LABEL_PRICE = 100_000
"""$0.10, as the campaigns have it; only its ratio to the price of tokens plays a part."""

PRICES = tuple(round(10.0 ** (power / 8), 2) for power in range(25))
"""Dollars per million tokens that are tried, from 1 to 1,000."""

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Prompted:
    """All draws for one prompt, in the order of the file."""

    prompt: str
    texts: list[str]
    n_tokens: FloatArray
    finish: list[str]
    vectors_nc: NDArray[np.float16]


def run(pool_file: Path, out: Path, repetitions: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Replay the pools of a file (`prompt, response, n_tokens, vector` a row); write growth.json.

    Raises:
        Fatal: The file cannot be read, no prompt has more responses than the fixed pool, or there
            are fewer than one repetition.
    """
    if repetitions < 1:
        raise Fatal(f"{repetitions} repetitions: the bench needs at least one.")
    pools = read_pools(pool_file)
    if not pools:
        raise Fatal(f"{pool_file}: no prompt has more than {FIXED} responses with a vector.")
    largest = min(len(pool.texts) for pool in pools)
    grown = [
        _grown(pool, largest, repetition, say)
        for repetition in range(repetitions)
        for pool in pools
    ]
    sizes = [size for size in FIXED_SIZES if size <= largest]
    savings = [_saving(price, grown, sizes, len(pools)) for price in PRICES]
    equal = [saving for saving in savings if saving["gain"] >= 1.0]
    report = {
        "prompts": len(pools),
        "largest_pool": largest,
        "repetitions": repetitions,
        "fixed": FIXED,
        "at_equal_gain": min(equal, key=lambda saving: saving["tokens"], default=None),
        "prices": savings,
    }
    write_report(out, "growth", report)
    say(summary(report))
    return report


POOL_COLUMNS = ("prompt", "response", "n_tokens", "finish_reason", "vector")


def read_pools(file: Path) -> list[Prompted]:
    """Pools of more than the fixed size, in order of their prompts.

    Raises:
        Fatal: The file is not there, or a row is not what is asked for.
    """
    if not file.is_file():
        raise Fatal(f"{file} is no file: name the pools with --pool.")
    rows: dict[str, list[dict[str, Any]]] = {}
    for raw in read_rows(file.name, file, POOL_COLUMNS):
        row = _row(raw, file)
        rows.setdefault(row["prompt"], []).append(row)
    return [
        Prompted(
            prompt,
            [row["response"].strip() for row in drawn],
            np.array([row["n_tokens"] for row in drawn], dtype=np.float64),
            [row["finish_reason"] for row in drawn],
            _vectors(prompt, drawn, file),
        )
        for prompt, drawn in sorted(rows.items())
        if len(drawn) > FIXED
    ]


def _row(raw: RawRow, file: Path) -> dict[str, Any]:
    try:
        row = columns_of(raw.value, POOL_COLUMNS) if raw.fault is None else {}
    except Unreadable as fault:
        raise Fatal(f"{file}, row {raw.line}: {fault}.") from fault
    kinds: dict[str, Any] = {
        "prompt": str,
        "response": str,
        "n_tokens": (int, float),
        "vector": object,
    }
    row = {"finish_reason": "stop", **row}
    is_whole = all(row.get(n) is not None and isinstance(row[n], k) for n, k in kinds.items())
    if not is_whole or not isinstance(row["finish_reason"], str):
        raise Fatal(
            f"{file}, row {raw.line}: {raw.fault or 'a value is missing or of another type'}; "
            "each row needs prompt, response, n_tokens and vector."
        )
    return row


def _vectors(prompt: str, drawn: Sequence[dict[str, Any]], file: Path) -> NDArray[np.float16]:
    try:
        embedding_nh = np.array([row["vector"] for row in drawn], dtype=np.float16)
    except (TypeError, ValueError) as error:
        raise Fatal(f"{file}: vectors must hold numbers, as many in each.") from error
    if embedding_nh.ndim != 2:
        raise Fatal(f"{file}: vectors must be lists of numbers.")
    style = np.stack([style_figures(prompt, row["response"]) for row in drawn])
    return np.hstack([embedding_nh, style]).astype(np.float16)


@dataclass(frozen=True, slots=True)
class _Grown:
    """One prompt in one order: gain and tokens of each size, and the prices at which it stops."""

    gain_of: dict[int, float]
    tokens_of: dict[int, float]
    price_of: dict[int, float]

    def size_at(self, price: float) -> int:
        """Where the pool stops when tokens cost so much."""
        for size, highest in self.price_of.items():
            if price >= highest:
                return size
        return max(self.gain_of)

    def facts(self, size: int, fixed: Sequence[int]) -> list[float]:
        """Gain and tokens at `size`, then the gain at each fixed size, then tokens at `FIXED`."""
        gains = [self.gain_of[each] for each in fixed]
        return [self.gain_of[size], self.tokens_of[size], *gains, self.tokens_of[FIXED]]


def _grown(pool: Prompted, largest: int, repetition: int, say: Callable[[str], None]) -> _Grown:
    order = np.random.default_rng([repetition, len(pool.prompt)]).permutation(len(pool.texts))
    settings = Expand(model="m", pool_size=largest, first_round=FIRST_ROUND)
    ends = round_ends(settings)
    gains, tokens, prices = {}, {}, {}
    following_of = dict(pairwise(ends))
    for size in sorted({*ends, *(size for size in FIXED_SIZES if size <= largest)}):
        so_far = _so_far(pool, order[:size])
        following = following_of.get(size, size + 1)
        promised = promise(so_far, following, settings, Select(), LABEL_PRICE, None)
        gains[size], tokens[size] = promised.gain, float(pool.n_tokens[order[:size]].sum())
        if size in following_of:
            # Of a dollar a million tokens: the price at which the round is no longer worth it.
            prices[size] = promised.worth / promised.cost if promised.new_texts >= 1.0 else 0.0
    say(f"{pool.prompt[:50]!r}: " + ", ".join(f"{n}: {g:.2f}" for n, g in sorted(gains.items())))
    return _Grown(gains, tokens, prices)


def _so_far(pool: Prompted, rows: IndexArray) -> PoolSoFar:
    places: dict[str, list[int]] = {}
    for row in rows.tolist():
        if pool.texts[row]:
            places.setdefault(pool.texts[row], []).append(row)
    first = [drawn[0] for drawn in places.values()]
    return PoolSoFar(
        prompt_id=response_id("prompt", pool.prompt),
        rows=[
            {"message": pool.texts[row], "logprob": None, "n_tokens": int(pool.n_tokens[row])}
            for row in first
        ],
        response_ids=[response_id(pool.prompt, text) for text in places],
        duplicates=[len(drawn) for drawn in places.values()],
        flags=[flags_of(pool.prompt, pool.texts[row], pool.finish[row]) for row in first],
        vectors_nc=pool.vectors_nc[first],
        mean_tokens=float(pool.n_tokens[rows].mean()),
    )


_SHARES = ("gain", "tokens", "saved")
"""Gain of the best pairs and tokens as shares of the fixed pools', and what is saved of the tokens
that fixed pools of the same gain take, as a share."""


def _saving(
    price: float, grown: Sequence[_Grown], fixed: Sequence[int], n_prompts: int
) -> dict[str, float]:
    """Adaptive against fixed pools at one price, with 95 % intervals over prompts."""
    sizes = [each.size_at(price) for each in grown]
    facts = np.array([g.facts(n, fixed) for g, n in zip(grown, sizes, strict=True)])
    by_prompt = facts.reshape(-1, n_prompts, facts.shape[1]).mean(axis=0)
    rng = np.random.default_rng(0)
    drawn = by_prompt[rng.integers(n_prompts, size=(_RESAMPLES, n_prompts))].sum(axis=1)
    resampled = np.array([_shares(sums, fixed) for sums in drawn])
    lows, highs = np.quantile(resampled, [0.025, 0.975], axis=0).tolist()
    saving = {"usd_per_million_tokens": price, "responses": float(np.mean(sizes))}
    for end, shares in (
        ("", _shares(by_prompt.sum(axis=0), fixed)),
        ("_low", lows),
        ("_high", highs),
    ):
        saving |= {f"{name}{end}": share for name, share in zip(_SHARES, shares, strict=True)}
    return saving


def _shares(sums: FloatArray, fixed: Sequence[int]) -> tuple[float, float, float]:
    """Gain and tokens as shares of the fixed pool's, and what fixed pools of that gain cost more.

    `sums` are those of `_Grown.facts` over prompts.
    """
    gain, tokens, *fixed_q, fixed_tokens = sums.tolist()
    rising_q = np.maximum.accumulate(fixed_q)
    same = float(np.exp(np.interp(gain, rising_q, np.log(fixed))))
    return (
        gain / fixed_q[list(fixed).index(FIXED)],
        tokens / fixed_tokens,
        1.0 - tokens / (fixed_tokens * same / FIXED),
    )


def summary(report: dict[str, Any]) -> str:
    """A line a price, and what is saved at the gain of the fixed pools."""
    lines = [
        f"${row['usd_per_million_tokens']:>9} a million tokens: pools of {row['responses']:5.1f}, "
        f"gain {row['gain']:.1%} ({row['gain_low']:.1%} to {row['gain_high']:.1%}), "
        f"tokens {row['tokens']:.1%} ({row['tokens_low']:.1%} to {row['tokens_high']:.1%}), "
        f"{row['saved']:+.1%} saved of fixed pools of that gain "
        f"({row['saved_low']:+.1%} to {row['saved_high']:+.1%})"
        for row in report["prices"]
    ]
    equal = report["at_equal_gain"]
    if equal is None:
        return "\n".join([*lines, "At no price do the adaptive pools reach the fixed pools' gain."])
    return "\n".join(
        [
            *lines,
            f"At the gain of fixed pools of {report['fixed']} ({equal['gain']:.1%} of it), "
            f"adaptive pools take {equal['tokens']:.1%} of the tokens "
            f"({equal['tokens_low']:.1%} to {equal['tokens_high']:.1%}).",
        ]
    )
