"""The audit measures what it says, whatever the order, and names the faults planted in a pool."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Fatal
from winnow.expand.audit import AuditLimits, Pool, PoolAuditor, audit_prompt, sentence, table
from winnow.expand.diversity import distinct_n, numbered, self_bleu, vendi_score, words
from winnow.expand.flags import flags_of
from winnow.expand.language import detected_language, language_code

_TEXT = """rain river window garden teacher yellow quickly under market singing slowly morning
letter bridge winter paper kitchen walked found because children mountain every silver forgotten
story behind quiet carried evening stone never always thread"""
WORDS = _TEXT.split()

GERMAN = "Der Hund lief langsam über die Straße, während die Kinder im Garten spielten."


def english(chance):
    return "The " + " and the ".join(" ".join(chance.sample(WORDS, 4)) for _ in range(5)) + "."


def pool(texts, prompt_id="p", language="en", duplicates=None, embedding=None, **columns):
    if embedding is None:
        embedding = np.eye(len(texts), 64) if len(texts) <= 64 else np.ones((len(texts), 1))
    return Pool(
        prompt_id,
        language,
        texts,
        duplicates or [1] * len(texts),
        columns.get("n_tokens", [len(words(t)) for t in texts]),
        columns.get("flags", [flags_of("What happened?", t, "stop") for t in texts]),
        embedding,
    )


def healthy(prompt_id="p", n=12):
    chance = random.Random(prompt_id)
    return pool([english(chance) for _ in range(n)], prompt_id)


def audit(pools, limits=None):
    pools = list(pools)
    auditor = PoolAuditor(len(pools), limits)
    for each in pools:
        auditor.add(each)
    return auditor.batch()


def warned(batch):
    return {warning.figure for warning in batch.warnings}


coordinates = st.integers(-9, 9).map(float)
vectors = st.lists(st.lists(coordinates, min_size=3, max_size=3), min_size=1, max_size=7).map(
    np.array
)


@settings(deadline=None)
@given(vectors, st.data())
def test_vendi_lies_between_one_and_the_number_of_texts(embedding, data):
    n = len(embedding)
    draws = data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    assert 1 <= vendi_score(embedding, draws) <= n


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 5))
def test_vendi_counts_wholly_different_texts(n, times):
    assert vendi_score(np.eye(n) * 3, [times] * n) == pytest.approx(n)
    assert vendi_score(np.ones((n, 4)), [times] * n) == pytest.approx(1)


def test_rounding_carries_vendi_beyond_neither_bound():
    for n in range(1, 40):
        same = np.tile(np.random.default_rng(n).normal(size=7), (n, 1))
        assert vendi_score(same, [1] * n) >= 1
        assert vendi_score(np.eye(n), list(range(1, n + 1))) <= n
        assert vendi_score(np.eye(n), [3] * n) <= n


def test_a_row_of_zeros_is_like_no_other():
    assert vendi_score(np.zeros((3, 2)), [1, 1, 1]) == pytest.approx(3)


def test_vendi_of_two_texts_is_the_entropy_by_hand():
    angle = math.acos(0.6)
    embedding = np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    by_hand = math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert vendi_score(embedding, [1, 1]) == pytest.approx(by_hand)


@settings(deadline=None)
@given(vectors, st.data())
def test_vendi_takes_draws_for_what_they_are(embedding, data):
    n = len(embedding)
    draws = data.draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    drawn = np.repeat(embedding, draws, axis=0)
    # A row of zeros is like no other, so it cannot be drawn twice.
    if (np.linalg.norm(embedding, axis=1) > 0).all():
        assert vendi_score(embedding, draws) == pytest.approx(vendi_score(drawn, [1] * len(drawn)))


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=5),
    st.integers(1, 3),
    st.data(),
)
def test_distinct_n_is_distinct_runs_over_runs(texts, n_words, data):
    draws = data.draw(st.lists(st.integers(1, 3), min_size=len(texts), max_size=len(texts)))
    runs = [
        tuple(text[i : i + n_words])
        for text, times in zip(texts, draws, strict=True)
        for _ in range(times)
        for i in range(len(text) - n_words + 1)
    ]
    expected = len(set(runs)) / len(runs) if runs else None
    assert distinct_n(numbered(texts), draws, n_words) == expected


def test_self_bleu_is_one_for_copies_and_nought_for_strangers():
    apart = [[f"{letter}{i}" for i in range(6)] for letter in "abc"]
    assert self_bleu([apart[0]], [3], 0, 10) == pytest.approx(1)
    assert self_bleu(apart, [1, 1, 1], 0, 10) == pytest.approx(0)
    assert self_bleu([apart[0]], [1], 0, 10) is None


def test_self_bleu_looks_at_so_many_draws_only():
    same = [["a", "b", "c", "d"]] * 8
    apart = [[f"{i}{j}" for j in range(4)] for i in range(8)]
    two = {self_bleu(same + apart, [1] * 16, seed, 2) for seed in range(40)}
    assert {round(score, 3) for score in two} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's RAINING, again", ["it", "s", "raining", "again"]),
        ("今天好", ["今", "天", "好"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("?!", []),
    ],
)
def test_words_of_any_script(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        (" EN-us ", "en"),
        ("pt_BR", "pt"),
        ("zh-Hant", "zh"),
        ("yue", "zh"),
        ("nb", "no"),
        ("hr", "sh"),
        ("tlh", None),
        ("", None),
        (None, None),
    ],
)
def test_language_tags(tag, code):
    assert language_code(tag) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GERMAN, "de"),
        ("今天天气很好，我们去公园散步吧。", "zh"),
        ("今日は天気がいいので、公園を散歩しましょう。", "ja"),
        ("Mvua inanyesha sana leo, kwa hiyo watoto wanacheza ndani ya nyumba.", "sw"),
        (f"```\n{'the words of this text are in the list of words ' * 9}\n```\n{GERMAN}", "de"),
        ("Danas je lijepo vrijeme, pa smo otišli u park i šetali uz rijeku.", "sh"),
        ("42", None),
        ("", None),
    ],
)
def test_language_of_a_text(text, code):
    assert detected_language(text) == code


def test_a_healthy_batch_warns_of_nothing():
    batch = audit(healthy(f"p{i}") for i in range(8))
    assert batch.warnings == []
    assert {row[3] for row in table(batch)} <= {"pass", ""}
    assert ("in the prompt's language", "1.00", "at least 0.80", "pass") in table(batch)
    assert sentence(batch) == (
        "96 distinct responses of 96, as diverse as 12.0 wholly different ones a prompt; no warning"
    )


def test_a_pool_of_copies_is_found():
    copies = pool([english(random.Random(1))], duplicates=[12])
    row = audit_prompt(copies)
    assert (row.sampled, row.distinct, row.vendi) == (12, 1, 1.0)
    assert row.duplicate_share == pytest.approx(11 / 12)
    assert {"duplicate_share", "self_bleu", "vendi"} == warned(audit([copies]))


def test_a_pool_of_near_copies_is_found():
    text = english(random.Random(1))
    near = pool([text, text.upper(), f" {text}", f'"{text}"'], embedding=np.ones((4, 2)))
    assert audit_prompt(near).near_duplicates == 3
    assert {"near_duplicate_share", "vendi"} <= warned(audit([near]))


def test_figures_of_a_row_by_hand():
    row = audit_prompt(pool(["a b a b", "A b a b.", "c"], duplicates=[1, 1, 2]))
    assert (row.distinct_1, row.distinct_2, row.distinct_3) == (3 / 10, 2 / 6, 2 / 4)
    assert (row.near_duplicates, row.near_duplicate_share) == (1, 1 / 3)
    assert row.vendi_share == pytest.approx(row.vendi / 3)


def test_a_looping_pool_is_found():
    looping = pool([f"{word} and then " * 20 for word in WORDS[:12]])
    assert audit_prompt(looping).looping == 1
    assert "looping" in warned(audit([looping]))


@pytest.mark.parametrize("flag", ["truncated", "looping", "refusal", "echo", "injection"])
def test_a_flag_counts_as_often_as_its_text_was_drawn(flag):
    flagged = pool(["a b", "c d"], duplicates=[3, 1], flags=[[flag], []])
    assert getattr(audit_prompt(flagged), flag) == 0.75
    assert flag in warned(audit([flagged]))


def test_a_pool_in_the_wrong_language_is_found():
    german = pool([f"{GERMAN} {word}" for word in WORDS[:12]])
    assert audit_prompt(german).language_match == 0
    assert "language_match" in warned(audit([german]))
    assert audit_prompt(replace(german, language="de-AT")).language_match == 1


def test_language_counts_draws_that_can_be_told():
    texts = [GERMAN, english(random.Random(1)), "42"]
    assert audit_prompt(pool(texts, duplicates=[1, 3, 5])).language_match == 0.75


@pytest.mark.parametrize(("language", "text"), [(None, GERMAN), ("tlh", GERMAN), ("en", "42")])
def test_language_that_cannot_be_told_is_not_measured(language, text):
    row = audit_prompt(pool([text], language=language))
    assert row.language_match is None
    batch = audit([pool([text], language=language)])
    assert batch.figures["language_match"].verdict == "not measured"


def test_lengths_are_those_that_so_many_draws_do_not_exceed():
    row = audit_prompt(pool(list("abcd"), duplicates=[1, 4, 4, 1], n_tokens=[10, 40, 20, 90]))
    assert (row.tokens_p10, row.tokens_p50, row.tokens_p90) == (10, 20, 40)


texts = st.lists(st.text("ab c", min_size=1, max_size=8), min_size=1, max_size=5, unique=True)


@settings(deadline=None)
@given(texts, st.data())
def test_the_order_of_responses_changes_no_bit(texts, data):
    n = len(texts)
    one = pool(
        texts,
        duplicates=data.draw(st.lists(st.integers(1, 3), min_size=n, max_size=n)),
        embedding=np.random.default_rng(n).normal(size=(n, 5)),
    )
    order = data.draw(st.permutations(range(n)))
    columns = ("texts", "duplicates", "n_tokens", "flags")
    other = replace(
        one,
        embedding_nc=one.embedding_nc[list(order)],
        **{name: [getattr(one, name)[i] for i in order] for name in columns},
    )
    assert audit_prompt(one) == audit_prompt(other)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_pools_changes_no_bit(order):
    pools = [healthy(f"p{i}", n=3 + i) for i in range(6)]
    assert audit(pools) == audit(pools[i] for i in order)


@settings(deadline=None)
@given(texts, st.integers(2, 4))
def test_drawing_every_text_again_changes_duplicates_alone(texts, times):
    embedding = np.random.default_rng(len(texts)).normal(size=(len(texts), 5))
    once = audit_prompt(pool(texts, embedding=embedding), with_bleu=False)
    again = audit_prompt(
        pool(texts, duplicates=[times] * len(texts), embedding=embedding), with_bleu=False
    )
    assert again.duplicate_share == 1 - 1 / times
    assert again.vendi == pytest.approx(once.vendi)
    same = ("distinct", "near_duplicates", "tokens_p50", "looping", "language_match")
    assert [getattr(again, name) for name in same] == [getattr(once, name) for name in same]


def test_self_bleu_is_measured_on_about_a_hundred_prompts():
    auditor = PoolAuditor(2_000)
    rows = [auditor.add(pool(["a b", "c d"], f"p{i}")) for i in range(2_000)]
    measured = sum(row.self_bleu is not None for row in rows)
    assert 60 <= measured <= 140
    assert auditor.batch().figures["self_bleu"].n_prompts == measured


def test_of_many_prompts_some_two_thousand_are_audited_and_all_are_counted():
    auditor = PoolAuditor(20_000)
    columns = {"duplicates": [1, 2], "language": None}
    rows = [
        auditor.add(pool(["a b", "c"], f"p{i}", n_tokens=[9, i], **columns)) for i in range(4_000)
    ]
    audited = [row for row in rows if row is not None]
    assert 340 <= len(audited) <= 460
    batch = auditor.batch()
    assert (batch.prompts, batch.sampled, batch.distinct) == (4_000, 12_000, 8_000)
    assert (batch.tokens_p10, batch.tokens_p50) == (9, 999)
    assert {f.n_prompts for name, f in batch.figures.items() if name not in
            ("self_bleu", "distinct_3", "language_match")} == {len(audited)}  # fmt: skip
    assert 10 <= batch.figures["self_bleu"].n_prompts <= 35
    assert table(batch)[0][1] == f"4000, of which {len(audited)} are audited"


def test_up_to_two_thousand_prompts_are_all_audited():
    auditor = PoolAuditor(2_000)
    assert all(auditor.add(pool(["a"], f"p{i}")) is not None for i in range(200))
    assert table(auditor.batch())[0][1] == "200"


def test_a_batch_has_means_intervals_and_pooled_figures():
    flags = [[["truncated"]], [["truncated"]], [[]], [[]]]
    pools = [pool(["a"], f"p{i}", flags=f, duplicates=[1 + i]) for i, f in enumerate(flags)]
    figure = audit(pools).figures["truncated"]
    half = 1.96 * math.sqrt(1 / 3) / 2
    assert (figure.mean, figure.pooled, figure.n_prompts) == (0.5, 0.3, 4)
    assert (figure.low, figure.high) == (max(0, 0.5 - half), min(1, 0.5 + half))
    assert figure.n_beyond == 2


def test_prompts_that_do_not_differ_have_no_interval():
    figure = audit(pool(["a"], f"p{i}") for i in range(3)).figures["truncated"]
    assert (figure.mean, figure.low, figure.high) == (0.0, None, None)


def test_a_limit_is_not_exceeded_by_its_own_value():
    half = pool(["a", "b"], flags=[["truncated"], []])
    assert "truncated" not in warned(audit([half], AuditLimits(truncated=0.5)))
    assert "truncated" in warned(audit([half], AuditLimits(truncated=0.49)))
    assert "truncated" not in warned(audit([half], AuditLimits(truncated=None)))
    assert "vendi_share" not in warned(audit([half], AuditLimits(vendi_share=1.0)))
    assert "vendi_share" in warned(
        audit([pool(["a", "b"], embedding=np.ones((2, 2)))], AuditLimits(vendi_share=0.51))
    )


def test_a_warning_names_figure_value_limit_and_remedy():
    batch = audit([pool(["a", "b"], flags=[["truncated"]] * 2, language=None)])
    assert [str(warning) for warning in batch.warnings] == [
        "truncated 1.00, above the limit of 0.50: raise max_tokens"
    ]
    assert ("truncated", "1.00", "at most 0.50", "warn, 1 of 1 prompts beyond") in table(batch)
    assert "raise max_tokens" in sentence(batch)


def test_nothing_audited_is_nothing_measured():
    batch = audit([])
    assert (batch.prompts, batch.sampled, batch.tokens_p50, batch.warnings) == (0, 0, None, [])
    assert {figure.verdict for figure in batch.figures.values()} == {"not measured"}
    assert sentence(batch) == "0 distinct responses of 0; no warning"


def test_an_audit_is_json():
    batch = audit([healthy("a"), healthy("b")])
    assert json.loads(json.dumps(batch.as_dict())) == batch.as_dict()
    assert json.dumps(asdict(audit_prompt(healthy())))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"texts": []}, "cannot be audited"),
        (
            {"texts": [], "duplicates": [], "n_tokens": [], "flags": [], "embedding_nc": np.eye(0)},
            "cannot be audited",
        ),
        ({"flags": [[]]}, "cannot be audited"),
        ({"embedding_nc": np.eye(3)}, "cannot be audited"),
        ({"duplicates": [1, 0]}, "never drawn"),
    ],
)
def test_a_pool_that_does_not_fit_together_is_fatal(columns, message):
    with pytest.raises(Fatal, match=message):
        replace(pool(["a", "b"]), **columns)
