"""The process on the GPU: it works through one shard, a group at a time, and can be killed.

A group is done when its manifest lies in the lake; its tables lie there before, under names made
of their digests. So a shard that is started again skips what is done, generates the rest in the
same batches as before, and a process that lost a race changes nothing.

Run as `python -m winnow.expand.runner` with a `Spec` as one line of JSON on stdin. stdout carries
events as JSON lines and nothing else; logs go to stderr. The caller keeps stdin open: when it
closes, because the caller died, the process kills itself at once, so that a killed task leaves
nothing generating. Exit status 0, or 1 after an "error" event.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winnow.batch import Artifact, read_table, table_bytes
from winnow.campaign import Expand
from winnow.errors import Corrupt, Fatal, Retryable, WinnowError
from winnow.expand.engine import Engine, Report, open_engine
from winnow.expand.features import Embed, SentenceEmbedder
from winnow.expand.groups import Pools, Row, generate_group, group_id
from winnow.expand.manifests import (
    GroupManifest,
    ShardManifest,
    group_folder,
    group_path,
    shard_path,
)
from winnow.expand.models import is_local, prepare_model
from winnow.expand.shard import Shard
from winnow.ids import digest
from winnow.lake import open_lake


class Store(Protocol):
    """What a shard needs of a lake."""

    def read(self, path: str) -> bytes:
        """The object's bytes."""

    def exists(self, path: str) -> bool:
        """Whether the object is there."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a new object whole; False if the path is taken."""


class Spec(BaseModel):
    """What the process is asked to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lake: str = Field(description="URI of the lake")
    folder: str = Field(description="Folder of the batch's expand stage in the lake")
    campaign: str = Field(description="Name of the campaign, part of every seed")
    settings: Expand
    prompts: Artifact = Field(description="The batch's prompts table")
    shard: Shard
    models: str = Field(description="Local folder for prepared models")
    threads: int = Field(ge=1, description="CPU threads; their number is part of the arithmetic")


def run_shard(
    shard: Shard,
    prompts: Iterable[Row],
    settings: Expand,
    engine: Engine,
    embed: Embed,
    store: Store,
    report: Report,
    *,
    campaign: str,
    folder: str,
    clock: Callable[[], float] = time.monotonic,
) -> ShardManifest:
    """Generate the groups of a shard that are not done yet, and write the shard's manifest.

    Args:
        shard: The groups.
        prompts: Rows of the prompts table, those of the shard among them.
        settings: The campaign's expand settings.
        engine: Generates.
        embed: Embeds the responses.
        store: The lake.
        report: Gets a "group" event after each group.
        campaign: The campaign's name.
        folder: Folder of the batch's expand stage in the lake.
        clock: Seconds, for the events.

    Raises:
        Corrupt: A prompt of the shard is not among `prompts`.
    """
    rows = {row["prompt_id"]: row for row in prompts}
    manifests: list[GroupManifest] = []
    for group in shard.groups:
        started = clock()
        identity = group_id(group, campaign, settings, engine.name)
        skipped = store.exists(group_path(folder, identity))
        if not skipped:
            pools = generate_group(_chosen(rows, group), campaign, settings, engine, embed)
            _commit(store, folder, identity, len(group), engine, pools)
        manifests.append(GroupManifest.from_bytes(store.read(group_path(folder, identity))))
        report(
            {
                "event": "group",
                "done": len(manifests),
                "of": len(shard.groups),
                "tokens": manifests[-1].tokens,
                "seconds": round(clock() - started, 3),
                "skipped": skipped,
            }
        )
    path = shard_path(folder, shard.shard_id)
    store.create(path, ShardManifest(shard.shard_id, tuple(manifests)).to_bytes())
    return ShardManifest.from_bytes(store.read(path))


def _chosen(rows: Mapping[str, Row], group: Sequence[str]) -> list[Row]:
    missing = [prompt_id for prompt_id in group if prompt_id not in rows]
    if missing:
        raise Corrupt(
            f"Prompts {', '.join(missing)} are in the plan but not in the prompts table; "
            "the plan belongs to another batch, so plan again."
        )
    return [rows[prompt_id] for prompt_id in group]


def _commit(
    store: Store, folder: str, identity: str, prompts: int, engine: Engine, pools: Pools
) -> None:
    """Write the group's tables, then the manifest that makes them real."""
    tables = {
        "responses": pools.responses,
        "features": pools.features,
        "quarantine": pools.quarantine,
    }
    outputs: dict[str, Artifact] = {}
    for name, table in tables.items():
        data = table_bytes(table)
        sha256 = digest(data)
        path = f"{group_folder(folder, identity)}/{name}-{sha256[:16]}.parquet"
        store.create(path, data)
        outputs[name] = Artifact(path, sha256, table.num_rows, len(data))
    manifest = GroupManifest(
        group_id=identity,
        prompts=prompts,
        sampled=pools.sampled,
        tokens=pools.tokens,
        engine=engine.name,
        engine_version=engine.version,
        outputs=outputs,
    )
    store.create(group_path(folder, identity), manifest.to_bytes())


def work(spec: Spec, report: Report) -> ShardManifest:
    """Load the models and run the spec's shard."""
    lake = open_lake(spec.lake)
    prompts = read_table(lake, spec.prompts).to_pylist()
    models = Path(spec.models)
    embed = SentenceEmbedder(prepare_model(spec.settings.embedding_model, models))
    model = prepare_model(spec.settings.model, models)
    engine = open_engine(spec.settings.engine, model, spec.settings.max_model_len, report)
    return run_shard(
        spec.shard,
        prompts,
        spec.settings,
        engine,
        embed,
        lake,
        report,
        campaign=spec.campaign,
        folder=spec.folder,
    )


def environment(spec: Spec) -> dict[str, str]:
    """Environment variables that PyTorch and its libraries read when they are imported."""
    variables = {
        "OMP_NUM_THREADS": str(spec.threads),
        # Threads that wait without spinning: on a shared machine spinning stops the others.
        "GOMP_SPINCOUNT": "0",
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if is_local(spec.settings.model) and is_local(spec.settings.embedding_model):
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def die_with_caller(control: BinaryIO) -> None:
    """Kill this process and its children as soon as `control` ends; call it once, at the start."""
    if os.getpgrp() != os.getpid():
        os.setpgrp()

    def watch() -> None:
        while control.read(1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="die-with-caller", daemon=True).start()


def main() -> int:
    """Run one shard from a spec on stdin; see the module's first lines."""
    report = _events_on_stdout()
    # Unbuffered: a buffered reader held by the watching thread would block the interpreter's exit.
    control = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    line = control.readline()
    die_with_caller(control)
    try:
        spec = _parse(line)
        os.environ.update(environment(spec))
        manifest = work(spec, report)
    except WinnowError as error:
        kind = "retryable" if isinstance(error, Retryable) else "fatal"
        report({"event": "error", "kind": kind, "message": str(error)})
        return 1
    except Exception as error:
        # Unforeseen, so perhaps the machine's fault: retries are few and lose no finished group.
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        report({"event": "error", "kind": "retryable", "message": message})
        return 1
    report({"event": "done", "shard": manifest.shard_id, "groups": len(manifest.groups)})
    return 0


def _parse(line: bytes) -> Spec:
    try:
        return Spec.model_validate_json(line)
    except ValidationError as error:
        raise Fatal(f"The spec on stdin is wrong: {error}") from error


def _events_on_stdout() -> Report:
    """Keep stdout for events: whatever else writes there, C libraries too, goes to stderr.

    A bare descriptor stays open until the process ends. A file object would be closed on the way
    out; the caller would take that for the end and close stdin, and the process would kill itself.
    """
    events = os.dup(1)
    os.dup2(2, 1)

    def report(event: Mapping[str, Any]) -> None:
        os.write(events, json.dumps(event).encode() + b"\n")

    return report


if __name__ == "__main__":
    sys.exit(main())
