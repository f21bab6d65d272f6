"""People who tire are found, people who do not are not, whoever is better or works longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from winnow.validate.sessions import LEAST, UNSEEN, Sessions, sessions

from ...label_rows import labels
from ...sampling import examples

Row = dict[str, Any]
START = datetime(2026, 11, 22, 8, tzinfo=UTC)
GAP = 30.0


def measured(annotations: list[Row], tasks: list[Row]) -> Sessions:
    with labels(annotations=annotations, tasks=tasks) as connection:
        return sessions(connection, GAP)


def worked(
    rng: np.random.Generator, fall: float = 0.0, n_people: int = 8
) -> tuple[list[Row], list[Row]]:
    """Answers and tasks of people of unlike skill and diligence, each in three sessions.

    Who names the better side with chance 0.95 to 0.75 at first does so with `fall` less at the end.
    """
    annotations, tasks = [], []
    pair = 0
    waiting: list[str] = []
    for person in range(n_people):
        skill, pace = 0.95 - 0.2 * person / n_people, 20.0 + 20.0 * person
        at = START
        for _ in range(3):
            n = int(rng.integers(LEAST, 60 - 4 * person))
            own: list[tuple[str, str]] = []
            for k in range(n):
                right = rng.random() < skill - fall * k / (n - 1)
                said = "first" if right else "second"
                kind, name = "comparison", f"p{pair}"
                draw = rng.random()
                if draw < 0.2:
                    kind = "gold"
                elif draw < 0.3 and own:
                    kind, name = "repeat", own[0][0]
                    del own[0]
                elif draw < 0.6 and waiting and not waiting[0].endswith(f"by {person}"):
                    name = waiting.pop(0)
                else:
                    name = f"p{pair} by {person}"
                    waiting.append(name)
                pair += 1
                if kind == "comparison" and rng.random() < 0.5:
                    own.append((name, said))
                at += timedelta(seconds=pace * float(rng.uniform(0.5, 1.5)))
                task = f"t{len(tasks):05d}"
                tasks.append({"task_id": task, "expected": "first" if kind == "gold" else None})
                annotations.append(answer(task, name, kind, f"person {person}", said, at))
            at += timedelta(minutes=GAP + 5.0)
    return annotations, tasks


def answer(task: str, pair: str, kind: str, who: str, said: str, at: datetime, **told: Any) -> Row:
    return {
        "annotation_id": task,
        "revision": 0,
        "task_id": task,
        "pair_id": pair,
        "kind": kind,
        "annotator": who,
        "choice": "a" if said == "first" else "b",
        "preferred": said,
        "started_at": at,
        "finished_at": at + timedelta(seconds=5.0),
        "status": "submitted",
        **told,
    }


def test_people_who_tire_are_found() -> None:
    found = measured(*worked(np.random.default_rng(1), fall=0.5))
    assert found.n_sessions == 24
    assert found.decline is not None and found.low is not None and found.high is not None
    assert found.low > 0.1
    of = {change.measure: change for change in found.changes}
    assert of["gold"].low < -0.5 < of["gold"].high < 0.0
    assert of["gold"].early is not None and of["gold"].late is not None
    assert of["gold"].early - of["gold"].late > 0.2
    assert of["agreement"].high < 0.0


@pytest.mark.sampled
def test_who_does_not_tire_is_seldom_said_to() -> None:
    found = [measured(*worked(np.random.default_rng(seed))) for seed in range(examples(100))]
    above = [each for each in found if each.low is not None and each.low > 0.0]
    below = [each for each in found if each.high is not None and each.high < 0.0]
    # One in 40 is meant to be on either side; 8 of 100, or 5 of 33, are more than chance makes.
    most = 5 + 0.03 * len(found)
    assert len(above) < most and len(below) < most
    assert not [each for each in above if each.low is not None and each.low > 0.1]
    assert abs(np.mean([each.decline for each in found])) < 0.02


def test_a_change_is_the_slope_from_the_first_answer_to_the_last() -> None:
    said = [True, True, True, False, True, False, True, False, False]
    tasks = [{"task_id": f"t{i}", "expected": "first"} for i in range(len(said))]
    rows = [
        answer(f"t{i}", f"g{i}", "gold", "ann", "first" if right else "second", at)
        for i, right in enumerate(said)
        for at in [START + i * timedelta(minutes=GAP)]
    ]
    found = measured(rows, tasks)
    place = np.linspace(0.0, 1.0, len(said))
    [gold] = [change for change in found.changes if change.measure == "gold"]
    assert gold.change == pytest.approx(np.polyfit(place, np.array(said, float), 1)[0])
    assert (gold.early, gold.late) == (1.0, pytest.approx(1.0 / 3.0))
    assert found.decline == pytest.approx(-gold.change)
    assert (found.n_sessions, found.minutes) == (1, pytest.approx(8 * GAP + 5.0 / 60.0))


def test_a_longer_pause_begins_another_session() -> None:
    def rows(pause: timedelta) -> list[Row]:
        return [
            answer(f"t{i}", f"p{i}", "comparison", "ann", "first", START + i * timedelta(minutes=1))
            for i in range(LEAST)
        ] + [
            answer(f"u{i}", f"q{i}", "comparison", "ann", "first", at)
            for i in range(LEAST)
            for at in [START + pause + (LEAST + i) * timedelta(minutes=1)]
        ]

    assert measured(rows(timedelta(minutes=GAP - 2)), []).n_sessions == 1
    assert measured(rows(timedelta(minutes=GAP + 2)), []).n_sessions == 2


@pytest.mark.parametrize(
    "told",
    [
        {"model": "judge", "annotator": "judge"},
        {"annotator": "unknown-1"},
        {"started_at": None, "finished_at": None},
        {"status": "retracted"},
    ],
)
def test_models_strangers_and_answers_without_a_time_have_no_session(told: Row) -> None:
    annotations, tasks = worked(np.random.default_rng(0))
    assert measured(annotations, tasks) != UNSEEN
    assert measured([{**row, **told} for row in annotations], tasks) == UNSEEN
