"""Raw features to reward features: repeatable, bounded, and safe on degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.reward import Block, Blocks, centre, fit_projection

EIGHT = (Block("embedding", 6), Block("style", 2))


def columns(raw: np.ndarray, n_embedding: int) -> Blocks:
    return Block("embedding", n_embedding), Block("style", raw.shape[1] - n_embedding)


def raw_features(n: int, n_embedding: int = 6, n_cheap: int = 2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.1, 50.0, n_embedding + n_cheap)
    return rng.normal(3.0, 1.0, (n, n_embedding + n_cheap)) * scales


def test_columns_come_out_standardised_and_components_uncorrelated() -> None:
    raw = raw_features(400)
    features = fit_projection(raw, columns(raw, 6), 4).apply(raw)
    assert features.shape == (400, 6)
    np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(features[:, 4:].std(axis=0), 1.0)
    covariance = np.cov(features[:, :4].T, bias=True)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0.0, atol=1e-12)
    assert (np.diff(np.diag(covariance)) <= 0).all()
    assert np.diag(covariance).mean() == pytest.approx(1.0)


def test_components_keep_the_geometry_of_the_embedding_when_none_is_dropped() -> None:
    raw = raw_features(50, n_cheap=0)
    features = fit_projection(raw, columns(raw, 6), 6).apply(raw)
    standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(features @ features.T, standard @ standard.T, atol=1e-9)


def test_the_order_of_rows_changes_neither_size_nor_sign_of_a_component() -> None:
    raw = raw_features(60)
    one, other = (fit_projection(rows, EIGHT, 3) for rows in (raw, raw[::-1]))
    np.testing.assert_allclose(one.components[0], other.components[0], atol=1e-9)


def test_the_sign_of_a_component_does_not_come_from_the_solver() -> None:
    loadings = fit_projection(raw_features(60), EIGHT, 6).components[0]
    assert (loadings[np.abs(loadings).argmax(axis=0), np.arange(6)] > 0).all()


def test_a_column_that_never_varied_is_zero_ever_after() -> None:
    raw = raw_features(30)
    raw[:, 2] = 0.1
    raw[:, 7] = 1e6
    projection = fit_projection(raw, columns(raw, 6), 6)
    changed = raw.copy()
    changed[:, [2, 7]] += 40.0
    assert projection.n_features == 5 + 2
    np.testing.assert_array_equal(projection.apply(changed), projection.apply(raw))
    assert (projection.apply(raw)[:, -1] == 0.0).all()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 5), limit=st.integers(1, 300))
def test_fewer_rows_than_components_give_finite_features(n: int, limit: int) -> None:
    raw = raw_features(n, n_embedding=12)
    projection = fit_projection(raw, columns(raw, 12), limit)
    features = projection.apply(raw)
    assert features.shape == (n, projection.n_features)
    assert projection.n_features <= max(n - 1, 0) + 2
    assert np.isfinite(features).all()


def test_at_most_256_features_come_out() -> None:
    raw = np.random.default_rng(0).normal(size=(320, 310))
    assert fit_projection(raw, columns(raw, 300), 1000).n_features == 256


def test_half_precision_features_are_read_as_double() -> None:
    raw = raw_features(20).astype(np.float16)
    assert fit_projection(raw, columns(raw, 6), 3).apply(raw).dtype == np.float64


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(Fatal, match=r"7 columns.*fitted on 8"):
        fit_projection(raw_features(20), EIGHT, 3).apply(raw_features(5)[:, :7])


def test_no_rows_are_refused() -> None:
    with pytest.raises(Fatal, match="at least one row"):
        fit_projection(np.zeros((0, 8)), EIGHT, 3)


def test_a_feature_that_is_not_finite_is_corrupt() -> None:
    raw = raw_features(20)
    raw[3, 1] = np.nan
    with pytest.raises(Corrupt, match="1 of 20"):
        fit_projection(raw, columns(raw, 6), 3)


def test_each_wide_block_is_reduced_by_itself_and_the_others_pass() -> None:
    raw = raw_features(80, n_embedding=9, n_cheap=3)
    blocks = (Block("embedding", 5), Block("style", 2), Block("state:rm", 4), Block("score:rm", 1))
    projection = fit_projection(raw, blocks, 3)
    sizes = [("embedding", 3), ("style", 2), ("state:rm", 3), ("score:rm", 1)]
    assert [tuple(block) for block in projection.blocks] == sizes
    alone = fit_projection(raw[:, 7:11], (Block("state:rm", 4),), 3)
    features = projection.apply(raw)
    np.testing.assert_allclose(features[:, 5:8], alone.apply(raw[:, 7:11]))
    np.testing.assert_allclose(features[:, 8].std(), 1.0)


def test_blocks_that_are_not_the_columns_are_refused() -> None:
    with pytest.raises(Fatal, match=r"20 rows of 8 columns for embedding \(6\), style \(3\)"):
        fit_projection(raw_features(20), (Block("embedding", 6), Block("style", 3)), 3)


def test_centred_features_have_no_common_part() -> None:
    features = raw_features(9)
    np.testing.assert_allclose(centre(features + 7.0), centre(features), atol=1e-9)
    np.testing.assert_allclose(centre(features).sum(axis=0), 0.0, atol=1e-9)
    assert centre(np.zeros((0, 3))).shape == (0, 3)
