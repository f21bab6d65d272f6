"""Expand: candidate pools, generated shard by shard in the generation environment.

`plan` says which shards there are, `generate` runs one of them in a process of its own, and
`gather` joins them into the batch's tables. Each may be killed and run again: a shard goes on from
the call it was at. A campaign with `pools_from` has no shards; `gather` takes the pools over.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from winnow.batch import Batch, Manifest, read_table
from winnow.environment import foreign_environment
from winnow.errors import Fatal, Retryable
from winnow.expand import audit
from winnow.expand.audit import PoolAuditor
from winnow.expand.calls import Row, call_id
from winnow.expand.embedders import loaded_models
from winnow.expand.engine import ServerAddress
from winnow.expand.features import (
    earlier_version,
    feature_version,
    n_embedding,
    stored_blocks,
)
from winnow.expand.manifests import (
    CallManifest,
    ShardManifest,
    call_path,
    shard_path,
    speed_path,
)
from winnow.expand.models import is_local
from winnow.expand.pool_features import in_pool_version
from winnow.expand.samplers import models_of
from winnow.expand.shard import Call, Shard, calls_of, plan_shards, round_ends
from winnow.records import to_table
from winnow.stages.expand.pool_tables import MergedPool, PoolTables
from winnow.stages.expand.pools_from import source_of, take_pools
from winnow.stages.generate import SCORE_KEY, SERVER_KEY, SERVER_URL, Spec
from winnow.stored import parsed, read_sealed, sealed_json

STAGE = "expand"
ENGINES = ("vllm", "transformers")
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def plan(batch: Batch) -> list[str]:
    """Ids of the batch's shards; none if the stage is done or its pools are another campaign's."""
    return [] if batch.manifest(STAGE) else [shard.shard_id for shard in _shards(batch)]


def generate(
    batch: Batch,
    shard_id: str,
    python: Path,
    models: Path,
    say: Callable[[str], None],
    server: ServerAddress | None = None,
) -> dict[str, int]:
    """Run one shard with the interpreter `python`; a line of progress a call goes to `say`.

    Raises:
        Fatal: The shard is not in the plan, or the generation process says a person must act.
        Retryable: The process broke off; what it finished is kept.
    """
    spec = _spec(batch, shard_id, models)
    if not batch.lake.exists(shard_path(spec.folder, shard_id)):
        variables = {SERVER_URL: server.url, SERVER_KEY: server.key} if server else {}
        if spec.settings.scores:
            variables[SCORE_KEY] = os.environ.get(SCORE_KEY, "")
        loaded = loaded_models(spec.settings)
        loaded += [] if spec.settings.engine == "server" else [spec.shard.model]
        if all(map(is_local, loaded)):
            # Without a model to download there is no use for the hub's token.
            variables |= dict.fromkeys(HUB_TOKENS, "")
        _run_process([str(python), "-m", "winnow.stages.generate"], spec, say, variables)
    done = _read_shard(batch, shard_id)
    return {"prompts": done.n_prompts, "tokens": sum(each.tokens for each in done.calls)}


def gather(batch: Batch) -> Manifest:
    """Join all shards into the batch's pools, audit them, and commit the stage.

    Raises:
        Fatal: A shard is not generated, or pools to take over do not fit the campaign.
    """
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    ingested = batch.require("ingest")
    source = source_of(batch)
    if source is not None:
        return take_pools(batch, source)
    prompts = read_table(batch.lake, ingested.outputs["prompts"]).to_pylist()
    settings = batch.campaign.expand
    version = feature_version(settings)
    tables = PoolTables()
    auditor = PoolAuditor(len(prompts), settings.audit)
    row_of = {row["prompt_id"]: row for row in prompts}
    audits = [
        auditor.add(_audited(pool, row_of[pool.prompt_id]))
        for pool in tables.add(batch.lake, _slices(batch))
    ]
    outputs = {
        name: batch.write_bytes(STAGE, name, "parquet", data, n_rows)
        for name, (data, n_rows) in tables.finish().items()
    }
    outputs["audit"] = batch.write_table(STAGE, "audit", to_table(audits, audit.POOL_AUDITS))
    blocks = tables.blocks or stored_blocks((), 0)
    return batch.commit(
        STAGE,
        inputs=[ingested],
        outputs=outputs,
        counts={
            "rows_in": tables.sampled + tables.refused,
            "rows_out": tables.in_pools,
            "quarantined": tables.quarantined,
            "sampled": tables.sampled,
            "responses": tables.responses,
            "near_duplicates": tables.near_duplicates,
            "tokens": tables.tokens,
            "pools": tables.pools,
            "saved_responses": tables.pools * settings.pool_size - tables.sampled,
        },
        figures={
            "engine": ", ".join(sorted(tables.engines)),
            # Where shards were done before an upgrade, the earlier version: of the two it promises
            # less, that responses of one window are read alike.
            "feature_version": earlier_version(version) if tables.versions - {version} else version,
            "n_embedding": n_embedding(blocks),
            "blocks": [list(block) for block in blocks],
            "audit": auditor.batch().as_dict(),
            "audit_told": audit.sentence(auditor.batch()),
        },
    )


def progress(batch: Batch) -> str:
    """How many of the batch's prompts have the first round of their pool."""
    if batch.campaign.pools_from is not None:
        return f"pools are to be taken over from {batch.campaign.pools_from}"
    settings = batch.campaign.expand
    asked, done = set[str](), set[str]()
    for shard in _shards(batch):
        for group in shard.groups:
            for call in calls_of(group, 0, round_ends(settings)[0], shard.model, settings):
                asked |= set(call.prompts)
                if _is_generated(batch, shard, call):
                    done |= set(call.prompts)
    return f"{len(done)} of {len(asked)} prompts generated"


def _is_generated(batch: Batch, shard: Shard, call: Call) -> bool:
    settings, name = batch.campaign.expand, batch.campaign.name
    engines = ENGINES if settings.engine == "auto" else (settings.engine,)
    ids = (call_id(call, shard.model, name, settings, engine) for engine in engines)
    return any(batch.lake.exists(call_path(_folder(batch), each)) for each in ids)


def _shards(batch: Batch) -> list[Shard]:
    if batch.campaign.pools_from is not None:
        return []
    prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"]).to_pylist()
    return plan_shards(prompts, batch.campaign.expand)


def _slices(batch: Batch) -> Iterator[list[CallManifest]]:
    """The calls of one slice of the prompts after another, all models together."""
    for _, shards in groupby(_shards(batch), key=lambda shard: shard.slice_):
        yield [call for shard in shards for call in _read_shard(batch, shard.shard_id).calls]


def _audited(pool: MergedPool, prompt: Row) -> audit.Pool:
    """The pool as it was drawn, before near duplicates are merged."""
    return audit.Pool(
        prompt_id=pool.prompt_id,
        language=prompt["language"],
        texts=[row["message"] for row in pool.drawn],
        duplicates=[row["duplicates"] for row in pool.drawn],
        n_tokens=[row["n_tokens"] for row in pool.drawn],
        flags=[row["flags"] for row in pool.drawn],
        embedding_nc=pool.vectors_nc[:, : n_embedding(pool.blocks)].astype(np.float32),
    )


def _spec(batch: Batch, shard_id: str, models: Path) -> Spec:
    shard = next((s for s in _shards(batch) if s.shard_id == shard_id), None)
    if shard is None:
        raise Fatal(f"Batch {batch.key} has no shard {shard_id}; run plan_shards again.")
    return Spec(
        lake=batch.lake.uri,
        folder=_folder(batch),
        campaign=batch.campaign.name,
        settings=batch.campaign.expand,
        select=batch.campaign.select,
        label_price=batch.campaign.label.price,
        reward_model=_steering_model(batch),
        prompts=batch.require("ingest").outputs["prompts"],
        shard=shard,
        models=str(models),
        threads=os.cpu_count() or 1,
    )


def _steering_model(batch: Batch) -> str | None:
    """Path of the reward model that tells which pools grow; the first shard to ask decides."""
    settings = batch.campaign.expand
    if settings.first_round is None:
        return None
    # Here and not above: it takes a second, which the other tasks of a night need not spend.
    from winnow.stages.select import reward_model, why_untrusted

    path = f"{_folder(batch)}/steered_by.json"
    current = reward_model.newest(batch.lake, batch.campaign.name)
    trusted = (
        current is not None
        and current.model.feature_version
        == in_pool_version(feature_version(settings), models_of(settings))
        and not why_untrusted(current.model, current.gate)
    )
    chosen = {"reward_model": current.path if current and trusted else None}
    batch.lake.create(path, sealed_json(chosen))
    first: str | None = parsed(batch.lake, path, lambda data: read_sealed(data)["reward_model"])
    return first


def tokens_per_second(batch: Batch) -> float | None:
    """What one generation process made of these pools, measured; None where nothing tells."""
    source = source_of(batch)
    if source is not None:
        return tokens_per_second(source.batch)
    paths = [speed_path(_folder(batch), shard.shard_id) for shard in _shards(batch)]
    speeds = [parsed(batch.lake, path, json.loads) for path in paths if batch.lake.exists(path)]
    seconds = sum(each["seconds"] for each in speeds)
    return sum(each["tokens"] for each in speeds) / seconds if seconds else None


def _run_process(
    command: list[str], spec: Spec, say: Callable[[str], None], variables: Mapping[str, str]
) -> None:
    """Run the generation process to its end. It dies with this one: its stdin is our pipe."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=foreign_environment(variables),
    )
    with process:
        control, output = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        control.write(spec.model_dump_json() + "\n")
        control.flush()
        events: list[Mapping[str, Any]] = []
        for line in output:
            events.append(json.loads(line))
            say(", ".join(f"{name} {value}" for name, value in events[-1].items()))
    if process.returncode:
        error = next((event for event in events if event["event"] == "error"), None)
        if error is None:
            raise Retryable(f"The generation process ended with status {process.returncode}.")
        raise (Fatal if error["kind"] == "fatal" else Retryable)(error["message"])


def _read_shard(batch: Batch, shard_id: str) -> ShardManifest:
    path = shard_path(_folder(batch), shard_id)
    try:
        return parsed(batch.lake, path, ShardManifest.from_bytes)
    except FileNotFoundError as error:
        raise Fatal(f"Shard {shard_id} of batch {batch.key} is not generated; run it.") from error


def _folder(batch: Batch) -> str:
    return f"{batch.folder}/{STAGE}"
