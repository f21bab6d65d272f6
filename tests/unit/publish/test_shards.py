"""Batch after batch a prompt keeps its side, and there is always something to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.batch import read_table
from winnow.errors import Corrupt, Fatal
from winnow.ingest.turns import call_text
from winnow.lake import FolderLake
from winnow.publish import shards
from winnow.publish.shards import cut, store_shards
from winnow.publish.splits import place
from winnow.publish.versions import Version, newest, shelf
from winnow.publish.views import LISTWISE, VIEWS

from ...published import RATED, labelled, night, prompt, wanting
from ...sampling import examples

WORDS = [a + b for a in "bdfgklmnprst" for b in ("ale", "ire", "oon", "ump", "eck", "ist", "and")]


def sides(lake: FolderLake, version: Version, view: str) -> dict[str, set[str]]:
    """The splits that a prompt's text has rows in."""
    found: dict[str, set[str]] = {}
    for name, artifact in version.files.items():
        if name.startswith(f"data/{view}/"):
            for row in read_table(lake, artifact).to_pylist():
                found.setdefault(row["prompt"][0]["content"], set()).add(name.split("/")[2])
    return found


NIGHTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=4)


@pytest.mark.sampled
@settings(deadline=None, max_examples=examples(8))
@given(nights=NIGHTS, shares=st.lists(st.floats(0.0, 0.5), min_size=4, max_size=4))
def test_a_prompt_never_changes_sides_even_if_the_campaign_wants_another_share(
    nights: list[list[str]], shares: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = FolderLake(tmp_path_factory.mktemp("lake"))
    version = None
    for i, texts in enumerate(nights):
        version = night(lake, labelled(f"d{i}", texts), shares[i])
    assert version is not None
    for view in ("reward", "dpo", "kto", "prompts"):
        found = sides(lake, version, view)
        assert set(found) == {text for texts in nights for text in texts}
        assert all(len(split) == 1 for split in found.values())
        assert any(split == {"train"} for split in found.values())


def test_a_first_night_all_for_testing_lowers_the_share_until_one_prompt_trains(
    tmp_path: Path,
) -> None:
    low = sorted((place(prompt(w)["messages"]), w) for w in WORDS)[:3]
    version = night(FolderLake(tmp_path), labelled("d1", [w for _, w in low]), 0.5)
    assert version.figures["test_share"] == low[2][0]
    assert version.n_rows("reward/train") == 1
    assert version.n_rows("reward/test") == 2


def test_a_split_without_rows_has_no_file(tmp_path: Path) -> None:
    version = night(FolderLake(tmp_path), labelled("d1", WORDS[:4]), 0.0)
    folders = {name.rpartition("/")[0] for name in version.files if name.startswith("data/")}
    assert folders == {
        f"data/{view}/train"
        for view in ("reward", "dpo", "kto", "prompts", "annotations", "sharegpt", "talks")
    }


def test_files_are_named_by_view_split_batch_and_content(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    with labelled("2026-11-22", WORDS).opened() as batch:
        files = store_shards(shelf(lake, "d", None), batch, cut(batch, wanting(0.3), None))
    for name, artifact in files.items():
        # Old readers refuse the types that `datasets` would tell of there.
        assert pq.read_schema(lake.root / artifact.path).metadata is None
        folder, _, file = name.rpartition("/")
        assert folder.split("/")[2] in ("train", "test")
        assert file == f"2026-11-22-{artifact.sha256[:8]}.parquet"
    rows = {
        split: sum(a.n_rows for n, a in files.items() if f"reward/{split}" in n)
        for split in ("train", "test")
    }
    assert sum(rows.values()) == len(WORDS)
    assert all(rows.values())


def test_a_dataset_from_before_splits_says_what_to_do(tmp_path: Path) -> None:
    version = night(FolderLake(tmp_path), labelled("d1", WORDS[:4]), 0.05)
    with (
        labelled("d2", WORDS[:4]).opened() as batch,
        pytest.raises(Fatal, match=r"Give publish\.dataset a new name"),
    ):
        cut(batch, wanting(0.05), replace(version, figures={}))


CALLED = {
    "messages": [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": call_text("rain", {"city": "Oslo"})},
        {"role": "tool", "content": "no"},
    ],
    "tools": '[{"type": "function", "function": {"name": "rain"}}]',
}
CHANGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "drops a row": lambda table: table.slice(1),
    "invents a row": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("view", [view for view in VIEWS if view != LISTWISE])
def test_a_version_whose_writer_drops_or_invents_a_row_is_not_published(
    view: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shards.read_view

    def wrong(labelled: Any, name: str, *rest: Any) -> Iterator[pa.Table]:
        for table in whole(labelled, name, *rest):
            yield CHANGES[change](table) if name == view else table

    monkeypatch.setattr(shards, "read_view", wrong)
    lake = FolderLake(tmp_path)
    with pytest.raises(Corrupt, match=f"rows for the view {view}, and"):
        night(lake, labelled("d1", [*WORDS[:3], CALLED], RATED), 0.0)
    assert newest(lake, "d") is None


def test_a_pair_whose_text_is_lost_is_not_left_out_in_silence(tmp_path: Path) -> None:
    batch = labelled("d1", WORDS[:3])
    texts = {name: row for name, row in batch.responses.items() if name != "d10a"}
    lake = FolderLake(tmp_path)
    with pytest.raises(Corrupt, match="hold 3 rows for the view reward, and 2 were written"):
        night(lake, replace(batch, responses=texts), 0.0)
    assert newest(lake, "d") is None
