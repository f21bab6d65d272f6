"""Works through one shard: rounds of calls, each stored as it ends, so that it can be killed.

A call is done when its manifest lies in the lake; its tables lie there before, under names made of
their digests. So a shard that is started again skips what is done, generates the rest in the same
calls as before, and a process that lost a race changes nothing.

The engine goes on with the next call while the last one's responses are embedded and stored. No
more than a few calls are held, however many the shard has.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from winnow.batch import store, table_bytes
from winnow.campaign import Expand
from winnow.errors import Corrupt
from winnow.expand.calls import Asked, Row, call_id, call_tables, draws_of
from winnow.expand.engine import Draw, Drawn, Engine, Report
from winnow.expand.features import Embed
from winnow.expand.growth import Grows, pools_so_far
from winnow.expand.manifests import (
    CallManifest,
    ShardManifest,
    call_folder,
    call_path,
    shard_path,
)
from winnow.expand.shard import Call, Shard, calls_of, round_ends
from winnow.lake import Lake
from winnow.stored import parsed

_WAITING = 2
"""Calls whose responses may wait to be embedded while the engine goes on."""


def run_shard(
    shard: Shard,
    prompts: Iterable[Row],
    settings: Expand,
    engine: Engine,
    embed: Embed,
    lake: Lake,
    report: Report,
    *,
    campaign: str,
    folder: str,
    grows: Grows | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> ShardManifest:
    """Generate what is not done yet of a shard, and write the shard's manifest.

    Args:
        shard: Its groups, and the model.
        prompts: Rows of the prompts table, those of the shard among them.
        settings: The campaign's.
        engine: What generates.
        embed: Features of what it generates.
        lake: Where both go, below `folder`.
        report: Gets a "call" event after each call, and a "round" event after each round.
        campaign: Its name, of which seeds depend.
        folder: That of the batch's expand stage.
        grows: Which pools go on after a round; None: all of them.
        clock: Seconds, for the events.

    Raises:
        Corrupt: A prompt of the shard is not among `prompts`.
    """
    rows = _rows_of(shard, prompts)
    work = _Work(shard, rows, settings, engine, embed, lake, report, campaign, folder, clock)
    first = 0
    for last in round_ends(settings):
        work.run_round(first, last, grows)
        first = last
    path = shard_path(folder, shard.shard_id)
    lake.create(path, ShardManifest(shard.shard_id, tuple(work.done)).to_bytes())
    return parsed(lake, path, ShardManifest.from_bytes)


def _rows_of(shard: Shard, prompts: Iterable[Row]) -> dict[str, Row]:
    wanted = {prompt for group in shard.groups for prompt in group}
    rows = {row["prompt_id"]: row for row in prompts if row["prompt_id"] in wanted}
    if missing := sorted(wanted - rows.keys()):
        raise Corrupt(
            f"Prompts {', '.join(missing)} are in the plan but not in the prompts table; "
            "the plan belongs to another batch, so plan again."
        )
    return rows


@dataclass(slots=True)
class _Work:
    """A shard on its way.

    Attributes:
        done: Manifests of the calls so far, in the order of the plan.
        ended: Prompts whose pools grow no more: refused, or more would not help.
    """

    shard: Shard
    rows: Mapping[str, Row]
    settings: Expand
    engine: Engine
    embed: Embed
    lake: Lake
    report: Report
    campaign: str
    folder: str
    clock: Callable[[], float]
    done: list[CallManifest] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)

    def run_round(self, first: int, last: int, grows: Grows | None) -> None:
        """Bring every pool that goes on from `first` to `last` responses."""
        planned: list[Call] = []
        manifests: dict[Call, CallManifest] = {}
        waiting: deque[tuple[Call, Future[CallManifest]]] = deque()
        started = self.clock()

        def to_do() -> Iterator[tuple[Call, list[Draw]]]:
            for call in self._calls(first, last, grows):
                planned.append(call)
                if known := self._stored(call):
                    manifests[call] = known
                    self._say(known, skipped=True)
                else:
                    yield call, [each.draw for each in self._asked(call)]

        with ThreadPoolExecutor(1, "store") as behind:
            for call, drawn in self.engine.generate_each(to_do()):
                waiting.append((call, behind.submit(self._finish, call, drawn)))
                while len(waiting) > _WAITING or (waiting and waiting[0][1].done()):
                    ready, future = waiting.popleft()
                    manifests[ready] = future.result()
                    self._say(manifests[ready], skipped=False)
            for ready, future in waiting:
                manifests[ready] = future.result()
                self._say(manifests[ready], skipped=False)
        self.done += [manifests[call] for call in planned]
        self.report(
            {
                "event": "round",
                "responses": last,
                "pools": sum(len(call.prompts) for call in planned),
                "tokens": sum(manifests[call].tokens for call in planned),
                "seconds": round(self.clock() - started, 3),
            }
        )

    def _calls(self, first: int, last: int, grows: Grows | None) -> Iterator[Call]:
        """The round's calls; after the first round those of the pools that still grow."""
        for group in self.shard.groups:
            prompts = [prompt for prompt in group if prompt not in self.ended]
            if first:
                prompts = self._growing(prompts, last, grows)
                self.ended.update(set(group) - set(prompts))
            yield from calls_of(prompts, first, last, self.shard.model, self.settings)

    def _growing(self, prompts: Sequence[str], last: int, grows: Grows | None) -> list[str]:
        earlier = [m for m in self.done if not set(prompts).isdisjoint(m.call.prompts)]
        drawn = {prompt for manifest in earlier for prompt in manifest.call.prompts}
        pools = pools_so_far(self.lake, earlier, prompts)
        verdicts = grows(pools, last) if grows else [True] * len(pools)
        go_on = {p.prompt_id for p, goes_on in zip(pools, verdicts, strict=True) if goes_on}
        return [prompt for prompt in prompts if prompt in go_on or prompt not in drawn]

    def _stored(self, call: Call) -> CallManifest | None:
        path = call_path(self.folder, self._id(call))
        return parsed(self.lake, path, CallManifest.from_bytes) if self.lake.exists(path) else None

    def _id(self, call: Call) -> str:
        return call_id(call, self.shard.model, self.campaign, self.settings, self.engine.name)

    def _asked(self, call: Call) -> list[Asked]:
        return draws_of(call, self.rows, self.shard.model, self.campaign, self.settings)

    def _finish(self, call: Call, drawn: Sequence[Drawn]) -> CallManifest:
        """Embed and store what a call gave; the twin that was first wins."""
        made = call_tables(self._asked(call), drawn, self.settings, self.embed)
        identity = self._id(call)
        folder = call_folder(self.folder, identity)
        tables = {n: getattr(made, n) for n in ("responses", "features", "quarantine")}
        manifest = CallManifest(
            call_id=identity,
            call=call,
            sampled=made.sampled,
            tokens=made.tokens,
            engine=self.engine.name,
            engine_version=self.engine.version,
            outputs={
                n: store(self.lake, f"{folder}/{n}", "parquet", table_bytes(t), t.num_rows)
                for n, t in tables.items()
            },
            blocks=made.blocks,
        )
        path = call_path(self.folder, identity)
        self.lake.create(path, manifest.to_bytes())
        return parsed(self.lake, path, CallManifest.from_bytes)

    def _say(self, manifest: CallManifest, skipped: bool) -> None:
        self.report(
            {
                "event": "call",
                "prompts": len(manifest.call.prompts),
                "responses": manifest.sampled,
                "tokens": manifest.tokens,
                "skipped": skipped,
            }
        )
