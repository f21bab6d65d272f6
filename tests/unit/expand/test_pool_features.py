"""Figures of a response in its pool: by a slow reference, whatever the order and the script."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.expand.pool_features import (
    POOL_FIGURES,
    in_pool,
    in_pool_blocks,
    in_pool_version,
    logprob_figures,
    pool_figures,
    stored_version,
)

WORDS = ("a", "b", "the", "cats", "42", "1,000", "答", "案")
texts = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=1, max_size=7, unique=True
)


def reference(texts: list[str], embedding: np.ndarray) -> list[list[float]]:
    """The figures by their definitions, pair by pair."""
    words = [set(text.replace("1,000", "1 000").split()) for text in texts]
    rows = []
    for i, own in enumerate(words):
        others = [words[j] for j in range(len(words)) if j != i]
        shared = {w for one in words for w in one if sum(w in each for each in words) > 1}
        weight = {w: np.log((len(words) + 1) / sum(w in each for each in words)) for w in shared}
        recalls = [len(own & other) / len(other) if other else 0.0 for other in others]
        likes = [embedding[i] @ embedding[j] for j in range(len(texts)) if j != i]
        rows.append(
            [
                sum(recalls) / max(len(others), 1),
                sum(weight[w] for w in own & shared) / max(sum(weight.values()), 1e-300),
                sum(likes) / max(len(likes), 1),
            ]
        )
    return rows


@settings(max_examples=150, deadline=None)
@given(texts=texts, seed=st.integers(0, 99))
def test_the_figures_are_those_of_their_definitions(texts: list[str], seed: int) -> None:
    embedding = np.random.default_rng(seed).normal(size=(len(texts), 3))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    figures = pool_figures(texts, embedding)
    assert figures.shape == (len(texts), len(POOL_FIGURES))
    np.testing.assert_allclose(figures, reference(texts, embedding), atol=1e-12)
    shares = figures[:, :2]
    assert ((shares >= -1e-12) & (shares <= 1.0 + 1e-12)).all()


@settings(max_examples=50, deadline=None)
@given(texts=texts, seed=st.integers(0, 99))
def test_the_order_of_a_pool_does_not_matter(texts: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    order, embedding = rng.permutation(len(texts)), rng.normal(size=(len(texts), 3))
    shuffled = pool_figures([texts[k] for k in order], embedding[order])
    np.testing.assert_allclose(shuffled, pool_figures(texts, embedding)[order], atol=1e-12)


def test_a_script_without_spaces_is_read_by_its_characters() -> None:
    figures = pool_figures(["答案是", "答案不是", "cats"], np.eye(3))
    np.testing.assert_allclose(figures[:, 0], [0.5 * 3 / 4, 0.5, 0.0])


def test_log_probabilities_are_means_over_tokens_with_their_rank() -> None:
    figures = logprob_figures([-3.0, None, -9.0, -9.0], [3, 2, 3, 3])
    np.testing.assert_allclose(figures[:, 0], [-1.0, -7.0 / 3.0, -3.0, -3.0])
    np.testing.assert_allclose(figures[:, 1], [1.0, 2 / 3, 1 / 6, 1 / 6])
    assert (logprob_figures([None, None], [1, 2]) == 0.0).all()


@pytest.mark.parametrize("least", [-np.inf, -3.4e38, -1e9])
def test_a_chance_of_zero_leaves_the_figures_finite(least: float) -> None:
    figures = logprob_figures([least, -1.0, -2.0], [4, 1, 1])
    assert np.abs(figures).max() < 100.0
    assert figures[:, 1].tolist() == [0.0, 1.0, 0.5]


@pytest.mark.parametrize("none", [np.nan, np.inf])
def test_a_log_probability_that_is_none_is_not_known(none: float) -> None:
    told = logprob_figures([none, -1.0, -3.0], [1, 1, 1])
    assert (told == logprob_figures([None, -1.0, -3.0], [1, 1, 1])).all()


_DIGEST = """
import numpy as np
from winnow.expand.pool_features import pool_figures
draw = np.random.default_rng(0).choice
texts = [" ".join(draw([f"w{k}" for k in range(400)], 80)) for _ in range(9)]
print(pool_figures(texts, np.eye(9)).tobytes().hex())
"""


def test_two_processes_work_out_the_same_bytes() -> None:
    """Each hashes words in its own way, so that sets of them come in another order."""
    made = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1 and made != {b""}


def test_who_wrote_a_response_is_told_where_pools_mix_models() -> None:
    rows = [
        {"message": f"answer {k}", "logprob": None, "n_tokens": 2, "model": model}
        for k, model in enumerate(["small", "large", "small"])
    ]
    alone, mixed = (in_pool(rows, np.eye(3), models) for models in (["small"], ["large", "small"]))
    assert mixed[:, alone.shape[1] :].tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    for models, columns in ((["small"], alone), (["large", "small"], mixed)):
        assert sum(block.size for block in in_pool_blocks(models)) == columns.shape[1]


def test_the_version_tells_the_stored_one_and_the_models() -> None:
    one, other = (in_pool_version("minilm+style-1", models) for models in (["a"], ["a", "b"]))
    assert one != other
    assert stored_version(one) == stored_version(other) == "minilm+style-1"
    assert stored_version("minilm+style-1") == "minilm+style-1"
