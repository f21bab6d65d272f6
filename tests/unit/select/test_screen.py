"""Near-duplicates are one cluster; texts that answer nothing are blocked, others are not."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.select import screen
from winnow.select.screen import answers_nothing, near_duplicates
from winnow.select.wording import agreeing
from winnow.text import bare_text, plain_text, unicode_form

ESSAY = "A long text that is given as the answer to every question. " * 5


def test_texts_that_say_the_same_share_a_cluster() -> None:
    vectors = np.array([[1.0, 0.0], [0.999, 0.01], [0.0, 1.0], [2.0, 0.001]])
    clusters = near_duplicates(vectors)
    assert clusters[0] == clusters[1] == clusters[3] != clusters[2]


def test_a_chain_of_near_duplicates_is_one_cluster() -> None:
    angles = np.arange(12) * 0.2
    vectors = np.column_stack([np.cos(angles), np.sin(angles)])
    assert len(set(near_duplicates(vectors))) == 1
    assert len(set(near_duplicates(vectors, cosine=0.99))) == 12


def test_empty_embeddings_are_no_duplicates_of_each_other() -> None:
    assert len(set(near_duplicates(np.zeros((3, 4))))) == 3


@given(st.permutations(range(6)))
def test_clusters_do_not_depend_on_the_order(order: list[int]) -> None:
    vectors = np.array([[1, 0], [1, 0.05], [0, 1], [0.05, 1], [-1, 0], [0, -1]], dtype=float)
    together = near_duplicates(vectors)[:, None] == near_duplicates(vectors)
    shuffled = near_duplicates(vectors[order])
    assert ((shuffled[:, None] == shuffled) == together[np.ix_(order, order)]).all()


WRITINGS = ("", " ", "A", "A ", "\u200bA", "é", "e\u0301", "👍", "👍\ufe0f", "\ud83d", "答案",
            "It is safe.", "It  is safe.", "It is unsafe.", "A cat sat there.",
            "A cat sat there now.")  # fmt: skip


def slow_clusters(vectors: np.ndarray, texts: list[str]) -> list[int]:
    """Clusters by their definition, pair by pair, numbered as they first appear."""
    cluster = list(range(len(texts)))
    seen = [unicode_form(bare_text(text)).strip() for text in texts]
    length = np.linalg.norm(vectors, axis=1)
    for j in range(len(texts)):
        for i in range(j):
            cosine = vectors[i] @ vectors[j] / max(length[i] * length[j], 1e-300)
            is_close = cosine >= 0.97 and agreeing([texts[i], texts[j]])[0, 1]
            if is_close or seen[i] == seen[j]:
                cluster = [cluster[i] if c == cluster[j] else c for c in cluster]
    return [list(dict.fromkeys(cluster)).index(c) for c in cluster]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WRITINGS), st.integers(0, 3)), min_size=1, max_size=9))
def test_clusters_are_those_of_their_definition(pool: list[tuple[str, int]]) -> None:
    texts, vectors = [text for text, _ in pool], np.vstack([np.zeros(3), np.eye(3)])
    embedding = vectors[[which for _, which in pool]]
    assert near_duplicates(embedding, text_n=texts).tolist() == slow_clusters(embedding, texts)


def test_a_long_text_that_answers_every_prompt_is_blocked() -> None:
    prompts = [f"p{k}" for k in range(10)] * 2
    texts = [ESSAY] * 10 + [f"{ESSAY}{k}" for k in range(10)]
    assert answers_nothing(prompts, texts).all()
    others = [f"{'it holds ' * 30}{word}" for word in "abcdefghij"]
    assert answers_nothing(prompts[:10] + ["q"] * 10, texts[:10] + others).tolist() == (
        [True] * 10 + [False] * 10
    )


def test_short_answers_and_a_text_repeated_within_one_prompt_are_left_alone() -> None:
    prompts = [f"p{k}" for k in range(10)] + ["q"] * 10
    assert not answers_nothing(prompts, ["Yes."] * 10 + [ESSAY] * 10).any()


def test_blank_responses_are_blocked() -> None:
    texts = ["", " \n", "\u200b\u00ad", "a"]
    assert answers_nothing(["p"] * 4, texts).tolist() == [True, True, True, False]


def slow_shapes(prompts: list[str], texts: list[str]) -> list[bool]:
    """Which texts are blank, or one that many prompts share in their numbers alone."""
    shapes = [re.sub(r"\d+", "0", plain_text(text).strip()) for text in texts]
    prompts_of = {
        one: {p for p, s in zip(prompts, shapes, strict=True) if s == one} for one in shapes
    }
    limit = max(0.05 * len(set(prompts)), 2)
    return [not s or (len(s) >= 200 and len(prompts_of[s]) > limit) for s in shapes]


@settings(deadline=None)
@given(st.lists(
    st.tuples(st.sampled_from("pqrs"), st.sampled_from(("", "Long. ", "Längst. ", "\u200b長い")),
              st.integers(30, 34), st.sampled_from(("", "7", " 42", "\u0663", "１２", "\n", "²"))),
    max_size=30,
))  # fmt: skip
def test_texts_that_differ_in_numbers_alone_are_one_text(
    rows: list[tuple[str, str, int, str]],
) -> None:
    prompts = [prompt for prompt, _, _, _ in rows]
    texts = [end + unit * times + end for _, unit, times, end in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "same_to_all", lambda prompts, *_: np.zeros(len(prompts), bool))
        assert answers_nothing(prompts, texts).tolist() == slow_shapes(prompts, texts)


def pools_of_models(lengths: dict[str, list[int]]) -> tuple[list[str], list[str], list[str]]:
    rows = [(f"p{k}", "x" * n, m) for m, ns in lengths.items() for k, n in enumerate(ns)]
    prompts, texts, models = (list(column) for column in zip(*rows, strict=True))
    return prompts, texts, models


VARIED = [30 + 7 * k for k in range(40)]


def test_a_model_that_answers_at_one_length_is_blocked_whatever_else_it_says() -> None:
    prompts, texts, models = pools_of_models({"cut": [10] * 38 + [300, 40], "other": VARIED})
    blocked = answers_nothing(prompts, texts, models)
    assert blocked.tolist() == [model == "cut" for model in models]
    assert not answers_nothing(prompts, texts).any()


def test_a_model_alone_and_choices_of_one_letter_are_left_alone() -> None:
    assert not answers_nothing(*pools_of_models({"alone": [10] * 40})).any()
    assert not answers_nothing(*pools_of_models({"a": [1] * 40, "b": [1] * 40})).any()
    assert not answers_nothing(*pools_of_models({"few": [10] * 19, "other": VARIED})).any()
    assert not answers_nothing(*pools_of_models({"mixed": [10] * 35 + VARIED, "b": VARIED})).any()


LENGTHS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 25), st.integers(1, 4)))


@settings(deadline=None)
@given(LENGTHS, st.integers(0, 30), st.integers(0, 30))
def test_models_of_one_length_are_those_of_their_definition(
    some: list[tuple[str, int, int]], n_same: int, n_other: int
) -> None:
    rows = [(m, f"p{k}", n) for m, k, n in some]
    rows += [("a", f"p{k}", 7) for k in range(n_same)] + [("b", f"p{k}", k) for k in range(n_other)]
    deaf = set()
    for model in "abc":
        own, others = [[r for r in rows if (r[0] == model) == is_own] for is_own in (True, False)]
        if len({prompt for _, prompt, _ in own}) >= 20 and others:
            most = [
                max(Counter(n for *_, n in each).values()) / len(each) for each in (own, others)
            ]
            deaf |= {model} if most[0] >= 0.9 and most[1] < 0.5 else set()
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    models, prompts, texts = columns[0], columns[1], ["x" * n for n in columns[2]]
    blocked = answers_nothing(prompts, texts, models)
    short = answers_nothing(prompts, texts)
    assert blocked.tolist() == [b or m in deaf for b, m in zip(short, models, strict=True)]
