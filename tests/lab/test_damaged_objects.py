"""Each kind of object in a lake, damaged in each way, under each command.

A command must end with an error that names the object, or a manifest that names it, or say and do
what it says and does on the whole lake. Nothing is bought that was bought, and no collection of
garbage removes what is needed.

Minutes, so it runs with `pytest -m kill`. WINNOW_LAB_SEED chooses which object stands for its kind
and where it is hurt.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from winnow.batch import read_manifest, read_table
from winnow.ids import file_digest
from winnow.lake import FolderLake

from .nights import (
    NAME,
    SEED,
    SUBJECTS,
    Said,
    bought,
    quick_nights,
    vendor_here,
    winnow,
    write_campaign,
)

pytestmark = [pytest.mark.slow, pytest.mark.kill]

AT_ONCE = 2
LONGEST_SECONDS = 60
"""A command that takes longer waits for ever for what is gone."""
OLD, SECOND, NEXT = "2026-03-01", "2026-03-02", "2026-03-03"
RATES = {"unanswered": 0.2}
"""Some tasks are bought again, in a second round."""
PAIR, PULLED = "PAIR", "PULLED"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "status": ("status",),
    "quarantine": ("quarantine",),
    "versions": ("versions",),
    "diff": ("diff", "v1", "v2"),
    "pull": ("pull", "v2", "--out", PULLED),
    "lineage": ("lineage", PAIR),
    "gc": ("gc", "--grace-hours", "0", "--delete"),
    "reconcile": ("reconcile",),
    "rollback": ("rollback", "v1", "--reason", "a test"),
    "late": ("late", "--batch", OLD),
    "next night": ("run", "--batch", NEXT, "--approve"),
    "old night": ("run", "--batch", OLD, "--approve"),
}
VOLATILE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00)?")


@dataclass(frozen=True)
class Case:
    """A command on a lake in which one object is damaged; no `path` means that it is whole."""

    command: str
    path: str = ""
    damage: str = ""
    data: bytes | None = None


@dataclass(frozen=True)
class Ending:
    """How a command ended, and what it did."""

    said: Said
    bought: Mapping[str, int] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    pulled: Mapping[str, str] = field(default_factory=dict)
    versions: str = ""
    raised: str = ""


@dataclass(frozen=True)
class World:
    """A lake of two published nights, a third whose prompts have come, and the vendor's books."""

    folder: Path
    pair: str

    def end(self, case: Case) -> Ending:
        """Run the case on a copy of lake and books."""
        place = self.folder / f"run-{os.getpid()}"
        lake, out = place / "lake", place / "out"
        shutil.copytree(self.folder / "lake", lake, copy_function=os.link)
        shutil.copy(self.folder / "books.sqlite", place)
        signal.signal(signal.SIGALRM, _too_long)
        if case.path:
            (lake / case.path).unlink()
            if case.data is not None:
                (lake / case.path).write_bytes(case.data)
        before = _paths(lake)
        words = {PAIR: self.pair, PULLED: str(out)}
        command = [words.get(word, word) for word in COMMANDS[case.command]]
        said, raised = Said(None, "", ""), ""
        with quick_nights(), vendor_here(place / "books.sqlite", RATES) as books:
            try:
                signal.alarm(LONGEST_SECONDS)
                said = self._cleaned(winnow(self.campaign, str(lake), *command), place)
            except Exception as error:
                raised = f"{type(error).__name__}{_where(error)}"
            finally:
                signal.alarm(0)
            ending = Ending(
                said,
                bought(books),
                before - _paths(lake),
                {p.relative_to(out).as_posix(): file_digest(p) for p in _files(out)},
                self._versions(lake, place) if command[0] in ("run", "rollback") else "",
                raised,
            )
        shutil.rmtree(place)
        return ending

    @property
    def campaign(self) -> Path:
        return self.folder / "campaign.yaml"

    def _versions(self, lake: Path, place: Path) -> str:
        """The versions that are there now."""
        return self._cleaned(winnow(self.campaign, str(lake), "versions"), place).out

    def _cleaned(self, said: Said, place: Path) -> Said:
        """What was said, without places and times."""
        return Said(
            said.code, *(_timeless(t.replace(str(place), "")) for t in (said.out, said.err))
        )


def _too_long(*_: Any) -> NoReturn:
    raise TimeoutError("it waits for ever")


def _timeless(text: str) -> str:
    return VOLATILE.sub("TIME", text)


def _paths(lake: Path) -> frozenset[str]:
    return frozenset(stored.path for stored in FolderLake(lake).listing(""))


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.rglob("*")) if p.is_file())


def _where(error: BaseException) -> str:
    own = [f for f in traceback.extract_tb(error.__traceback__) if "/winnow/" in f.filename]
    return f" in {own[-1].filename.rpartition('/winnow/')[2]}:{own[-1].lineno}" if own else ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    nights = {
        day: [f"What is odd about {subject} of {day}?" for subject in SUBJECTS]
        for day in (OLD, SECOND, NEXT)
    }
    # Whatever forgets a night meets its prompts again.
    for day, again in ((SECOND, OLD), (NEXT, OLD), (NEXT, SECOND)):
        nights[day] += nights[again][:4]
    campaign = write_campaign(folder, nights, approve_above_usd=0.5)
    lake = FolderLake(folder / "lake")
    with quick_nights(), vendor_here(folder / "books.sqlite", RATES):
        for day in (OLD, SECOND):
            done = winnow(campaign, lake.uri, "run", "--batch", day, "--approve")
            assert done.code == 0, done
        assert winnow(campaign, lake.uri, "reconcile").code == 0
    for day in (OLD, SECOND):
        assert lake.exists(f"batches/{NAME}/{day}/label/round-1/submission.json")
    lake.create(f"datasets/{NAME}/objects/v000000/{'0' * 64}.parquet", b"nobody names this")
    selected = read_manifest(lake, NAME, OLD, "select")
    assert selected is not None
    pair = read_table(lake, selected.outputs["comparisons"]).column("pair_id")[0].as_py()
    return World(folder, pair)


def kind_of(path: str) -> str:
    """What an object is, without its night, its number and its digest."""
    text = re.sub(r"\d{4}-\d\d-\d\d(\.\d+)?", "DAY", path)
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{8,64}(?![0-9a-z])", "DIGEST", text)
    return re.sub(r"v\d{6}", "VERSION", re.sub(r"inbox/\d+", "inbox/NUMBER", text))


def damages(path: str, data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Each way to hurt an object, and what is left of it."""
    yield "gone", None
    if not data:
        return
    yield "half", data[: len(data) // 2]
    at = rng.randrange(len(data))
    yield "bit", data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    numbers = list(re.finditer(rb"(?<=[:\[ ])\d+(?=[,\]}\s])", data))
    if path.endswith(".json") and numbers:
        at = rng.choice(numbers).start()
        yield "digit", data[:at] + b"%d" % (int(data[at : at + 1]) % 9 + 1) + data[at + 1 :]


def namers(lake: Path) -> Mapping[str, set[str]]:
    """For each object, what may stand for it in an error: itself, and the manifests it is in."""
    texts = {p.relative_to(lake).as_posix(): p.read_text() for p in lake.rglob("*.json")}
    objects = [p.relative_to(lake).as_posix() for p in _files(lake)]
    return {o: {o} | {p for p, text in texts.items() if f'"{o}"' in text} for o in objects}


def fault_of(case: Case, usual: Ending, found: Ending, names: set[str]) -> str:
    """What was wrong with how it ended; empty if nothing was."""
    if found.raised:
        return f"traceback: {found.raised}"
    if not found.bought.items() <= usual.bought.items():
        return "bought what the whole lake does not buy"
    if found.removed - usual.removed - {case.path}:
        return "removed what is needed"
    told, before = (each.said.out + each.said.err for each in (found, usual))
    if any(name in told and name not in before for name in names):
        return ""
    if found.said.code:
        return "an error that names another thing"
    if found.said.out != usual.said.out:
        return "other words"
    return "" if found == usual else "other effect"


def cases_of(world: World) -> list[Case]:
    """Every command on every damage of one object of each kind."""
    rng = random.Random(SEED)
    lake = world.folder / "lake"
    kinds: dict[str, list[str]] = {}
    for path in sorted(_paths(lake)):
        kinds.setdefault(kind_of(path), []).append(path)
    cases = []
    for paths in kinds.values():
        path = rng.choice(paths)
        for damage, data in damages(path, (lake / path).read_bytes(), rng):
            cases += [Case(command, path, damage, data) for command in COMMANDS]
    return cases


def test_no_damage_is_passed_over(world: World) -> None:
    started = time.monotonic()
    cases, names = cases_of(world), namers(world.folder / "lake")
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("fork")) as pool:
        usual = dict(zip(COMMANDS, pool.map(world.end, map(Case, COMMANDS)), strict=True))
        assert {ending.said.code for ending in usual.values()} == {0}, usual
        endings = list(pool.map(world.end, cases, chunksize=8))
    found = [
        (case, fault)
        for case, ending in zip(cases, endings, strict=True)
        if (fault := fault_of(case, usual[case.command], ending, names[case.path]))
    ]
    print(
        f"\n{len(cases)} runs on {len({c.path for c in cases})} damaged objects in "
        f"{time.monotonic() - started:.0f} s (seed {SEED}): {len(found)} passed over a damage"
    )
    for (command, kind, damage, fault), n in Counter(
        (case.command, kind_of(case.path), case.damage, fault) for case, fault in found
    ).most_common():
        print(f"{n} {command} | {kind} | {damage} | {fault}")
    assert len(cases) >= 1_700
    assert not found
