"""The components follow what texts say, in any order, any script and any process."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Fatal
from winnow.expand.text_features import embedded_words, text_features
from winnow.style import style_figures

N_STYLE = len(style_figures("", ""))
TOPICS = {
    "tides": "the moon pulls the water of the sea and the tides rise twice a day with the moon",
    "bread": "knead flour with yeast and salt then let the dough rise and bake the loaf",
    "court": "a judge hears the lawyers of both parties before the jury gives its verdict in court",
}


def components(texts: list[str], n_components: int = 8) -> np.ndarray:
    return text_features([""] * len(texts), texts, n_components)[:, :n_components]


def variants(topic: str, n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    words = TOPICS[topic].split()
    return [" ".join(rng.choice(words, 12)) for _ in range(n)]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_texts_on_one_subject_are_closer_than_texts_on_two() -> None:
    found = components([text for topic in TOPICS for text in variants(topic, 20)])
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    topic = np.repeat(np.arange(3), 20)
    same = (unit @ unit.T)[topic[:, None] == topic].mean()
    other = (unit @ unit.T)[topic[:, None] != topic].mean()
    assert same > other + 0.5


@pytest.mark.parametrize(
    ("close", "same", "different"),
    [
        ("月亮引起了海洋的潮汐变化", "海洋的潮汐由月亮引起", "面包需要面粉和酵母烤制"),
        ("ดวงจันทร์ทำให้เกิดน้ำขึ้น", "น้ำขึ้นเกิดจากดวงจันทร์", "ขนมปังทำจากแป้ง"),
        ("GPT：月亮引起潮汐", "潮汐由月亮引起：LLM", "面包由面粉烤制：LLM"),
        ("🙂🙃😀", "😀🙂🙃", "🚗🚕🚙"),
        ("Луна вызывает приливы", "приливы вызывает Луна", "хлеб пекут из муки"),
    ],
)
def test_any_script_is_read(close: str, same: str, different: str) -> None:
    one, other, far = components([close, same, different], 3)
    assert cosine(one, other) > cosine(one, far) + 0.3


def test_the_order_of_words_tells_texts_apart() -> None:
    one, other, again = components(["dog bites man", "man bites dog", "dog bites man"], 3)
    np.testing.assert_allclose(one, again, atol=1e-6)
    assert np.abs(one - other).max() > 0.1


def test_components_keep_the_distances_of_tf_idf() -> None:
    # Two texts of k words each that share none are √2 apart, whatever the weights.
    one, other = components(["alpha beta gamma", "delta epsilon zeta"], 4)
    assert np.linalg.norm(one - other) == pytest.approx(np.sqrt(2), abs=1e-5)


def test_a_rare_word_weighs_more_than_one_that_every_text_has() -> None:
    texts = ["common rare", "common other", *["common"] * 30, "rare"]
    found = components(texts, 40)
    assert cosine(found[0], found[-1]) > cosine(found[0], found[5])


@pytest.mark.parametrize("n", [30, 300])
def test_the_order_of_texts_changes_rounding_only(n: int) -> None:
    texts = [text for topic in TOPICS for text in variants(topic, n // 3, seed=n)]
    order = np.random.default_rng(1).permutation(n)
    shuffled = components([texts[i] for i in order], 6)
    np.testing.assert_allclose(shuffled, components(texts, 6)[order], atol=1e-4)


def test_a_large_set_is_fitted_on_a_sample_that_no_order_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [text for topic in TOPICS for text in variants(topic, 60)]
    whole = components(texts, 3)
    monkeypatch.setattr("winnow.expand.text_features.MAX_FITTED", 90)
    sampled, backwards = components(texts, 3), components(texts[::-1], 3)
    np.testing.assert_allclose(sampled, backwards[::-1], atol=1e-4)
    assert np.abs(sampled - whole).max() > 1e-3
    assert np.corrcoef((sampled @ sampled.T).ravel(), (whole @ whole.T).ravel())[0, 1] > 0.98


def test_every_process_gives_the_same_bytes() -> None:
    script = (
        "import numpy as np; from winnow.expand.text_features import text_features as f;"
        "words = np.random.default_rng(0).integers(0, 3000, (1000, 20));"
        "texts = [' '.join(f'w{i}' for i in row) for row in words];"
        "print(f([''] * 1000, texts, 32).tobytes().hex())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        ).stdout
        for seed, path in [("1", ":".join(sys.path)), ("2", ":".join(sys.path))]
    ]
    assert runs[0] == runs[1] and len(runs[0]) > 200


def test_texts_without_content_have_zeros_for_components() -> None:
    found = components(["", "the tides", " \n\t"], 4)
    assert not found[0].any() and not found[2].any() and found[1].any()


@pytest.mark.parametrize("texts", [[], [""], ["one"], ["same words"] * 100])
def test_poor_pools_keep_their_shape(texts: list[str]) -> None:
    found = text_features([""] * len(texts), texts, 16)
    assert found.shape == (len(texts), 16 + N_STYLE)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    assert np.ptp(found, axis=0).max(initial=0) < 1e-6 if texts else True


def test_duplicates_of_few_texts_leave_the_other_components_empty() -> None:
    found = components(["red car", "blue car", "old house"] * 40, 10)
    assert not found[:, 3:].any()
    np.testing.assert_allclose(found[:3], found[3:6], atol=1e-6)


def test_the_figures_of_style_follow() -> None:
    found = text_features(["Why tides?"], ["- The moon.\n- The sun."], 5)
    np.testing.assert_array_equal(
        found[0, 5:], style_figures("Why tides?", "- The moon.\n- The sun.")
    )


@settings(max_examples=40)
@given(st.lists(st.text(max_size=30), max_size=12), st.integers(1, 9))
def test_any_text_gives_finite_rows_no_longer_than_one(texts: list[str], n: int) -> None:
    found = components(texts, n)
    assert np.isfinite(found).all()
    assert (np.linalg.norm(found, axis=1) < 1 + 1e-5).all()


@pytest.mark.parametrize(("n_prompts", "n_components"), [(1, 8), (2, 0)])
def test_what_cannot_be_is_refused(n_prompts: int, n_components: int) -> None:
    with pytest.raises(Fatal, match=f"{n_prompts} prompts, 2 responses, {n_components} comp"):
        text_features(["a prompt"] * n_prompts, ["a", "b"], n_components)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8), st.data())
def test_words_alone_give_a_text_one_row_whatever_stands_beside_it(
    texts: list[str], data: st.DataObject
) -> None:
    rows = embedded_words([], texts)
    k = data.draw(st.integers(0, len(texts) - 1))
    np.testing.assert_allclose(embedded_words([], [texts[k]])[0], rows[k], atol=1e-6)
    lengths = np.linalg.norm(rows, axis=1)
    assert all(abs(length - 1) < 1e-5 or length == 0 for length in lengths)


def test_words_alone_keep_the_cosine_of_two_texts_nearly() -> None:
    words = [f"word{k}" for k in range(60)]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 40, replace=False)) for _ in range(30)]
    counts = [Counter(text.split()) + Counter(pairwise(text.split())) for text in texts]
    units = [{w: 1 / math.sqrt(len(c)) for w in c} for c in counts]
    exact = [[sum(a[w] * b.get(w, 0) for w in a) for b in units] for a in units]
    rows = embedded_words([], texts)
    off = np.abs(rows @ rows.T - np.array(exact))
    # Signs of 256 columns err by 1/16, one deviation.
    assert off.max() < 4 / 16
    assert off.mean() < 1 / 16
