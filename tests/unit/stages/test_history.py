"""What a refit reads: each vote once, a window of the newest nights, and the sum of the rest."""

from __future__ import annotations

from dataclasses import replace
from math import log1p
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.batch import manifest_path, read_artifact, read_manifest
from winnow.lake import FolderLake
from winnow.reward import (
    OVERALL,
    Posterior,
    RewardModel,
    centre,
    fit_projection,
    fit_with_annotators,
)
from winnow.stages.select import history, reward_model, training
from winnow.stages.select.older import Older

from ...voted import VotedWorld
from .conftest import Dying, Killed

KEYS = [f"2026-11-{day:02}" for day in range(1, 21)]


@pytest.fixture
def world(tmp_path: Path) -> VotedWorld:
    return VotedWorld(FolderLake(tmp_path / "lake"))


def n_labels(fitted: reward_model.Refitted) -> int:
    return sum(head.n_labels for head in fitted.model.heads.values())


def older_of(world: VotedWorld, fitted: reward_model.Refitted) -> Older | None:
    assert fitted.past is not None
    return fitted.past.older


def outcome(world: VotedWorld) -> dict[str, Any]:
    """All that refits left, but for when."""
    manifests = {key: read_manifest(world.lake, "small", key, "publish") for key in world.batches}
    return {key: manifest and manifest.digest for key, manifest in manifests.items()}


def by_hand(world: VotedWorld) -> RewardModel:
    """A model of every vote, straight from the nights' tables: no window, no temperature."""
    votes, prompts = [], dict[str, dict[str, Any]]()
    for key in sorted(world.batches):
        pairs = {row["pair_id"]: row for row in world.rows(key, "select", "comparisons")}
        seen = {row["response_id"]: row for row in world.rows(key, "select", "compared")}
        for row in sorted(world.rows(key, "label", "annotations"), key=_annotation_id):
            pair = pairs[row["pair_id"]]
            sides = [seen[pair[side]] for side in ("first_id", "second_id")]
            votes.append((row, sides))
            for side in sides:
                vector = np.array(side["vector"], np.float64)
                prompts.setdefault(pair["prompt_id"], {})[side["response_id"]] = vector
    columns = world.columns(world.batches[-1])
    centred = [centre(np.array([each[i] for i in sorted(each)])) for each in prompts.values()]
    projection = fit_projection(np.vstack(centred), columns.blocks, 64)
    first, second = (
        projection.apply(np.array([np.array(s[k]["vector"], np.float64) for _, s in votes]))
        for k in (0, 1)
    )
    rows = [row for row, _ in votes]
    lengths = [[log1p(len(side["message"])) for side in sides] for _, sides in votes]
    head, _ = fit_with_annotators(
        first - second,
        [{"first": 1.0, "second": 0.0, "tie": 0.5}[row["preferred"]] for row in rows],
        np.ones(len(rows)),
        [-1.0 if row["swapped"] else 1.0 for row in rows],
        [one - other for one, other in lengths],
        [row["annotator"] for row in rows],
        blocks=projection.blocks,
    )
    return RewardModel(projection, {OVERALL: head}, columns.version)


def _annotation_id(row: dict[str, Any]) -> str:
    return str(row["annotation_id"])


@settings(max_examples=6, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_while_all_is_in_the_window_the_model_is_that_of_every_vote(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], order: Any
) -> None:
    one = VotedWorld(FolderLake(tmp_path_factory.mktemp("lake")))
    keys = KEYS[: len(sizes)]
    order.shuffle(keys)
    for key, one.per_night in zip(keys, sizes, strict=True):
        fitted = one.night(key)
    assert fitted.trust.temperature == 1.0
    assert fitted.model.version == by_hand(one).version
    assert older_of(one, fitted) is None


@pytest.mark.parametrize(
    "select",
    [{}, {"head": "ensemble"}, {"head_per_dimension": True}],
    ids=["laplace", "ensemble", "dimensions"],
)
def test_no_vote_is_lost_or_counted_twice_when_the_window_moves(
    world: VotedWorld, select: dict[str, Any]
) -> None:
    one = replace(world.asking(history_votes=60, **select), dimensions=("a", "b"))
    window = list[tuple[str, int]]()
    for n, key in enumerate(KEYS[:8], 1):
        fitted = one.night(key)
        assert n_labels(fitted) == n * one.per_night
        assert fitted.past is not None
        pieces = fitted.past.history.window
        in_window = sum(piece.n_votes for piece in pieces)
        assert 0.5 * 60 - one.per_night < in_window <= 60
        older = older_of(one, fitted)
        held = sum(votes.n_labels for votes in older.heads.values()) if older else 0
        assert held + in_window == n * one.per_night
        names = [(piece.key, piece.number) for piece in pieces]
        assert len(set(names)) == len(names)
        assert set(names) <= {*window, (key, 0)}, "what left does not come back"
        window = names
        names_of_heads = {"a", "b"} if "head_per_dimension" in select else {OVERALL}
        assert set(fitted.model.heads) == names_of_heads


def test_a_window_forgets_little(tmp_path: Path) -> None:
    one = VotedWorld(FolderLake(tmp_path / "lake"), per_night=200)
    for key in KEYS[:8]:
        one.add(key)
    whole, narrow = one.refit(), one.asking(history_votes=500).refit()
    last = replace(one, batches=one.batches[-2:]).refit()
    assert n_labels(narrow) == n_labels(whole) == 1600
    raw = np.random.default_rng(3).normal(size=(2000, whole.model.n_columns))
    said = [each.model.posterior.mean(each.model.features(raw)) for each in (whole, narrow, last)]
    assert np.corrcoef(said[0], said[1])[0, 1] > 0.99 > np.corrcoef(said[0], said[2])[0, 1] + 0.05


def test_a_column_that_says_something_at_last_is_heard(world: VotedWorld) -> None:
    """Though the projection is of votes among which it was always the same."""
    one, column = replace(world.asking(history_votes=60), asleep=8), 8
    for key in KEYS[:4]:
        fitted = one.night(key)
    older = fitted.past.older if fitted.past else None
    assert older is not None and not fitted.model.projection.inverse_scale_c[column]
    one.asleep = None
    for key in KEYS[4:8]:
        fitted = one.night(key)
    assert fitted.model.projection.inverse_scale_c[column] > 0.0
    head = fitted.model.posterior
    assert isinstance(head, Posterior)
    plain = fitted.model.projection.components[0].shape[1] + column - one.n_embedding
    assert head.mean_d[plain] and n_labels(fitted) == 8 * one.per_night
    kept = fitted.model.projection.inverse_scale_c != older.projection.inverse_scale_c
    assert np.flatnonzero(kept).tolist() == [column]


def test_a_night_larger_than_the_window_is_read_in_part(
    world: VotedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PIECE", 16)
    one = replace(world.asking(history_votes=40), per_night=100)
    fitted = one.night(KEYS[0])
    assert fitted.past is not None and n_labels(fitted) == 100
    assert [p.number for p in fitted.past.history.window] == [5, 6]
    with pq.ParquetFile(Path(one.lake.uri, fitted.past.history.window[0].rows.path)) as file:
        assert file.num_row_groups == 7
    (night,) = fitted.past.nights
    explored = sum(r["kind"] == "exploration" for r in one.rows(KEYS[0], "select", "comparisons"))
    assert len(night.explored.prompts) == explored, "the gate sees a night as a whole"
    assert fitted.past.older is not None and fitted.past.older.trust.gate is not None
    assert n_labels(one.night(KEYS[1])) == 200


def test_a_refit_reads_the_rows_of_earlier_nights_and_nothing_else_of_theirs(
    world: VotedWorld,
) -> None:
    one = world.asking(history_votes=60)
    for key in KEYS[:5]:
        one.night(key)
    one.add(KEYS[5])
    reads = Reads(one.lake)
    one.refit(reads)  # type: ignore[arg-type]
    of_earlier = {path for path in reads.paths if KEYS[5] not in path}
    last = read_manifest(one.lake, "small", KEYS[4], "publish")
    assert last is not None
    wanted = {manifest_path("small", KEYS[4], "publish"), last.outputs["history"].path}
    wanted |= {last.outputs["older"].path, last.outputs["votes"].path}
    assert of_earlier >= wanted
    assert all("/publish/votes-" in path for path in of_earlier - wanted)


def test_a_refit_reads_as_much_however_many_nights_there_were(world: VotedWorld) -> None:
    one, n_bytes = world.asking(history_votes=60), list[int]()
    for key in KEYS[:16]:
        one.add(key)
        reads = Reads(one.lake)
        one.publish(reads)  # type: ignore[arg-type]
        n_bytes.append(reads.n_bytes)
    assert max(n_bytes[10:]) < 1.2 * max(n_bytes[3:9])


def test_refits_killed_or_run_in_any_order_leave_the_same(tmp_path: Path) -> None:
    """A night may be published while the refit of an earlier one is still to come."""
    outcomes = []
    for place, order in enumerate([(3, 4, 5), (5, 4, 3), (4, 5, 3)]):
        one = VotedWorld(FolderLake(tmp_path / f"{place}")).asking(history_votes=60)
        for key in KEYS[:3]:
            one.night(key)
        model = reward_model.newest(one.lake, "small")
        for key in KEYS[3:6]:
            one.add(key)
        every = one.batches
        for number in order:
            one.batches = every[: number + 1]
            one.publish()
        one.batches = every
        assert model is not None
        outcomes.append(outcome(one))
    assert all(each == outcomes[0] for each in outcomes)


def test_a_refit_killed_before_any_write_ends_the_same(tmp_path: Path) -> None:
    def made(name: str) -> VotedWorld:
        one = VotedWorld(FolderLake(tmp_path / name)).asking(history_votes=40)
        for key in KEYS[:2]:
            one.night(key)
        one.add(KEYS[2])
        return one

    whole = made("whole")
    counted: Any = Dying(whole.lake, ("create", "swap"), None)
    whole.publish(counted)
    assert counted.n_steps >= 5
    for step in range(counted.n_steps):
        killed = made(f"killed-{step}")
        with pytest.raises(Killed):
            killed.publish(Dying(killed.lake, ("create", "swap"), step))  # type: ignore[arg-type]
        killed.publish()
        assert outcome(killed) == outcome(whole)


def test_withdrawn_nights_leave_what_left_the_window_too(tmp_path: Path) -> None:
    one = VotedWorld(FolderLake(tmp_path / "lake")).asking(history_votes=60)
    models = [one.night(key).model.version for key in KEYS[:7]]
    assert one.night(KEYS[7]).past is not None
    one.batches = one.batches[:3]
    back = one.refit()
    assert back.model.version == models[2]
    reward_model.store(one.lake, "small", back, 9)
    later = one.night(KEYS[8])
    other = VotedWorld(FolderLake(tmp_path / "other")).asking(history_votes=60)
    for key in KEYS[:3]:
        other.night(key)
    assert later.model.version == other.night(KEYS[8]).model.version


def test_a_lake_of_a_version_before_is_read_once_and_goes_on(world: VotedWorld) -> None:
    one = world.asking(history_votes=60)
    for key in KEYS[:6]:
        one.night(key)
    expected = outcome(one)
    for key in KEYS[:6]:
        manifest = read_manifest(one.lake, "small", key, "publish")
        assert manifest is not None
        one.lake.remove(manifest_path("small", key, "publish"))
        for name in ("votes", "history", "older"):
            if name in manifest.outputs:
                one.lake.remove(manifest.outputs[name].path)
        if key != KEYS[5]:
            figures = {name: manifest.figures[name] for name in ("posterior",)}
            one.batch(key).commit(
                "publish", inputs=[], outputs={}, counts=dict(manifest.counts), figures=figures
            )
    manifest = one.publish()
    assert manifest.digest == expected[KEYS[5]]
    again = Reads(one.lake)
    one.add(KEYS[6])
    one.refit(again)  # type: ignore[arg-type]
    assert not [path for path in again.paths if KEYS[0] in path or f"{KEYS[3]}/label" in path]


@pytest.mark.parametrize(
    "settings", [{"history_votes": 100}, {"max_components": 3}, {"head_per_dimension": True}]
)
def test_other_settings_read_every_night_again_as_if_they_had_always_been(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    one = VotedWorld(FolderLake(tmp_path / "lake")).asking(history_votes=60)
    for key in KEYS[:5]:
        one.night(key)
    moved = one.asking(**settings)
    again = moved.refit()
    fresh = replace(moved, lake=Hidden(moved.lake)).refit()
    assert again.model.version == fresh.model.version
    assert n_labels(again) == 5 * one.per_night


def test_pairs_that_are_set_aside_are_in_no_row(
    world: VotedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(KEYS[0])
    pairs = sorted(row["pair_id"] for row in world.rows(KEYS[0], "select", "comparisons"))
    monkeypatch.setattr(history, "pairs_set_aside", lambda *_: frozenset(pairs[:5]))
    fitted = world.refit()
    assert fitted.past is not None
    assert fitted.past.nights[0].rows["pair_id"].to_pylist() != []
    assert not set(pairs[:5]) & set(fitted.past.nights[0].rows["pair_id"].to_pylist())
    assert n_labels(fitted) == world.per_night - 5


def test_only_the_latest_revision_of_a_vote_counts(world: VotedWorld) -> None:
    world.add(KEYS[0])
    rows = world.rows(KEYS[0], "label", "annotations")
    table = pa.Table.from_pylist(rows)
    first, second, third, *rest = sorted(rows, key=_annotation_id)
    later = [
        {**first, "revision": 2, "preferred": "both_bad"},
        {**second, "revision": 3, "status": "retracted"},
        {**third, "kind": "gold"},
        *rest,
        first,
        second,
    ]
    voted = _voted(world, pa.Table.from_pylist(later, table.schema))
    assert voted.num_rows == len(rows) - 2
    assert voted["preferred"][0].as_py() == "both_bad"


def _voted(world: VotedWorld, annotations: pa.Table) -> pa.Table:
    selected = world.batch(KEYS[0]).require("select").outputs
    files = [Path(world.lake.uri, selected[n].path) for n in ("comparisons", "compared")]
    return training.voted(annotations, *files, frozenset())


def test_a_night_tells_how_far_it_moved_the_model(world: VotedWorld) -> None:
    one = replace(world.asking(history_votes=300), per_night=120)
    figures = [one.night(key).drift for key in KEYS[:6]]
    assert figures[0] == {}, "no model chose it"
    for each in figures[1:]:
        assert each["pairs"] == 40 and each["turned"] <= 40
        assert each["foreseen"] <= each["decided"] <= 40
    assert [each["older_votes"] > 0 for each in figures[1:]] == [False, True, True, True, True]
    assert figures[-1]["foreseen_by_older"] > 0.5 * figures[-1]["decided"]


class Reads:
    """A lake that notes what is read of it."""

    def __init__(self, lake: FolderLake) -> None:
        self._lake, self.paths, self.n_bytes = lake, set[str](), 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._lake, name)
        return self._noting(found) if name in ("read", "read_tagged", "local", "chunks") else found

    def _noting(self, step: Any) -> Any:
        def call(path: str, *more: Any) -> Any:
            file = Path(self._lake.uri, path)
            if file.is_file():
                self.paths.add(path)
                self.n_bytes += file.stat().st_size
            return step(path, *more)

        return call


class Hidden:
    """A lake of which nobody published a night yet."""

    def __init__(self, lake: Any) -> None:
        self._lake = lake

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._lake, name)
        if name == "read":

            def read(path: str) -> Any:
                if path.endswith("/publish/manifest.json"):
                    raise FileNotFoundError(path)
                return found(path)

            return read
        return found


def test_what_left_is_stored_as_it_is(world: VotedWorld) -> None:
    one = world.asking(history_votes=40)
    for key in KEYS[:4]:
        fitted = one.night(key)
    assert fitted.past is not None and fitted.past.history.older is not None
    data = read_artifact(one.lake, fitted.past.history.older)
    assert Older.from_bytes(data).to_bytes() == data


def right(world: VotedWorld, fitted: reward_model.Refitted) -> float:
    """Share of fresh pairs that the model orders as people want them."""
    blocks = world.columns(world.batches[-1]).blocks
    n_columns = sum(block.size for block in blocks)
    sides = np.random.default_rng(3).normal(size=(2, 1000, n_columns))
    model = fitted.model
    reward_2e = [model.posterior.mean(model.projection.apply(side)) for side in sides]
    wanted_e = (sides[0] - sides[1]) @ world.wanted(n_columns)
    return float(np.mean((reward_2e[0] > reward_2e[1]) == (wanted_e > 0)))


@pytest.mark.parametrize("head", ["laplace", "ensemble"])
def test_labels_that_were_brought_help_and_wrong_ones_are_outvoted(
    tmp_path: Path, head: str
) -> None:
    """The second night on, some votes have left the window."""
    shares: dict[int, list[float]] = {}
    for brought in (0, 300, -300):
        one = VotedWorld(
            FolderLake(tmp_path / str(brought)),
            select={"head": head, "history_votes": 100},
            per_night=60,
            brought=brought,
        )
        nights = [one.night(key) for key in KEYS[:4]]
        shares[brought] = [right(one, fitted) for fitted in nights]
        counted = [fitted.brought["counts_for"]["overall"] for fitted in nights if brought]
        assert [n_labels(fitted) - 60 * k for k, fitted in enumerate(nights, 1)] == (
            counted or [0] * 4
        )
        assert older_of(one, nights[-1]) is not None
        if brought > 0:
            assert counted == [300] * 4
        elif brought:
            assert counted[-1] < 30
    assert shares[300][0] > shares[0][0] + 0.08
    assert shares[-300][-1] > shares[0][-1] - 0.06
