"""Figures of style: each says what its name says, on text of any script."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.features import (
    are_related,
    earlier_version,
    feature_vectors,
    feature_version,
    fits_one_window,
    n_embedding,
    stored_blocks,
)
from winnow.style import style_figures, style_names

from .conftest import TINY_COLUMNS, prompt_row, tiny_embed


def figure(name: str, response: str, prompt: str = "") -> float:
    return float(style_figures(prompt, response)[style_names().index(name)])


@pytest.mark.parametrize(
    ("name", "response", "expected"),
    [
        ("log_words", "one two, three", math.log(4)),
        ("log_chars", "abc", math.log(4)),
        ("log_lines", "a\n\n  \nb", math.log(3)),
        ("bullet_share", "Fruit:\n- apple\n2. pear\n* fig", 0.75),
        ("bullet_share", "-5 degrees\n3.5 metres", 0.0),
        ("log_code_blocks", "```py\nx\n``` and ```\ny", math.log(3)),
        ("log_code_blocks", "no code", 0.0),
        ("digit_share", "a1b2", 0.5),
        ("non_ascii_share", "añb日", 0.5),
        ("distinct_word_share", "The the THE cat", 0.5),
        ("repeated_trigram_share", "a b c a b c", 0.25),
        ("repeated_trigram_share", "one two", 0.0),
        ("ends_complete", "Done.", 1.0),
        ("ends_complete", 'He said "yes."\n', 1.0),
        ("ends_complete", "終わりです。", 1.0),
        ("ends_complete", "```\nx\n```", 1.0),
        ("ends_complete", "and then the", 0.0),
        ("refuses", "I’m sorry, but I can't help with that.", 1.0),
        ("refuses", "I cannot provide that.", 1.0),
        ("refuses", "I’m unable to help.", 1.0),
        ("refuses", "Je suis désolée, mais non.", 1.0),
        ("refuses", "Lo siento, no puedo ayudar.", 1.0),
        ("refuses", "You can't help loving rain. I can provide more.", 0.0),
        ("asks_back", "Which one?", 1.0),
        ("asks_back", "This one.", 0.0),
    ],
)
def test_figure_of_style(name, response, expected):
    assert figure(name, response) == pytest.approx(expected, abs=1e-6)


def test_echo_is_the_share_of_distinct_words_that_the_prompt_has():
    assert figure("prompt_echo", "Rain is wet wet", prompt="what IS rain") == pytest.approx(2 / 3)


@given(st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=100)
def test_any_text_gives_finite_figures(prompt, response):
    figures = style_figures(prompt, response)
    assert figures.dtype == np.float32
    assert np.isfinite(figures).all()
    assert (figures >= 0).all()


def test_vectors_are_embedding_then_style_in_half_precision():
    vectors = feature_vectors(
        [prompt_row("p"), prompt_row("q")], ["one", "two"], tiny_embed
    ).vectors_nc
    assert vectors.shape == (2, TINY_COLUMNS + len(style_names()))
    assert vectors.dtype == np.float16
    assert np.array_equal(vectors[1, TINY_COLUMNS:], style_figures("q", "two").astype(np.float16))


def test_no_responses_give_no_vectors():
    assert feature_vectors([], [], tiny_embed).vectors_nc.shape == (0, 0)


def test_names_are_unique():
    assert len(set(style_names())) == len(style_names())


def test_other_figures_of_style_are_another_version():
    assert feature_version(Expand(model="m")).endswith("+style-1")
    assert style_names() == [
        *("log_words", "log_chars", "log_lines", "bullet_share", "log_code_blocks"),
        *("digit_share", "non_ascii_share", "distinct_word_share", "repeated_trigram_share"),
        *("ends_complete", "refuses", "prompt_echo", "asks_back"),
    ]


def test_the_version_names_what_reads_the_text():
    versions = {
        feature_version(Expand(model="m")),
        feature_version(Expand(model="n", embedding_model="other")),
        feature_version(Expand(model="m", features="policy")),
        feature_version(Expand(model="n", features="policy")),
        feature_version(Expand(model="m", features="policy", lora="adapter")),
    }
    assert len(versions) == 5
    assert feature_version(Expand(model="m")) == feature_version(Expand(model="n"))


def test_the_version_of_one_reader_is_that_of_before_and_others_name_every_reader():
    """Lakes go on: these are the bytes that release 0.3 wrote."""
    assert feature_version(Expand(model="m")) == "all-MiniLM-L6-v2-windows-256+style-1"
    policy = Expand(model="m", features="policy", lora="l", max_model_len=99)
    assert feature_version(policy) == "hidden:m+l-99+style-1"
    listed = ["embedding", "policy", {"reward_model": "r"}]
    served = {"reward_model": "s", "server": "http://h/classify"}
    assert (
        feature_version(Expand(model="m", features=[*listed, served]))
        == "all-MiniLM-L6-v2-windows-256&hidden:m-2048+style-1+reward:r+score:s"
    )


@given(st.data())
@settings(max_examples=50)
def test_two_lists_of_readers_are_never_related(data):
    reward_models = st.sampled_from("rst").map(lambda name: {"reward_model": name})
    lists = st.lists(st.sampled_from(["embedding", "policy"]), min_size=1, unique=True)
    scored = st.lists(reward_models, max_size=2, unique_by=str)
    one, other = (data.draw(st.tuples(lists, scored)) for _ in range(2))
    versions = [feature_version(Expand(model="m", features=[*a, *b])) for a, b in (one, other)]
    assert are_related(*versions) == (one == other)


def test_embeddings_come_first_style_behind_them_and_scores_last():
    def read(prompts, texts):
        n = len(texts)
        return {
            "embedding": np.full((n, 3), 1.0, np.float32),
            "score:r": np.full((n, 1), 4.0, np.float32),
            "embedding:policy": np.full((n, 2), 2.0, np.float32),
            "state:r": np.full((n, 5), 3.0, np.float32),
        }

    vectors, blocks, _ = feature_vectors([prompt_row("p")] * 2, ["one", "two"], read)
    n_style = len(style_names())
    assert blocks == (
        ("embedding", 3),
        ("embedding:policy", 2),
        ("style", n_style),
        ("score:r", 1),
        ("state:r", 5),
    )
    assert n_embedding(blocks) == 5
    assert vectors[0].tolist() == [
        *[1.0] * 3, *[2.0] * 2, *style_figures("p", "one").astype(np.float16), 4.0, *[3.0] * 5,
    ]  # fmt: skip


@pytest.mark.parametrize("score", [np.nan, np.inf, 1e5])
def test_a_score_that_half_precision_cannot_hold_is_named(score):
    def read(prompts, texts):
        scores = [score if "bad" in text else 1.0 for text in texts]
        embedding = np.ones((len(texts), 2), np.float32)
        return {"embedding": embedding, "score:r": np.array(scores)[:, None]}

    vectors, _, faults = feature_vectors([prompt_row("p")] * 2, ["bad", "good"], read)
    assert list(faults) == [0] and "score:r" in faults[0]
    assert np.isfinite(vectors).all()
    assert list(feature_vectors([prompt_row("p")], ["bad"], read).faults) == [0]
    with pytest.raises(Fatal, match=r"score:r .* of every response"):
        feature_vectors([prompt_row("p")] * 2, ["bad", "bad too"], read)


def test_vectors_of_before_blocks_were_recorded_are_embedding_and_style():
    n_style = len(style_names())
    assert stored_blocks((), 8 + n_style) == (("embedding", 8), ("style", n_style))
    assert stored_blocks([["embedding", 3], ["style", 2]], 9) == (("embedding", 3), ("style", 2))


def test_versions_that_differ_in_long_responses_alone_are_related():
    now, other = (feature_version(Expand(model="m", embedding_model=e)) for e in ("a", "b"))
    before = earlier_version(now)
    assert before != now
    assert earlier_version(before) == before
    assert are_related(now, before) and are_related(before, now)
    assert not are_related(now, other) and not are_related(before, other)
    policy = feature_version(Expand(model="m", features="policy"))
    assert earlier_version(policy) == policy


@pytest.mark.parametrize(
    ("text", "fits"),
    [("", True), ("word " * 200, True), ("word " * 210, False), ("!" * 300, False),
     ("北" * 300, False), ("x" * 700, False), ("7" * 300, False)],
)  # fmt: skip
def test_a_response_of_one_window_is_told_by_its_text(text, fits):
    assert fits_one_window(text) == fits
