"""Words as numbers are the words that the pattern matches, in any script."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.text import UNSPACED, WORD
from winnow.words import tokens_of, vocabularies

SOME = ("a", "The", "42", "x1", "1,000", " ", "don't", "答案", "ไทย", "é", "e\u0301", "İ", "ΣΑΣ",
        "👍", "👩\u200d👧", "\u200b", "\ud83d", "२", "\u0e53", "_", "\U0003134f", "\U000e0100",
        "ß")  # fmt: skip
pools = st.lists(
    st.lists(st.sampled_from(SOME), max_size=9).map("".join) | st.text(max_size=20), max_size=6
)


@settings(max_examples=300, deadline=None)
@given(pools)
def test_tokens_are_the_words_between_two_ends(texts: list[str]) -> None:
    tokens = tokens_of(texts)
    by_word: dict[str, int] = {}
    for k, text in enumerate(texts):
        words = WORD.findall(text.lower())
        begin, end = tokens.begin_k[k : k + 2]
        own = slice(begin + 1, end - 1)
        assert tokens.size_t[begin] == tokens.size_t[end - 1] == 0
        assert tokens.size_t[own].tolist() == list(map(len, words))
        assert tokens.letters_t[own].tolist() == [len(re.sub(r"\d", "", w)) if not re.match(
            f"[{UNSPACED}]", w) else 1 for w in words]  # fmt: skip
        assert tokens.alone_t[own].tolist() == [bool(re.match(f"[{UNSPACED}]", w)) for w in words]
        for word, number in zip(words, tokens.hash_t[own].tolist(), strict=True):
            assert by_word.setdefault(word, number) == number
    assert sorted(by_word.values()) == tokens.vocabulary().tolist()


@settings(max_examples=300, deadline=None)
@given(pools)
def test_a_vocabulary_has_each_word_of_a_text_once(texts: list[str]) -> None:
    number_of: dict[str, int] = {}
    words = [list(dict.fromkeys(WORD.findall(text.lower()))) for text in texts]
    numbers = [number_of.setdefault(word, len(number_of)) for own in words for word in own]
    number_p, n_words_k = vocabularies(texts)
    assert number_p.tolist() == numbers
    assert n_words_k.tolist() == list(map(len, words))


def test_words_of_one_hash_are_two_words() -> None:
    """Thue-Morse words, whose sums of powers are equal whatever the base is."""
    one = "a"
    while len(one) < 2048:
        one += one.translate(str.maketrans("ab", "ba"))
    other = one.translate(str.maketrans("ab", "ba"))
    tokens = tokens_of([one, other])
    assert tokens.hash_t[1] == tokens.hash_t[4]
    assert vocabularies([one, other])[0].tolist() == [0, 1]
