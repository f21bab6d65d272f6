"""Windows: no token of an answer is lost or read twice, and none is beyond the length."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from winnow.expand.networks import in_windows


@given(st.integers(0, 60), st.integers(0, 200), st.integers(2, 50))
def test_an_answer_is_read_whole_behind_its_question(n: int, m: int, longest: int) -> None:
    question, answer = list(range(n)), list(range(1000, 1000 + m))
    before, parts = in_windows(question, answer, longest)
    assert list(chain(*parts)) == answer
    assert all(len(before) + len(part) <= longest for part in parts)
    assert before == question[n - len(before) :]
    if n + m <= longest:
        assert (before, parts) == (question, [answer])
    assert len(before) >= min(n, longest // 2), "half of what is read may be the question"
