"""Selection from files: the same bytes each time, no row lost, no useless pair."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_limits

from winnow.cli import main
from winnow.errors import Fatal
from winnow.select import Rules
from winnow.stages.expand.pool_files import select_file

RULES = Rules(3, "decision_gain")
WORDS = [
    "tide",
    "moon",
    "rain",
    "wind",
    "sun",
    "because",
    "follows",
    "water",
    "never",
    "always",
    "slowly",
]


def responses(n_prompts: int = 4, n: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"prompt": f"why is number {p} so?", "response": " ".join(rng.choice(WORDS, 12))}
        for p in range(n_prompts)
        for _ in range(n)
    ]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_of_known_formats_bring_all_their_responses(tmp_path: Path) -> None:
    said = [row["response"] for row in responses(n_prompts=2)]
    completions = [{"model": f"m{k}", "response": text, "overall_score": 3 + k % 3}
                   for k, text in enumerate(said[:8])]  # fmt: skip
    pool = [
        {"instruction": "why is number 0 so?", "completions": completions},
        {"instruction": "why is number 1 so?", "output": said[8:]},
        {"instruction": "nothing is said to it"},
        {"instruction": "why?", "output": ["I am {{name}}.", "x"]},
    ]
    turns = "\n\nHuman: why is number 0 so?\n\nAssistant: "
    known = [
        {"chosen": turns + said[0], "rejected": turns + said[1]},
        {"chosen": turns + said[0], "rejected": turns + said[0]},
        {
            "prompt": "why?",
            "answers": [{"answer": text, "rank": rank} for rank, text in enumerate(said[:3])],
        },
        {"prompt": "why?", "response_1": "x", "response_2": "y", "preference_strength": 0},
    ]
    pools, bought = write(tmp_path / "p.jsonl", pool), write(tmp_path / "k.jsonl", known)
    done = select_file(pools, tmp_path / "out.jsonl", RULES, bought)
    assert done.rows_in == 8
    assert [(row.file, row.line, row.reason) for row in done.refused] == [
        ("p.jsonl", 3, "no_text"),
        ("p.jsonl", 4, "placeholder"),
        ("k.jsonl", 2, "same_text"),
        ("k.jsonl", 4, "no_preference"),
    ]
    asked = {row["prompt"] for row in done.comparisons}
    assert asked == {"why is number 0 so?", "why is number 1 so?"}
    assert "without scores" in done.note, "Alpaca's outputs have none"


def test_comparisons_hold_both_texts_and_why(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", responses())
    done = select_file(pool, tmp_path / "out.jsonl", RULES, None)
    rows = read(tmp_path / "out.jsonl")
    assert len(rows) == len(done.comparisons) == 4 * 3
    assert "0 labels" in done.note
    texts = {row["response"] for row in responses()}
    assert all({row["first"], row["second"]} <= texts for row in rows)
    assert {row["reason"] for row in rows} <= {"exploration", "best"}
    assert not Path(f"{tmp_path / 'out.jsonl'}.quarantine.jsonl").exists()


def test_the_order_of_the_rows_does_not_matter_and_parquet_says_the_same(tmp_path: Path) -> None:
    rows = responses()
    vectors = np.random.default_rng(3).normal(size=(len(rows), 6)).tolist()
    rows = [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)]
    forward = write(tmp_path / "a.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows[::-1]), tmp_path / "b.parquet")
    select_file(forward, tmp_path / "a.out.jsonl", RULES, None)
    select_file(tmp_path / "b.parquet", tmp_path / "b.out.parquet", RULES, None)
    pairs = [row["pair_id"] for row in read(tmp_path / "a.out.jsonl")]
    assert pq.read_table(tmp_path / "b.out.parquet")["pair_id"].to_pylist() == pairs


def test_one_and_two_blas_threads_give_the_same_bytes(tmp_path: Path) -> None:
    rows = responses(n_prompts=40, n=30)
    vectors = np.random.default_rng(5).normal(size=(len(rows), 300)).tolist()
    pool = tmp_path / "pool.parquet"
    table = [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)]
    pq.write_table(pa.Table.from_pylist(table), pool)
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            select_file(pool, tmp_path / f"{threads}.jsonl", RULES, None)
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()


def test_bad_rows_are_refused_with_their_line_and_none_vanishes(tmp_path: Path) -> None:
    rows: list[Any] = responses(n_prompts=2)
    rows[3] = {"prompt": "no response here"}
    rows[5] = 42
    pool = write(tmp_path / "pool.jsonl", rows)
    with pool.open("a") as file:
        file.write('{"prompt": "cut o')
    done = select_file(pool, tmp_path / "out.jsonl", RULES, None)
    refused = read(Path(f"{tmp_path / 'out.jsonl'}.quarantine.jsonl"))
    assert [(row["line"], row["reason"]) for row in refused] == [
        (4, "no_text"),
        (6, "wrong_type"),
        (17, "invalid_json"),
    ]
    assert done.rows_in == 17
    assert {row["prompt"] for row in done.comparisons} == {row["prompt"] for row in responses(2)}


def test_copies_and_empty_responses_are_in_no_pair(tmp_path: Path) -> None:
    rows = responses(n_prompts=1, n=4)
    rows += [{**rows[0]}, {**rows[0]}, {"prompt": rows[0]["prompt"], "response": "  "}]
    pool = write(tmp_path / "pool.jsonl", rows)
    chosen = select_file(pool, tmp_path / "out.jsonl", Rules(20, "random"), None).comparisons
    assert len(chosen) <= 6
    assert all(row["first"] != row["second"] for row in chosen)
    assert all(row["first"].strip() and row["second"].strip() for row in chosen)


def test_preferences_teach_which_response_is_better(tmp_path: Path) -> None:
    """People prefer rain to wind; a pair of both is then no open question."""
    known = [
        {"prompt": f"q{k}", "chosen": f"rain rain rain {k}", "rejected": f"wind wind wind {k}"}
        for k in range(150)
    ]
    pool = write(
        tmp_path / "pool.jsonl",
        [{"prompt": "weather?", "response": text} for text in ("rain rain", "wind wind", "sun")],
    )
    taught = write(tmp_path / "known.jsonl", known)
    done = select_file(pool, tmp_path / "out.jsonl", Rules(3, "info_gain", 0.0), taught)
    assert done.note == ""
    chance = {
        (row["first"], row["second"]): row["p_first"]
        for row in done.comparisons
        if "sun" not in (row["first"], row["second"])
    }
    ((first, _), p_first), *_ = chance.items()
    assert (p_first if first == "rain rain" else 1.0 - p_first) > 0.9


def test_vectors_of_several_lengths_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "vector": [1.0] * (2 + k % 2)} for k, row in enumerate(responses(1))]
    pool = write(tmp_path / "pool.jsonl", rows)
    with pytest.raises(Fatal, match=r"\[2, 3\] numbers"):
        select_file(pool, tmp_path / "out.jsonl", RULES, None)


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = write(tmp_path / "pool.jsonl", responses())
    out = tmp_path / "made" / "out.jsonl"
    assert main(["select", "--pool", str(pool), "--out", str(out), "--labels", "2"]) == 0
    assert "8 comparisons from 32 rows" in capsys.readouterr().out
    assert main(["select", "--pool", str(tmp_path / "no.jsonl"), "--out", str(out)]) == 1
    assert "no.jsonl cannot be read" in capsys.readouterr().err


def with_vectors(rows: list[dict[str, Any]], d: int = 4) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [{**row, "vector": rng.standard_normal(d).tolist()} for row in rows]


def bought(pool: list[dict[str, Any]], n: int = 24) -> list[dict[str, Any]]:
    """Preferences among the pool's own responses: of two vectors the larger first number wins."""
    made = []
    for first, second in zip(pool[:n:2], pool[1:n:2], strict=True):
        better = [first, second] if first["vector"][0] > second["vector"][0] else [second, first]
        row = dict(zip(("chosen", "rejected"), (r["response"] for r in better), strict=True))
        made.append({"prompt": first["prompt"], **row})
    return made


def test_vectors_are_used_together_with_preferences(tmp_path: Path) -> None:
    pool = with_vectors(responses(n_prompts=6))
    write(tmp_path / "pool.jsonl", pool)
    bare = bought(pool)
    vector_of = {row["response"]: row["vector"] for row in pool}
    own = [
        {
            **row,
            "chosen_vector": vector_of[row["chosen"]],
            "rejected_vector": vector_of[row["rejected"]],
        }
        for row in bare
    ]
    elsewhere = [{**row, "prompt": "of another night"} for row in own]
    outs = []
    for number, known in enumerate((bare, own, elsewhere)):
        preferences = write(tmp_path / f"known{number}.jsonl", known)
        out = tmp_path / f"out{number}.jsonl"
        done = select_file(tmp_path / "pool.jsonl", out, Rules(3, "info_gain"), preferences)
        assert "vectors" not in done.note
        outs.append(out.read_bytes())
    assert outs[0] == outs[1] == outs[2], "a preference is seen by its vectors alone"
    turned = [{**row, "vector": row["vector"][::-1]} for row in pool]
    write(tmp_path / "pool.jsonl", turned)
    out = tmp_path / "turned.jsonl"
    select_file(tmp_path / "pool.jsonl", out, Rules(3, "info_gain"), tmp_path / "known0.jsonl")
    assert out.read_bytes() != outs[0]


def test_preferences_without_vectors_are_compared_by_their_texts_and_it_says_so(
    tmp_path: Path,
) -> None:
    pool = write(tmp_path / "pool.jsonl", with_vectors(responses()))
    rows = [{"prompt": "p", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(9)]
    known = write(tmp_path / "known.jsonl", rows)
    done = select_file(pool, tmp_path / "out.jsonl", RULES, known)
    assert "no vectors" in done.note
    assert done.comparisons


def test_vectors_on_some_rows_only_are_an_error(tmp_path: Path) -> None:
    pool = with_vectors(responses())
    del pool[5]["vector"]
    path = write(tmp_path / "pool.jsonl", pool)
    with pytest.raises(Fatal, match=r"1 of 32 responses have no `vector`, the first in line 6"):
        select_file(path, tmp_path / "out.jsonl", RULES, None)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "is empty"),
        ([{"prompt": "q"}], "None of the 1 rows.*line 1, no_text"),
        ([{"response": "x"}] * 2, "None of the 2 rows.*no_prompt"),
        ([{"prompt": "q", "response": "x"}] * 2, "No prompt has two responses"),
    ],
)
def test_an_input_that_gives_nothing_says_why(tmp_path: Path, rows: list[Any], why: str) -> None:
    path = write(tmp_path / "pool.jsonl", rows)
    with pytest.raises(Fatal, match=why):
        select_file(path, tmp_path / "out.jsonl", RULES, None)
    good = write(tmp_path / "good.jsonl", responses())
    if "two responses" not in why:
        with pytest.raises(Fatal, match=re.sub("no_text.*", "no_text", why)):
            select_file(good, tmp_path / "out.jsonl", RULES, path)


def test_a_response_ends_with_the_assistant(tmp_path: Path) -> None:
    def told(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    pool = responses(n_prompts=1)
    talks = [
        {"response": [*told("user", row["prompt"]), *told("assistant", row["response"])]}
        for row in pool
    ]
    bad = [{"prompt": "q", "response": told("user", "x")}]
    write(tmp_path / "a.jsonl", pool)
    write(tmp_path / "b.jsonl", [*talks, *bad])
    select_file(tmp_path / "a.jsonl", tmp_path / "a.out.jsonl", RULES, None)
    done = select_file(tmp_path / "b.jsonl", tmp_path / "b.out.jsonl", RULES, None)
    assert read(tmp_path / "a.out.jsonl") == read(tmp_path / "b.out.jsonl")
    assert [row.reason for row in done.refused] == ["last_turn_not_assistant"]


@pytest.mark.parametrize(
    "vector",
    [[1e308] * 4, ["1", "2", "3", "4"], [True, False, True, True], [[1.0], [2.0, 3.0]], "x"],
)
def test_a_vector_that_is_none_costs_its_row(tmp_path: Path, vector: Any) -> None:
    rows = [*with_vectors(responses()), {"prompt": "q", "response": "x", "vector": vector}]
    done = select_file(write(tmp_path / "p.jsonl", rows), tmp_path / "out.jsonl", RULES, None)
    assert [row.reason for row in done.refused] == ["wrong_vector"]
    select_file(write(tmp_path / "p.jsonl", rows[:-1]), tmp_path / "out.jsonl", RULES, None)
    assert not (tmp_path / "out.jsonl.quarantine.jsonl").exists(), "of another file"


def test_two_writings_of_one_text_are_no_pair(tmp_path: Path) -> None:
    texts = ["A caf\u00e9 in the middle of town", "A cafe\u0301 in the middle of town", "No idea."]
    rows = [{"prompt": "q", "response": text} for text in texts]
    done = select_file(write(tmp_path / "p.jsonl", rows), tmp_path / "out.jsonl", RULES, None)
    assert done.comparisons
    assert all("No idea." in (row["first"], row["second"]) for row in done.comparisons)


def with_scores(rows: list[dict[str, Any]], name: str = "score") -> list[dict[str, Any]]:
    scores = np.random.default_rng(7).normal(5.0, 3.0, len(rows)).tolist()
    return [{**row, name: score} for row, score in zip(rows, scores, strict=True)]


def share_for_the_better(rows: list[dict[str, Any]], pool: list[dict[str, Any]]) -> float:
    """How often the model gives the side of the higher score the better chance."""
    score = {row["response"]: row["score"] for row in pool}
    told = [(score[r["first"]] > score[r["second"]]) == (r["p_first"] > 0.5) for r in rows]
    return sum(told) / len(told)


def test_without_preferences_the_scores_guide_and_the_note_says_so(tmp_path: Path) -> None:
    pool = with_scores(responses())
    done = select_file(write(tmp_path / "p.jsonl", pool), tmp_path / "out.jsonl", RULES, None)
    assert "decision_gain with 50%" in done.note and "the score" in done.note
    assert share_for_the_better(done.comparisons, pool) == 1.0
    assert {row["strategy"] for row in done.comparisons} == {"decision_gain"}
    assert {row["reason"] for row in done.comparisons} == {"exploration", "best"}


def test_a_score_that_is_the_same_for_all_guides_nothing(tmp_path: Path) -> None:
    pool = write(tmp_path / "p.jsonl", [{**row, "score": 7.5} for row in responses()])
    done = select_file(pool, tmp_path / "out.jsonl", RULES, None)
    assert "diversity" in done.note and "the score" not in done.note


def test_a_reward_is_a_score_and_csv_says_the_same(tmp_path: Path) -> None:
    outs = []
    for name in ("score", "reward"):
        write(tmp_path / f"{name}.jsonl", with_scores(responses(), name))
        select_file(tmp_path / f"{name}.jsonl", tmp_path / "out.jsonl", RULES, None)
        outs.append((tmp_path / "out.jsonl").read_bytes())
    rows = with_scores(responses())
    lines = [f"{row['prompt']},{row['response']},{row['score']!r}" for row in rows]
    (tmp_path / "p.csv").write_text("\n".join(["prompt,response,score", *lines]))
    select_file(tmp_path / "p.csv", tmp_path / "out.jsonl", RULES, None)
    assert outs[0] == outs[1] == (tmp_path / "out.jsonl").read_bytes()


def judged(pool: list[dict[str, Any]], sign: float, n: int) -> list[dict[str, Any]]:
    """Preferences on pairs of other nights, for the higher score or, by `sign`, against it."""
    rng = np.random.default_rng(11)
    rows = []
    for k in range(n):
        low, high = sorted(rng.normal(5.0, 3.0, 2).tolist())
        chosen, rejected = (high, low) if sign > 0 else (low, high)
        texts = {side: " ".join(rng.choice(WORDS, 12)) for side in ("chosen", "rejected")}
        scores = {"chosen_score": chosen, "rejected_score": rejected}
        rows.append({"prompt": f"other {k}", **texts, **scores})
    return rows


@pytest.mark.parametrize(("sign", "share"), [(1.0, 1.0), (-1.0, 0.0)])
def test_labels_keep_a_score_that_is_right_and_turn_one_that_is_not(
    tmp_path: Path, sign: float, share: float
) -> None:
    pool = with_scores(responses())
    write(tmp_path / "p.jsonl", pool)
    known = write(tmp_path / "known.jsonl", judged(pool, sign, 200))
    done = select_file(tmp_path / "p.jsonl", tmp_path / "out.jsonl", RULES, known)
    assert done.note == ""
    assert abs(share_for_the_better(done.comparisons, pool) - share) < 0.2


def test_scores_of_preferences_are_their_own_or_those_of_the_pool(tmp_path: Path) -> None:
    pool = with_scores(with_vectors(responses(n_prompts=6)))
    write(tmp_path / "pool.jsonl", pool)
    bare = bought(pool)
    score_of = {row["response"]: row["score"] for row in pool}
    own = [
        {**row, **{f"{side}_score": score_of[row[side]] for side in ("chosen", "rejected")}}
        for row in bare
    ]
    outs = []
    for known in (bare, own):
        preferences = write(tmp_path / "known.jsonl", known)
        done = select_file(tmp_path / "pool.jsonl", tmp_path / "out.jsonl", RULES, preferences)
        assert "scores" not in done.note
        outs.append((tmp_path / "out.jsonl").read_bytes())
    assert outs[0] == outs[1]


def test_preferences_without_scores_leave_scores_out_and_it_says_so(tmp_path: Path) -> None:
    pool = write(tmp_path / "pool.jsonl", with_scores(responses()))
    rows = [{"prompt": "p", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(9)]
    known = write(tmp_path / "known.jsonl", rows)
    done = select_file(pool, tmp_path / "out.jsonl", RULES, known)
    assert "does without scores" in done.note and "diversity" in done.note
    assert done.comparisons


def test_scores_on_some_rows_only_are_an_error(tmp_path: Path) -> None:
    pool = with_scores(responses())
    pool[5]["score"] = None
    path = write(tmp_path / "pool.jsonl", pool)
    with pytest.raises(Fatal, match=r"1 of 32 responses have no `score`, the first in line 6"):
        select_file(path, tmp_path / "out.jsonl", RULES, None)


@pytest.mark.parametrize("score", ["high", True, 1e200, [1.0], {"a": 1}, "nan", "inf"])
def test_a_score_that_is_none_costs_its_row(tmp_path: Path, score: Any) -> None:
    rows = [*with_scores(responses()), {"prompt": "q", "response": "x", "score": score}]
    done = select_file(write(tmp_path / "p.jsonl", rows), tmp_path / "out.jsonl", RULES, None)
    assert [row.reason for row in done.refused] == ["wrong_score"]
