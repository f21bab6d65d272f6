"""Expand: candidate pools, generated shard by shard in the generation environment.

`plan` says which shards there are, `generate` runs one of them in a process of its own, and
`gather` joins them into the batch's tables. Each may be killed and run again: a shard goes on from
the group of prompts it was at.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from winnow.batch import Batch, Manifest, read_table
from winnow.errors import Fatal, Retryable
from winnow.expand.features import EMBEDDING_DIM, feature_version
from winnow.expand.groups import group_id
from winnow.expand.manifests import GroupManifest, ShardManifest, group_path, shard_path
from winnow.expand.runner import Spec
from winnow.expand.shard import Shard, plan_shards

STAGE = "expand"
ENGINES = ("vllm", "transformers")


def plan(batch: Batch) -> list[str]:
    """Ids of the batch's shards; none if the stage is done."""
    return [] if batch.manifest(STAGE) else [shard.shard_id for shard in _shards(batch)]


def generate(
    batch: Batch, shard_id: str, python: Path, models: Path, say: Callable[[str], None]
) -> dict[str, int]:
    """Run one shard with the interpreter `python`; a line of progress a group goes to `say`.

    Raises:
        Fatal: The shard is not in the plan, or the generation process says a person must act.
        Retryable: The process broke off; what it finished is kept.
    """
    spec = _spec(batch, shard_id, models)
    if not batch.lake.exists(shard_path(spec.folder, shard_id)):
        _run_process([str(python), "-m", "winnow.expand.runner"], spec, say)
    groups = _read_shard(batch, shard_id).groups
    return {"prompts": sum(g.prompts for g in groups), "tokens": sum(g.tokens for g in groups)}


def gather(batch: Batch) -> Manifest:
    """Join all shards into the batch's pools and commit the stage."""
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    groups = [g for shard in _shards(batch) for g in _read_shard(batch, shard.shard_id).groups]
    tables = {
        name: _joined(batch, groups, name) for name in ("responses", "features", "quarantine")
    }
    in_pools = pc.sum(tables["responses"]["duplicates"]).as_py() or 0
    sampled = sum(group.sampled for group in groups)
    prompts_refused = sum(q["reason"] != "empty_response" for q in tables["quarantine"].to_pylist())
    return batch.commit(
        STAGE,
        inputs=[batch.require("ingest")],
        outputs={name: batch.write_table(STAGE, name, table) for name, table in tables.items()},
        counts={
            "rows_in": sampled + prompts_refused,
            "rows_out": in_pools,
            "quarantined": tables["quarantine"].num_rows,
            "sampled": sampled,
            "responses": tables["responses"].num_rows,
            "tokens": sum(group.tokens for group in groups),
        },
        figures={
            "engine": ", ".join(sorted({f"{g.engine} {g.engine_version}" for g in groups})),
            "feature_version": feature_version(batch.campaign.expand.embedding_model),
            "n_embedding": EMBEDDING_DIM,
        },
    )


def progress(batch: Batch) -> str:
    """How many of the batch's prompts are generated."""
    groups = [group for shard in _shards(batch) for group in shard.groups]
    done = sum(len(group) for group in groups if _is_generated(batch, group))
    return f"{done} of {sum(map(len, groups))} prompts generated"


def _is_generated(batch: Batch, group: tuple[str, ...]) -> bool:
    settings = batch.campaign.expand
    engines = ENGINES if settings.engine == "auto" else (settings.engine,)
    identities = (group_id(group, batch.campaign.name, settings, engine) for engine in engines)
    return any(batch.lake.exists(group_path(_folder(batch), each)) for each in identities)


def _shards(batch: Batch) -> list[Shard]:
    prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"]).to_pylist()
    return plan_shards(prompts, batch.campaign.expand)


def _spec(batch: Batch, shard_id: str, models: Path) -> Spec:
    shard = next((s for s in _shards(batch) if s.shard_id == shard_id), None)
    if shard is None:
        raise Fatal(f"Batch {batch.key} has no shard {shard_id}; run plan_shards again.")
    return Spec(
        lake=batch.lake.uri,
        folder=_folder(batch),
        campaign=batch.campaign.name,
        settings=batch.campaign.expand,
        prompts=batch.require("ingest").outputs["prompts"],
        shard=shard,
        models=str(models),
        threads=os.cpu_count() or 1,
    )


def _run_process(command: list[str], spec: Spec, say: Callable[[str], None]) -> None:
    """Run the generation process to its end. It dies with this one: its stdin is our pipe."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with process:
        control, output = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        control.write(spec.model_dump_json() + "\n")
        control.flush()
        events = [_told(line, say) for line in output]
    if process.returncode:
        error = next((event for event in events if event["event"] == "error"), None)
        if error is None:
            raise Retryable(f"The generation process ended with status {process.returncode}.")
        raise (Fatal if error["kind"] == "fatal" else Retryable)(error["message"])


def _told(line: str, say: Callable[[str], None]) -> Mapping[str, Any]:
    event: Mapping[str, Any] = json.loads(line)
    say(", ".join(f"{name} {value}" for name, value in event.items()))
    return event


def _read_shard(batch: Batch, shard_id: str) -> ShardManifest:
    path = shard_path(_folder(batch), shard_id)
    try:
        return ShardManifest.from_bytes(batch.lake.read(path))
    except FileNotFoundError as error:
        raise Fatal(f"Shard {shard_id} of batch {batch.key} is not generated; run it.") from error


def _joined(batch: Batch, groups: Iterable[GroupManifest], name: str) -> pa.Table:
    return pa.concat_tables([read_table(batch.lake, group.outputs[name]) for group in groups])


def _folder(batch: Batch) -> str:
    return f"{batch.folder}/{STAGE}"
