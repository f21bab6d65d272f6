"""A stored reward model: equal models are equal bytes, and reading one back changes nothing."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from winnow.errors import Corrupt, Fatal
from winnow.reward import (
    Block,
    Posterior,
    RewardModel,
    fit,
    fit_ensemble,
    fit_projection,
    version_as_stored,
)

BLOCKS = (Block("embedding", 198), Block("style", 2))


def raw_features(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 200))


@pytest.fixture
def model() -> RewardModel:
    projection = fit_projection(raw_features(80, seed=0), BLOCKS, 40)
    rng = np.random.default_rng(1)
    z = rng.normal(size=(30, projection.n_features))
    preferred, side = rng.choice([0.0, 0.5, 1.0], 30), rng.choice([-1.0, 1.0], 30)
    posterior = fit(z, preferred, np.ones(30), side, rng.normal(size=30))
    return RewardModel(projection, {"helpfulness": posterior}, "minilm-1")


def test_a_round_trip_is_byte_identical(model: RewardModel) -> None:
    stored = model.to_bytes()
    assert RewardModel.from_bytes(stored).to_bytes() == stored


def test_the_file_does_not_say_when_or_where_it_was_written(model: RewardModel) -> None:
    with zipfile.ZipFile(io.BytesIO(model.to_bytes())) as archive:
        stamps = {(entry.date_time, entry.create_system) for entry in archive.infolist()}
    assert stamps == {((1980, 1, 1, 0, 0, 0), 3)}


def test_a_model_read_back_gives_the_very_same_numbers(model: RewardModel) -> None:
    read, raw = RewardModel.from_bytes(model.to_bytes()), raw_features(7, seed=2)
    np.testing.assert_array_equal(read.features(raw), model.features(raw))
    features = model.features(raw)
    np.testing.assert_array_equal(read.posterior.mean(features), model.posterior.mean(features))
    np.testing.assert_array_equal(read.posterior.cov(features), model.posterior.cov(features))
    assert read.version == model.version
    assert read.posterior.version == model.posterior.version
    assert read.posterior.n_labels == 30
    assert read.feature_version == "minilm-1"


@pytest.fixture
def two_headed(model: RewardModel) -> RewardModel:
    rng, d = np.random.default_rng(3), model.projection.n_features
    first, second = rng.normal(size=(2, 20, d))
    ones = np.ones(20)
    preferred = rng.choice([0.0, 1.0], 20)
    ensemble = fit_ensemble(first, second, preferred, ones, ones, 0 * ones, 3, 4)
    heads = {"overall": ensemble.at_temperature(1.5), "harmlessness": model.posterior}
    return RewardModel(model.projection, heads, "minilm-1")


def test_heads_of_both_kinds_survive_a_round_trip(two_headed: RewardModel) -> None:
    stored = two_headed.to_bytes()
    read, features = RewardModel.from_bytes(stored), two_headed.features(raw_features(7, seed=2))
    assert read.dimensions == ("harmlessness", "overall")
    assert read.to_bytes() == stored
    assert read.version == two_headed.version
    for name, head in two_headed.heads.items():
        assert type(read.heads[name]) is type(head)
        np.testing.assert_array_equal(read.heads[name].mean(features), head.mean(features))
        np.testing.assert_array_equal(read.heads[name].cov(features), head.cov(features))


def test_the_order_in_which_heads_are_named_does_not_matter(two_headed: RewardModel) -> None:
    backwards = replace(two_headed, heads=dict(reversed(two_headed.heads.items())))
    assert backwards.to_bytes() == two_headed.to_bytes()
    assert backwards.version == two_headed.version


def test_the_overall_head_speaks_for_the_model_or_else_the_first_by_name(
    two_headed: RewardModel,
) -> None:
    heads = two_headed.heads
    assert two_headed.posterior is heads["overall"]
    named = {"zest": heads["overall"], "harmlessness": heads["harmlessness"]}
    assert replace(two_headed, heads=named).posterior is heads["harmlessness"]


def test_a_model_without_a_head_is_refused(model: RewardModel) -> None:
    with pytest.raises(Fatal, match="needs a head"):
        replace(model, heads={})


def test_features_are_projected_and_centred(model: RewardModel) -> None:
    features = model.features(raw_features(7, seed=2))
    assert features.shape == (7, 42)
    np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-12)


def test_the_version_covers_every_part(model: RewardModel) -> None:
    other_projection = fit_projection(raw_features(80, seed=9), BLOCKS, 40)
    versions = {
        model.version,
        replace(model, feature_version="minilm-2").version,
        replace(model, projection=other_projection).version,
        replace(model, heads={"helpfulness": replace(model.posterior, side=9.0)}).version,
        replace(model, heads={"harmlessness": model.posterior}).version,
    }
    assert len(versions) == 5


def test_a_model_of_release_0_3_is_read_and_keeps_the_version_it_was_stored_under() -> None:
    rng, d = np.random.default_rng(5), 4
    arrays = {
        "head0_cov": np.eye(d),
        "head0_mean": rng.normal(size=d),
        "head0_scalars": np.array([2.5, 30.0, 0.1, -0.2, 1.5]),
        "projection_components": rng.normal(size=(6, 2)),
        "projection_inverse_scale": np.ones(8),
        "projection_mean": np.zeros(8),
    }
    texts = {"dimensions": ["overall"], "feature_version": "minilm-1", "kinds": ["posterior"]}
    state = hashlib.sha256()
    of_texts = np.frombuffer(repr(sorted(texts.items())).encode(), np.uint8).astype("<f8")
    for array in (of_texts, *(arrays[name] for name in sorted(arrays))):
        state.update(repr(array.shape).encode() + array.astype("<f8").tobytes())
    stored = _npz(**arrays, **{name: np.array(text) for name, text in texts.items()})
    assert version_as_stored(stored) == state.hexdigest()
    read = RewardModel.from_bytes(stored)
    posterior = read.posterior
    assert isinstance(posterior, Posterior)
    assert posterior.precision_d.tolist() == [2.5] * d
    assert (posterior.n_labels, posterior.temperature) == (30, 1.5)
    raw = rng.normal(size=(3, 8))
    expected = np.hstack([raw[:, :6] @ arrays["projection_components"], raw[:, 6:]])
    np.testing.assert_allclose(read.projection.apply(raw), expected)
    assert RewardModel.from_bytes(read.to_bytes()).version == read.version


def test_the_version_of_stored_bytes_is_that_of_the_model(model: RewardModel) -> None:
    assert version_as_stored(model.to_bytes()) == model.version


def test_the_file_can_be_opened_by_numpy_without_pickles(model: RewardModel) -> None:
    with np.load(io.BytesIO(model.to_bytes()), allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["head0_mean"], model.posterior.mean_d)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"not a model", _npy(np.zeros(3)), _npz(scalars=np.zeros(2)), _npz(other=np.zeros(2))],
)
def test_bytes_that_are_no_model_are_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="not a stored reward model"):
        RewardModel.from_bytes(data)


def test_a_truncated_or_altered_file_is_corrupt(model: RewardModel) -> None:
    stored = bytearray(model.to_bytes())
    with pytest.raises(Corrupt):
        RewardModel.from_bytes(bytes(stored[:-100]))
    stored[len(stored) // 2] ^= 0xFF
    with pytest.raises(Corrupt):
        RewardModel.from_bytes(bytes(stored))
