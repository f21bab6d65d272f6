"""Expand: candidate pools, generated shard by shard in the generation environment.

`plan` says which shards there are, `generate` runs one of them in a process of its own, and
`gather` joins them into the batch's tables. Each may be killed and run again: a shard goes on from
the call it was at. A campaign with `pools_from` has no shards; `gather` takes the pools over. Where
responses came with the prompts a shard is one part of them, of which the features are read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.batch import Artifact, Batch, Manifest, parts_of, read_table, store_parts
from winnow.environment import foreign_environment
from winnow.errors import Fatal, Retryable
from winnow.expand import audit
from winnow.expand.audit import PoolAuditor
from winnow.expand.calls import Row, call_id
from winnow.expand.engine import ServerAddress
from winnow.expand.features import (
    earlier_version,
    feature_version,
    n_embedding,
    stored_blocks,
    version_of,
)
from winnow.expand.manifests import ShardManifest, call_path, shard_path, speed_path
from winnow.expand.models import is_local
from winnow.expand.pool_features import in_pool_version
from winnow.expand.samplers import models_of
from winnow.expand.screening import how_screened
from winnow.expand.shard import (
    MOST_SHARDS,
    Call,
    Shard,
    brought_shards,
    calls_of,
    round_ends,
    shards_of_sizes,
)
from winnow.pace import Pace, noted
from winnow.records import BROUGHT_POOLS, PROFILE, QUARANTINE, to_table
from winnow.stages.expand import brought_labels, parts
from winnow.stages.expand.parts import POOL_TABLES, TABLES, PoolPart
from winnow.stages.expand.pools_from import source_of, take_pools
from winnow.stages.generate import SCORE_KEY, SERVER_KEY, SERVER_URL, Spec
from winnow.stored import parsed, read_sealed, sealed_json

STAGE = "expand"
ENGINES = ("vllm", "transformers")
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

_SCHEMAS = {"audit": audit.POOL_AUDITS, "quarantine": QUARANTINE}
_COUNTS = (
    *("rows_in", "rows_out", "quarantined", "sampled", "responses", "near_duplicates"),
    *("tokens", "pools"),
)


def plan(batch: Batch) -> list[str]:
    """Ids of the batch's shards, those of labels brought last; none if the stage is done.

    Where its pools are another campaign's, none generates.
    """
    if batch.manifest(STAGE):
        return []
    return [*(shard.shard_id for shard in planned_shards(batch)), *brought_labels.shards_of(batch)]


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
    if not spec.settings.has_model:
        # What it runs this very interpreter has.
        python = Path(sys.executable)
    labels = spec.labels
    is_done = batch.lake.exists(shard_path(spec.folder, shard_id))
    if not (brought_labels.is_read(batch, labels) if labels else is_done):
        variables = {SERVER_URL: server.url, SERVER_KEY: server.key} if server else {}
        if spec.settings.scores:
            variables[SCORE_KEY] = os.environ.get(SCORE_KEY, "")
        if all(map(is_local, spec.loaded)):
            # Without a model to download there is no use for the hub's token.
            variables |= dict.fromkeys(HUB_TOKENS, "")
        _run_process([str(python), "-m", "winnow.stages.generate"], spec, say, variables)
    if labels:
        return {"label_pieces": len(labels)}
    done = _read_shard(batch, shard_id)
    return {"prompts": done.n_prompts, "tokens": sum(each.tokens for each in done.calls)}


def plan_parts(batch: Batch) -> list[int]:
    """Numbers of the parts that may be gathered side by side; none where `gather` does it all."""
    if batch.manifest(STAGE) is not None:
        return []
    numbers = sorted({shard.part for shard in planned_shards(batch)})
    return numbers[:MOST_SHARDS] if len(numbers) > 1 else []


def gather_part(batch: Batch, number: int) -> dict[str, int]:
    """Gather one part of the pools, of very many every thousandth from it on; returns the counts.

    Raises:
        Fatal: A shard of it is not generated.
    """
    planned = _Planned(batch)
    counts: Counter[str] = Counter()
    for each in planned.parts[number::MOST_SHARDS]:
        counts.update(_gather_part(batch, each, planned).counts)
    return dict(counts)


def gather(batch: Batch, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Join all shards into the batch's pools, audit them, and commit the stage.

    Parts that were gathered before are taken as they are; a line of progress a part goes to `say`.

    Raises:
        Fatal: A shard is not generated, or pools to take over do not fit the campaign.
    """
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    ingested = batch.require("ingest")
    source, labels = source_of(batch), brought_labels.gathered(batch)
    if source is not None:
        return take_pools(batch, source, labels)
    settings = batch.campaign.expand
    planned = _Planned(batch)
    say = noted(batch.lake, batch.folder, STAGE, say, batch.clock)
    pace = Pace("parts of the pools", len(planned.parts), say)
    gathered: list[PoolPart] = []
    for n, number in enumerate(planned.parts):
        pace.at(n)
        gathered.append(_gather_part(batch, number, planned))
    pace.at(len(gathered))
    auditor, profile = PoolAuditor(planned.n_prompts, settings.audit), Counter[tuple[str, str]]()
    counts = Counter(dict.fromkeys(_COUNTS, 0))
    for part in gathered:
        auditor.add_sums(part.audited)
        counts.update(part.counts)
        profile.update({(k, v): n for k, held in part.profile.items() for v, n in held.items()})
    outputs = {name: _joined(batch, name, gathered) for name in TABLES}
    outputs["profile"] = batch.write_table(STAGE, "profile", _profile_table(profile))
    recorded = next((part.blocks for part in gathered if part.blocks), ())
    blocks = stored_blocks(recorded, 0)
    version = version_of(settings, blocks)
    return brought_labels.commit(
        batch,
        labels,
        inputs=[ingested],
        outputs=outputs,
        counts={
            **counts,
            "saved_responses": 0
            if settings.is_brought
            else counts["pools"] * settings.pool_size - counts["sampled"],
        },
        figures={
            **({"brought": True} if settings.is_brought else {}),
            "engine": ", ".join(sorted({engine for part in gathered for engine in part.engines})),
            "feature_version": earlier_version(version)
            if any(part.feature_version not in ("", version) for part in gathered)
            else version,
            "n_embedding": n_embedding(blocks),
            "blocks": [list(block) for block in blocks],
            "screened": how_screened(batch.campaign),
            "audit": auditor.batch().as_dict(),
            "audit_told": audit.sentence(auditor.batch()),
        },
    )


def progress(batch: Batch) -> str:
    """How many of the batch's prompts have the first round of their pool."""
    labels = brought_labels.progress(batch)
    if batch.campaign.pools_from is not None:
        return f"pools are to be taken over from {batch.campaign.pools_from}{labels}"
    settings = batch.campaign.expand
    asked, done = set[str](), set[str]()
    shards = planned_shards(batch)
    for shard in shards:
        for group in shard.groups:
            for call in calls_of(group, 0, round_ends(settings)[0], shard.model, settings):
                asked |= set(call.prompts)
                if _is_generated(batch, shard, call):
                    done |= set(call.prompts)
    made = "read" if settings.is_brought else "generated"
    generated = f"{len(done)} of {len(asked)} prompts {made}{labels}"
    if len(numbers := {shard.part for shard in shards}) < 2:
        return generated
    n_gathered = sum(parts.read_part(batch, number) is not None for number in sorted(numbers))
    return f"{generated}, {n_gathered} of {len(numbers)} parts gathered"


def _is_generated(batch: Batch, shard: Shard, call: Call) -> bool:
    settings, name = batch.campaign.expand, batch.campaign.name
    engines = ENGINES if settings.engine == "auto" else (settings.engine,)
    ids = (call_id(call, shard.model, name, settings, engine) for engine in engines)
    return any(batch.lake.exists(call_path(_folder(batch), each)) for each in ids)


def planned_shards(batch: Batch, prompts: pa.Table | None = None) -> list[Shard]:
    """The batch's shards; `prompts` is its table, where it was read."""
    if batch.campaign.pools_from is not None:
        return []
    settings, ingested = batch.campaign.expand, batch.require("ingest").outputs
    if settings.is_brought:
        pools = read_table(batch.lake, ingested["brought_pools"])
        columns = (pools[name].to_pylist() for name in BROUGHT_POOLS.names)
        return brought_shards(zip(*columns, strict=True), settings.model, settings)
    if prompts is None:
        prompts = read_table(batch.lake, ingested["prompts"], ["prompt_id", "messages"])
    sizes = _n_bytes(prompts)
    shards = shards_of_sizes(sizes, settings)
    if shards and shards[-1].part:
        # A batch that a version before 0.5 was generating has shards of a plan without parts.
        held = set(batch.lake.names(f"{_folder(batch)}/shards"))
        if strange := held - {f"{shard.shard_id}.json" for shard in shards}:
            before = shards_of_sizes(sizes, settings, parts=False)
            if any(f"{shard.shard_id}.json" in strange for shard in before):
                return before
    return shards


def brought_parts(batch: Batch) -> list[Artifact]:
    """Tables `winnow.records.BROUGHT_RESPONSES` of a batch, by the number of a shard's part."""
    return parts_of(batch.lake, batch.require("ingest").outputs["brought"])


def _n_bytes(prompts: pa.Table) -> dict[str, int]:
    """Bytes of what each prompt says, by its id."""
    messages = prompts["messages"].combine_chunks()
    n_bytes_m = pc.binary_length(pc.struct_field(messages.flatten(), "content"))
    total_m = np.concatenate([[0], np.cumsum(n_bytes_m.to_numpy(zero_copy_only=False))])
    ends_p = messages.offsets.to_numpy() - messages.offsets[0].as_py()
    n_bytes_p = np.diff(total_m[ends_p]).tolist()
    return dict(zip(prompts["prompt_id"].to_pylist(), n_bytes_p, strict=True))


class _Planned:
    """The shards of a batch by part, and its prompts."""

    def __init__(self, batch: Batch) -> None:
        self._prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"])
        self._shards = planned_shards(batch, self._prompts)
        self.n_prompts = self._prompts.num_rows
        # A batch without prompts has one part, of nothing.
        self.parts = sorted({shard.part for shard in self._shards}) or [0]

    def shards(self, number: int) -> list[Shard]:
        """Those of a part."""
        return [shard for shard in self._shards if shard.part == number]

    def prompts(self, number: int) -> list[Row]:
        """Rows of a part's prompts."""
        ids = pa.array(
            sorted({p for shard in self.shards(number) for g in shard.groups for p in g}),
            pa.string(),
        )
        own = pc.is_in(self._prompts["prompt_id"], value_set=ids)
        return list(self._prompts.filter(own).to_pylist())


def _gather_part(batch: Batch, number: int, planned: _Planned) -> PoolPart:
    shards = planned.shards(number)
    calls = [call for shard in shards for call in _read_shard(batch, shard.shard_id).calls]
    return parts.gather_part(batch, number, calls, planned.prompts(number), planned.n_prompts)


def _spec(batch: Batch, shard_id: str, models: Path) -> Spec:
    labels = brought_labels.shards_of(batch).get(shard_id, [])
    planned = [Shard(shard_id, 0, batch.campaign.expand.model, ())] if labels else []
    shard = next((s for s in planned or planned_shards(batch) if s.shard_id == shard_id), None)
    if shard is None:
        raise Fatal(f"Batch {batch.key} has no shard {shard_id}; run plan_shards again.")
    ingested = batch.require("ingest").outputs
    brought = None
    if batch.campaign.expand.is_brought and not labels:
        brought = brought_parts(batch)[shard.part]
    return Spec(
        lake=batch.lake.uri,
        folder=_folder(batch),
        campaign=batch.campaign.name,
        settings=batch.campaign.expand,
        select=batch.campaign.select,
        label_price=batch.campaign.label.price,
        reward_model=_steering_model(batch),
        prompts=ingested["prompts"],
        brought=brought,
        shard=shard,
        labels=tuple(labels),
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
        and not why_untrusted(current.model, current.gate, batch.campaign.taught_dimensions)
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
    paths = [speed_path(_folder(batch), shard.shard_id) for shard in planned_shards(batch)]
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


def _joined(batch: Batch, name: str, gathered: Sequence[PoolPart]) -> Artifact:
    """A table of all parts: their files where it is large, else one file."""
    stored = [part.outputs[name] for part in gathered]
    if name in POOL_TABLES or len(stored) == 1:
        return store_parts(batch.lake, f"{batch.folder}/{STAGE}/{name}", stored)
    schema = _SCHEMAS[name]
    with batch.table_writer(STAGE, name, schema) as writer:
        for each in stored:
            # A part that an earlier version gathered may lack a column.
            tables = [schema.empty_table(), read_table(batch.lake, each)]
            writer.add(pa.concat_tables(tables, promote_options="default"))
    return writer.artifact


def _profile_table(profile: Mapping[tuple[str, str], int]) -> pa.Table:
    rows = [{"trait": trait, "value": v, "n": n} for (trait, v), n in sorted(profile.items())]
    return to_table(rows, PROFILE)


def _folder(batch: Batch) -> str:
    return f"{batch.folder}/{STAGE}"
