"""The process on the GPU: it loads the models, works through one shard, and can be killed.

Run as `python -m winnow.stages.generate` with a `Spec` as one line of JSON on stdin. stdout carries
events as JSON lines and nothing else; logs go to stderr. The caller keeps stdin open: when it
closes, because the caller died, the process kills itself at once, so that a killed task leaves
nothing generating. Exit status 0, or 1 after an "error" event.

A server's address and key come by the environment, WINNOW_SERVER_URL and WINNOW_SERVER_KEY; so does
the key of scoring servers, WINNOW_SCORE_KEY.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winnow.addresses import without_secrets
from winnow.batch import Artifact, read_table
from winnow.campaign import Expand, Select
from winnow.campaign.sections import BROUGHT
from winnow.ending import run_and_leave
from winnow.errors import Fatal, Retryable, WinnowError
from winnow.expand.brought import BroughtEngine
from winnow.expand.brought_labels import Piece, read_features
from winnow.expand.embedders import loaded_models, open_embedder
from winnow.expand.engine import Engine, Report, ServerAddress
from winnow.expand.engines import open_engine
from winnow.expand.growth import Grows
from winnow.expand.manifests import ShardManifest, speed_path
from winnow.expand.models import is_local, prepare_model
from winnow.expand.runner import run_shard
from winnow.expand.shard import Shard
from winnow.ids import canonical_json
from winnow.lake import Lake, open_lake
from winnow.stored import parsed

SERVER_URL, SERVER_KEY = "WINNOW_SERVER_URL", "WINNOW_SERVER_KEY"
SCORE_KEY = "WINNOW_SCORE_KEY"


class Spec(BaseModel):
    """What the process is asked to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lake: str = Field(description="URI of the lake")
    folder: str = Field(description="Folder of the batch's expand stage in the lake")
    campaign: str = Field(description="Name of the campaign, part of every seed")
    settings: Expand
    select: Select = Field(description="What the pairs will be chosen by, for adaptive pools")
    label_price: int = Field(description="Price of an annotation, micro-dollars")
    reward_model: str | None = Field(description="Path of a trusted reward model, if any")
    prompts: Artifact = Field(description="The batch's prompts table")
    brought: Artifact | None = Field(None, description="Responses of the shard that were brought")
    shard: Shard
    labels: tuple[Piece, ...] = Field(
        (), description="Labels brought, whose responses are read; the shard then has no prompts"
    )
    models: str = Field(description="Local folder for prepared models")
    threads: int = Field(ge=1, description="CPU threads; their number is part of the arithmetic")

    @property
    def loaded(self) -> list[str]:
        """Names of the models that the process loads: those that read, and the one that writes."""
        writes = not self.labels and self.settings.engine not in ("server", BROUGHT)
        return loaded_models(self.settings) + [self.shard.model] * writes


def work(spec: Spec, report: Report) -> ShardManifest:
    """Load the models and run the spec's shard."""
    lake = open_lake(spec.lake)
    if spec.labels:
        return _read_labels(lake, spec, report)
    every = read_table(lake, spec.prompts)
    own = pa.array([prompt for group in spec.shard.groups for prompt in group])
    prompts = every.filter(pc.is_in(every["prompt_id"], value_set=own)).to_pylist()
    models = Path(spec.models)
    score_key = _score_key(spec)
    engine: Engine
    if spec.brought is not None:
        engine = brought = BroughtEngine(read_table(lake, spec.brought))
        embed = open_embedder(spec.settings, models, score_key, brought.lookups)
    else:
        embed = open_embedder(spec.settings, models, score_key)
        model = spec.shard.model
        if spec.settings.engine != "server":
            model = prepare_model(model, models)
        engine = open_engine(spec.settings, model, _server(), report)
    tokens, started = 0, time.monotonic()

    def count(event: Mapping[str, Any]) -> None:
        nonlocal tokens
        if event["event"] == "call" and not event["skipped"]:
            tokens += event["tokens"]
        report(event)

    manifest = run_shard(
        spec.shard,
        prompts,
        spec.settings,
        engine,
        embed,
        lake,
        count,
        campaign=spec.campaign,
        folder=spec.folder,
        grows=_growth_rule(lake, spec),
    )
    if tokens:
        speed = {"tokens": tokens, "seconds": time.monotonic() - started}
        lake.create(speed_path(spec.folder, spec.shard.shard_id), canonical_json(speed))
    return manifest


def _score_key(spec: Spec) -> str:
    return os.environ.get(SCORE_KEY, "") if spec.settings.scores else ""


def _read_labels(lake: Lake, spec: Spec, report: Report) -> ShardManifest:
    """Read the responses of labels, piece by piece; a piece that is read is not read again."""
    embed = open_embedder(spec.settings, Path(spec.models), _score_key(spec))
    for piece in spec.labels:
        read = read_features(lake, spec.campaign, piece, spec.settings, embed)
        report({"event": "labels", "votes": read.training.n_rows, "unread": read.unread})
    return ShardManifest(spec.shard.shard_id, ())


def _growth_rule(lake: Lake, spec: Spec) -> Grows | None:
    """What decides which pools grow; None where every pool has its full size."""
    if spec.settings.first_round is None:
        return None
    # Here and not above: what selects takes a second to import, and most campaigns never need it.
    from winnow.reward import RewardModel
    from winnow.stages.select.growth import growth_rule

    path = spec.reward_model
    model = None if path is None else parsed(lake, path, RewardModel.from_bytes)
    return growth_rule(spec.settings, spec.select, spec.label_price, model)


def _server() -> ServerAddress | None:
    url = os.environ.get(SERVER_URL)
    return ServerAddress(url, os.environ.get(SERVER_KEY, "")) if url else None


def environment(threads: int, *models: str) -> dict[str, str]:
    """Environment variables that PyTorch and its libraries read when they are imported."""
    variables = {
        "OMP_NUM_THREADS": str(threads),
        # Threads that wait without spinning: on a shared machine spinning stops the others.
        "GOMP_SPINCOUNT": "0",
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if all(is_local(model) for model in models):
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
        os.environ.update(environment(spec.threads, *spec.loaded))
        manifest = work(spec, report)
    except WinnowError as error:
        kind = "retryable" if isinstance(error, Retryable) else "fatal"
        report({"event": "error", "kind": kind, "message": str(error)})
        return 1
    except Exception as error:
        # Unforeseen, so perhaps the machine's fault: retries are few and lose no finished call.
        print(without_secrets(traceback.format_exc()), file=sys.stderr, flush=True)
        message = without_secrets(f"{type(error).__name__}: {error}")
        report({"event": "error", "kind": "retryable", "message": message})
        return 1
    report({"event": "done", "shard": manifest.shard_id, "calls": len(manifest.calls)})
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
    run_and_leave(main)
