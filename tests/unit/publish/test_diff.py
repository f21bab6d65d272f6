"""A difference counts every row once, whatever the files it lies in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.batch import Artifact, table_bytes
from winnow.errors import Corrupt
from winnow.lake import FolderLake, Lake
from winnow.publish.diff import Diff, Moved, Relabelled, diff_text, diff_versions
from winnow.publish.versions import Version, store_object

Row = dict[str, Any]
Rows = dict[str, tuple[bool, int]]

PROMPT = [{"role": "user", "content": "q"}]


def shard(lake: Lake, rows: list[Row]) -> Artifact:
    data = table_bytes(pa.Table.from_pylist(rows))
    return store_object(lake, "d", data, "parquet", len(rows))


def version(number: int, files: dict[str, Artifact], **figures: Any) -> Version:
    batches = tuple(f"b{i}" for i in range(1, number + 1))
    return Version("d", number, number - 1 or None, batches, files, figures, "2026-11-23")


def reward(pair: str, chosen: str = "one", margin: float = 1.0) -> Row:
    return {"prompt": PROMPT, "pair_id": pair, "chosen_id": chosen, "margin": margin}


def test_each_kind_of_change_is_told_apart(lake: Lake) -> None:
    old = shard(lake, [reward("same"), reward("gone"), reward("flipped"), reward("moved")])
    new = shard(
        lake, [reward("same"), reward("new"), reward("flipped", "two"), reward("moved", margin=2.0)]
    )
    found = diff_versions(
        lake,
        version(1, {"data/reward/train/a.parquet": old}),
        version(2, {"data/reward/train/a.parquet": new}),
        listed=10,
    )
    view = found.views["reward"]
    assert (view.n_before, view.n_after) == (4, 4)
    assert (view.n_added, view.n_removed, view.n_relabelled, view.n_rewritten) == (1, 1, 1, 1)
    assert (view.added, view.removed) == (["new"], ["gone"])
    assert view.relabelled == [Relabelled("flipped", "one", "two")]


def test_views_are_compared_by_their_own_ids(lake: Lake) -> None:
    single = {"response_id": "r1", "pair_ids": ["p1"], "label": True}
    judged = {"annotation_id": "a1", "pair_id": "p1", "preferred": None}
    before = {
        "data/kto/train/a.parquet": shard(lake, [single]),
        "data/annotations/train/a.parquet": shard(lake, [judged]),
        "data/prompts/train/a.parquet": shard(lake, [{"prompt_id": "q1", "prompt": PROMPT}]),
    }
    after = {
        "data/kto/train/a.parquet": shard(lake, [{**single, "label": False}]),
        "data/annotations/train/a.parquet": shard(lake, [{**judged, "preferred": "first"}]),
        "data/prompts/train/a.parquet": shard(lake, [{"prompt_id": "q1", "prompt": []}]),
    }
    found = diff_versions(lake, version(1, before), version(2, after), listed=10)
    assert found.views["kto"].relabelled == [Relabelled("r1", "true", "false")]
    prompts = found.views["prompts"]
    assert (prompts.n_added, prompts.n_relabelled, prompts.n_rewritten) == (0, 0, 1)
    assert found.views["annotations"].relabelled == [Relabelled("a1", "none", "first")]


def test_a_column_that_only_newer_shards_have_changes_a_row_by_its_value(lake: Lake) -> None:
    before = version(1, {"data/reward/a.parquet": shard(lake, [reward("p")])})
    for weight, n_rewritten in ((None, 0), (0.5, 1)):
        wider = shard(lake, [{**reward("p"), "weight": weight}])
        found = diff_versions(lake, before, version(2, {"data/reward/a.parquet": wider}), listed=10)
        assert found.views["reward"].n_rewritten == n_rewritten


def test_shards_that_both_have_are_not_read(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    old, new = shard(lake, [reward("p")]), shard(lake, [reward("q")])
    (tmp_path / old.path).unlink()
    before = version(1, {"data/reward/a.parquet": old})
    after = version(2, {"data/reward/moved.parquet": old, "data/reward/b.parquet": new})
    found = diff_versions(lake, before, after, listed=10)
    assert found.views["reward"].added == ["q"]
    (tmp_path / new.path).write_bytes(b"something else")
    with pytest.raises(Corrupt, match="does not match its digest"):
        diff_versions(lake, before, after, listed=10)


def test_figures_and_batches_that_moved_are_told(lake: Lake) -> None:
    before = version(1, {}, verdict="pass", gate={"low": 0.5, "n": 3}, agreement=0.25)
    after = version(3, {}, verdict="warn", gate={"low": 0.75, "n": 3}, alpha=0.5)
    found = diff_versions(lake, before, after, listed=10)
    assert found.figures == [
        Moved("agreement", 0.25, None),
        Moved("alpha", None, 0.5),
        Moved("gate.low", 0.5, 0.75),
        Moved("verdict", "pass", "warn"),
    ]
    assert (found.batches_added, found.batches_removed) == (["b2", "b3"], [])
    back = diff_versions(lake, after, before, listed=10)
    assert (back.batches_added, back.batches_removed) == ([], ["b2", "b3"])


def test_the_text_lists_as_many_ids_as_asked_and_hides_nothing(lake: Lake) -> None:
    rows = [reward(f"p{i}") for i in range(5)] + [reward("p5\x1b[31m")]
    after = version(2, {"data/reward/a.parquet": shard(lake, rows)}, agreement=0.5)
    text = diff_text(diff_versions(lake, version(1, {}), after, listed=2))
    assert text.splitlines() == [
        "d v000001 to v000002",
        "batches added: b2",
        "reward       0 to 6 rows: 6 added, 0 removed, 0 with another label, 0 with another value",
        "  + p0",
        "  + p1",
        "  + and 4 more",
        "figures of the newest batch, v000001 and v000002",
        "  agreement: not measured to 0.5",
    ]
    whole = diff_text(diff_versions(lake, version(1, {}), after, listed=9))
    assert "p5[31m" in whole and "\x1b" not in whole


_ROWS = st.dictionaries(
    st.sampled_from([f"p{i}" for i in range(8)]), st.tuples(st.booleans(), st.integers(0, 1))
)


@settings(max_examples=20)
@given(_ROWS, _ROWS, st.integers(1, 3), st.integers(1, 3))
def test_counts_are_those_of_a_plain_comparison(
    tmp_path_factory: pytest.TempPathFactory,
    before: Rows,
    after: Rows,
    n_before: int,
    n_after: int,
) -> None:
    lake = FolderLake(tmp_path_factory.mktemp("lake"))
    view = _diff(lake, before, after, n_before, n_after).views.get("reward")
    if view is None:
        assert not before and not after
        return
    both = before.keys() & after.keys()
    relabelled = {p for p in both if before[p][0] != after[p][0]}
    assert list(view.added) == sorted(after.keys() - before.keys())
    assert list(view.removed) == sorted(before.keys() - after.keys())
    assert {row.row for row in view.relabelled} == relabelled
    assert view.n_rewritten == len({p for p in both if before[p] != after[p]} - relabelled)
    assert view.n_after - view.n_before == view.n_added - view.n_removed == len(after) - len(before)


def _diff(lake: Lake, before: Rows, after: Rows, n_before: int, n_after: int) -> Diff:
    """The rows of each side dealt over some shards, of which some may be in both."""
    files = []
    for rows, n_shards in ((before, n_before), (after, n_after)):
        made = [reward(p, "one" if rows[p][0] else "two", rows[p][1]) for p in sorted(rows)]
        dealt = [made[i::n_shards] for i in range(n_shards)]
        named = {
            f"data/reward/{i}.parquet": shard(lake, part) for i, part in enumerate(dealt) if part
        }
        files.append(named)
    return diff_versions(lake, version(1, files[0]), version(2, files[1]), listed=10)
