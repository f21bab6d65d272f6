"""Pools of real responses with a judge's scores: the ground on which strategies are compared.

A folder holds `alpaca_pool.parquet` (a row a response: `prompt_id, prompt, model, response, p_win`,
and `adversarial` where known), and may hold `alpaca_pool_minilm_f16.npy`, embeddings of prompt and
response in the same row order. `p_win` is a judge's probability that the response beats the
reference; without embeddings, features come from the text alone (LSA and style figures).

Or a file holds pools of any format that `winnow select` reads. What it says of a response, a score,
ratings or a rank, is then its quality: `p_win` is the share of the others to its prompt that have a
lower one, ties by half, so between 1 / 2n and 1 - 1 / 2n.

Always holds: a response that games the judge stays in its pool, so that a selector may fall for it;
selection blocks what the product's own screen finds, which does not read `adversarial`; no figure
is computed from a response that is blocked or marked so.

Shapes: r rows of the file, n responses of one prompt, c raw feature columns, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import rankdata

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.errors import Corrupt
from winnow.expand.pool_features import POOL_FIGURES, pool_figures
from winnow.expand.text_features import text_features
from winnow.ids import content_id
from winnow.reward import Block, Blocks, centre, fit_projection
from winnow.select.screen import answers_nothing
from winnow.stages.expand.pool_files import read_pools
from winnow.style import style_figures

POOL_FILE = "alpaca_pool.parquet"
EMBEDDING_FILE = "alpaca_pool_minilm_f16.npy"
COLUMNS = ("prompt_id", "prompt", "model", "response", "p_win")

MAX_COMPONENTS = 64
"""PCA dimensions of the embedding, the campaign's default."""

STRONG_MODEL = 0.25
"""Mean win rate above which a model is left out of the homogeneous pool."""

_LEAST_P_WIN = 1e-7
"""Where the judge's probability is clipped before its logit is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPool:
    """All responses to one prompt.

    Attributes:
        p_win_n: Probability that the judge prefers the response to the reference.
        length_n: log(1 + characters).
        longer_n: tanh of the length beyond the reference's, in standard deviations.
        blocked_n: Responses that no pair may have, by the product's screen.
        ignored_n: Responses that no figure counts: those, and the ones marked adversarial.
    """

    prompt_id: str
    response_ids: tuple[str, ...]
    features_nd: FloatArray
    p_win_n: FloatArray
    length_n: FloatArray
    longer_n: FloatArray
    blocked_n: BoolArray
    ignored_n: BoolArray

    @property
    def quality_n(self) -> FloatArray:
        """logit(p_win), the true reward of the simulated labels."""
        clipped_n = np.clip(self.p_win_n, _LEAST_P_WIN, 1.0 - _LEAST_P_WIN)
        return np.asarray(np.log(clipped_n) - np.log1p(-clipped_n))


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Judged pools under one name.

    Attributes:
        features: Tells in words where the features come from.
        blocks: What the columns of the features are.
    """

    name: str
    features: str
    blocks: Blocks
    pools: tuple[JudgedPool, ...]

    @property
    def largest_pool(self) -> int:
        """Responses in the largest pool."""
        return max(len(pool.response_ids) for pool in self.pools)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The file by column, and what is derived from it row by row."""

    prompt_id_r: NDArray[np.object_]
    prompt_r: NDArray[np.object_]
    model_r: NDArray[np.object_]
    response_r: NDArray[np.object_]
    p_win_r: FloatArray
    blocked_r: BoolArray
    ignored_r: BoolArray
    reference_r: BoolArray
    longer_r: FloatArray


def read_worlds(source: Path) -> tuple[World, ...]:
    """The pool of all models, and the one without the few strong ones, of a folder or a file.

    A prompt with fewer than two responses that count tells nothing and is left out.

    Raises:
        Corrupt: A file is missing or unreadable, a column is absent or of another type, a score is
            outside [0, 1], embeddings and rows differ in number, or no prompt is left.
    """
    if source.is_file():
        rows, vectors_rc = _read_pools(source)
    else:
        rows, vectors_rc = _read_rows(source / POOL_FILE), _read_vectors(source)
    features, raw_rc, blocks = _raw_features(rows, vectors_rc)
    weak_r = _of_models(rows.model_r, rows.p_win_r, lambda own: own.mean() <= STRONG_MODEL)
    worlds = []
    for name, kept_r in (("all", ~rows.reference_r), ("homogeneous", ~rows.reference_r & weak_r)):
        pools = [index_n[kept_r[index_n]] for index_n in _by_prompt(rows.prompt_id_r)]
        pools = [index_n for index_n in pools if (~rows.ignored_r[index_n]).sum() > 1]
        if pools:
            worlds.append(World(name, features, *_judged_pools(rows, raw_rc, blocks, pools)))
    if not worlds:
        file = source if source.is_file() else source / POOL_FILE
        raise Corrupt(f"{file}: no prompt has two responses that can be compared.")
    return tuple(worlds)


def _read_rows(path: Path) -> _Rows:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(f"{path} cannot be read as Parquet ({error}): pass its folder.") from error
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing or not table.num_rows:
        raise Corrupt(
            f"{path} lacks {', '.join(missing) or 'rows'}: it needs {', '.join(COLUMNS)}."
        )
    prompt_id, prompt, model, response = (
        np.array(["" if v is None else str(v) for v in table[column].to_pylist()], dtype=object)
        for column in COLUMNS[:4]
    )
    try:
        p_win = table["p_win"].to_numpy().astype(np.float64)
    except (TypeError, ValueError) as error:
        raise Corrupt(f"{path}: p_win must hold numbers within [0, 1].") from error
    bad = np.flatnonzero(~((p_win >= 0.0) & (p_win <= 1.0)))
    if len(bad):
        raise Corrupt(f"{path}, row {bad[0] + 1}: p_win is {p_win[bad[0]]}, not within [0, 1].")
    adversarial = np.zeros(len(p_win), dtype=np.bool_)
    if "adversarial" in table.column_names:
        adversarial = np.array(table["adversarial"].to_pylist(), dtype=np.bool_)
    return _rows(prompt_id, prompt, model, response, p_win, adversarial)


def _read_pools(file: Path) -> tuple[_Rows, NDArray[np.float32] | None]:
    """The responses of a file that have a score, and their vectors where all have one."""
    _, every, refused = read_pools(file)
    scored = [each for each in every if each.score is not None]
    if not scored:
        why = f"; {refused[0].reason} in line {refused[0].line}" if refused else ""
        raise Corrupt(
            f"{file}: nothing says how good a response is, no score, rating or rank{why}."
        )
    names = ("prompt_id", "prompt", "model", "text")
    prompt_id, prompt, model, text = (
        np.array([getattr(each, name) for each in scored], object) for name in names
    )
    score_r = np.array([each.score[0] for each in scored if each.score is not None])
    p_win = np.empty(len(scored))
    for index_n in _by_prompt(prompt_id):
        own = score_r[index_n]
        p_win[index_n] = (rankdata(own) - 0.5) / len(own)
    not_known = np.zeros(len(scored), np.bool_)
    rows = _rows(prompt_id, prompt, model, text, p_win, not_known)
    vectors = [each.vector for each in scored if each.vector is not None]
    is_whole = len(vectors) == len(scored) and len({len(each) for each in vectors}) == 1
    return rows, np.array(vectors, np.float32) if is_whole else None


def _rows(
    prompt_id: NDArray[np.object_],
    prompt: NDArray[np.object_],
    model: NDArray[np.object_],
    response: NDArray[np.object_],
    p_win: FloatArray,
    adversarial: BoolArray,
) -> _Rows:
    questions = [str(text) for text in prompt]
    blocked = answers_nothing(list(prompt_id), list(response), list(model), asked_r=questions)
    # Every response of the reference's own model ties: it is compared with itself.
    reference = _of_models(model, p_win, lambda own: bool((own == 0.5).all()))
    return _Rows(
        prompt_id,
        prompt,
        model,
        response,
        p_win,
        blocked,
        blocked | adversarial,
        reference,
        _longer_than_reference(prompt_id, response, reference),
    )


def _of_models(
    model_r: NDArray[np.object_], p_win_r: FloatArray, is_such: Callable[[FloatArray], bool]
) -> BoolArray:
    """Mask (r,) of the responses of models whose win rates are such."""
    such = [model for model in sorted(set(model_r)) if is_such(p_win_r[model_r == model])]
    return np.isin(model_r, such)


def _longer_than_reference(
    prompt_id_r: NDArray[np.object_], response_r: NDArray[np.object_], reference_r: BoolArray
) -> FloatArray:
    """Tanh of the length difference in standard deviations, as AlpacaEval controls for it.

    Where a prompt has no reference response, its median length stands in for it.
    """
    chars_r = np.array([len(text) for text in response_r], dtype=np.float64)
    beyond_r = np.empty(len(chars_r))
    for index_n in _by_prompt(prompt_id_r):
        own_n = index_n[reference_r[index_n]]
        beyond_r[index_n] = chars_r[index_n] - np.median(chars_r[own_n if len(own_n) else index_n])
    return np.asarray(np.tanh(beyond_r / max(float(beyond_r.std()), 1.0)))


def _read_vectors(folder: Path) -> NDArray[np.float32] | None:
    """The embeddings beside a folder's pools; None where there are none."""
    path = folder / EMBEDDING_FILE
    if not path.exists():
        return None
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise Corrupt(f"{path} cannot be read as an array of numbers.") from error


def _raw_features(
    rows: _Rows, embedding_rc: NDArray[np.float32] | None
) -> tuple[str, NDArray[np.float32], Blocks]:
    """What the features are, the raw columns (r, c) but those of the pool, and their blocks."""
    texts = (list(rows.prompt_r), list(rows.response_r))
    if embedding_rc is None:
        text_rc = text_features(*texts, MAX_COMPONENTS)
        style = Block("style", text_rc.shape[1] - MAX_COMPONENTS)
        return (
            "text alone: LSA, style and pool",
            text_rc,
            (Block("embedding", MAX_COMPONENTS), style),
        )
    if embedding_rc.ndim != 2 or len(embedding_rc) != len(rows.p_win_r):
        raise Corrupt(
            f"Embeddings have the shape {embedding_rc.shape} and the pools {len(rows.p_win_r)} "
            f"rows: they must match row by row; remove {EMBEDDING_FILE} to use features of the "
            "text alone."
        )
    style_rc = np.stack([style_figures(*row) for row in zip(*texts, strict=True)])
    blocks = Block("embedding", embedding_rc.shape[1]), Block("style", style_rc.shape[1])
    return "embeddings, style and pool", np.hstack([embedding_rc, style_rc]), blocks


def _judged_pools(
    rows: _Rows,
    stored_rc: NDArray[np.float32],
    stored: Blocks,
    pools: Sequence[IndexArray],
) -> tuple[Blocks, tuple[JudgedPool, ...]]:
    """What the features of the pools are, and the pools."""
    n_embedding = stored[0].size
    raw = [
        np.hstack(
            [
                stored_rc[index_n].astype(np.float64),
                pool_figures(
                    list(rows.response_r[index_n]),
                    stored_rc[index_n, :n_embedding].astype(np.float64),
                ),
            ]
        )
        for index_n in pools
    ]
    blocks = (*stored, Block("pool", len(POOL_FIGURES)))
    projection = fit_projection(np.vstack([centre(each) for each in raw]), blocks, MAX_COMPONENTS)
    return projection.blocks, tuple(
        JudgedPool(
            prompt_id=rows.prompt_id_r[index_n[0]],
            response_ids=tuple(content_id("response", rows.response_r[k]) for k in index_n),
            features_nd=centre(projection.apply(raw_nc)),
            p_win_n=rows.p_win_r[index_n],
            length_n=np.log1p([len(rows.response_r[k]) for k in index_n]),
            longer_n=rows.longer_r[index_n],
            blocked_n=rows.blocked_r[index_n],
            ignored_n=rows.ignored_r[index_n],
        )
        for index_n, raw_nc in zip(pools, raw, strict=True)
    )


def _by_prompt(prompt_id_r: NDArray[np.object_]) -> Iterator[IndexArray]:
    """Row numbers of each prompt, in order of its id."""
    _, number_r = np.unique(prompt_id_r.astype(str), return_inverse=True)
    order_r = np.argsort(number_r, kind="stable")
    yield from np.split(order_r, np.flatnonzero(np.diff(number_r[order_r])) + 1)
