"""Texts agree only in what neither a digit, a sign, a "not" nor a line of code tells apart."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.select.screen import near_duplicates
from winnow.select.wording import agreeing

LONG = "The sea was calm that night, and nobody on the pier saw the small boat leave. " * 6

DIFFER = [
    ("It is 5!", "It is 5"),
    ("It took 12 days.", "It took 13 days."),
    ("The change was -4 degrees.", "The change was 4 degrees."),
    ("so x > y holds", "so x < y holds"),
    ("O(n²) steps", "O(n) steps"),
    ("It costs 5%", "It costs $5"),
    ("This is safe for children.", "This is not safe for children."),
    ("This is safe for children.", "This isn't safe for children."),
    ("This is safe for children.", "This is unsafe for children."),
    ("Das ist eine sichere sache", "Das ist keine sichere sache"),
    ("C'est bon pour les enfants", "Ce n'est pas bon pour les enfants"),
    ("这个方法对孩子是安全的", "这个方法对孩子是不安全的"),
    ("これは子供に安全です", "これは子供に安全ではない"),
    ("это безопасно для детей", "это не безопасно для детей"),
    ("a capital is Paris", "a capital is London"),
    ("Take two of them.", "Take three of them."),
    ("Is it over?", "It is over."),
    (
        "def f(x):\n    if x:\n        a()\n        b()",
        "def f(x):\n    if x:\n        a()\n    b()",
    ),
    ("```\nreturn a\n```", "```\nreturn b\n```"),
    ("call `run` now", "call `ran` now"),
    ("print(a + b)", "print(a - b)"),
]


@pytest.mark.parametrize(("one", "other"), DIFFER)
def test_what_turns_a_text_around_tells_it_apart(one: str, other: str) -> None:
    texts = [f"{LONG}\n{one}", f"{LONG}\n{other}"]
    assert agreeing(texts).tolist() == [[True, False], [False, True]]
    assert len(set(near_duplicates(np.ones((2, 3)), text_n=texts))) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LONG, LONG.upper().lower()),
        (LONG, LONG.replace(", and", " and")),
        (LONG, f"Well, {LONG.lower()}"),
        (LONG, LONG.replace("sea", "s\u00adea")),
        (f"{LONG}It took 5 days.", f"{LONG}It just took 5 days."),
        ("我觉得这个方法很好因为它又快又简单", "我觉得那个方法很好因为它又快又简单"),
    ],
)
def test_what_changes_nothing_joins(one: str, other: str) -> None:
    assert len(set(near_duplicates(np.ones((2, 3)), text_n=[one, other]))) == 1


def test_unlike_words_are_no_near_duplicates_whatever_the_embedding_says() -> None:
    texts = [LONG, "A quick walk through the old market ended at a bakery. " * 6]
    assert len(set(near_duplicates(np.ones((2, 3)), text_n=texts))) == 2


def test_a_chain_joins_no_two_texts_that_differ_in_substance() -> None:
    turns = ["It took 5 days.", "It took 6 days.", "It did not take 5 days.", "It took 5 days"]
    texts = [f"{'so ' * k}{LONG.lower()}{turn}" for k in range(4) for turn in turns]
    clusters = near_duplicates(np.ones((len(texts), 2)), text_n=texts)
    assert [len(set(clusters[k::4])) for k in range(4)] == [1, 1, 1, 1]
    assert clusters[0] == clusters[3] and len(set(clusters)) == 3


def test_embeddings_that_differ_join_only_what_looks_the_same() -> None:
    assert len(set(near_duplicates(np.eye(2), text_n=[LONG, f"{LONG} Indeed."]))) == 2
    assert len(set(near_duplicates(np.eye(2), text_n=[LONG, f"\u200b{LONG}\n"]))) == 1
