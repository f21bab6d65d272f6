"""Does a language model get better? DPO with LoRA on what each strategy's labels would publish.

As `winnow_bench.policy`, with a model for the linear policy: each arm buys labels on all labelled
prompts, the pairs of some of these prompts are written as rows of the view `dpo`, and a model is
trained on them by TRL in an interpreter of its own (`winnow_bench.policy_trainer`). The gold score
is the judge's again, so the policy is judged on responses that have one: on held-out prompts the
model's log π/π_ref of each candidate is its score, and the policy that picks among the candidates
by it is held against the uniform one at a mean KL of 1. What the model writes itself is only
measured by its distance, KL(π ‖ π_ref) a response.

Always holds: arms of one seed share the trained prompts, the held-out ones and their candidates.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.arrays import FloatArray
from winnow.environment import foreign_environment
from winnow.errors import Fatal
from winnow.ids import content_id, seed_from
from winnow.publish.views import VIEWS
from winnow_bench import policy_trainer
from winnow_bench.document import write_report
from winnow_bench.labels import POOL_SIZE, TRADITIONAL, Cell, buy_in_nights, draw, worlds_for
from winnow_bench.policy_fit import Field
from winnow_bench.statistics import interval
from winnow_bench.world import POOL_FILE, JudgedPool, World

ARMS = ("traditional-4", "traditional-8", "random-8", "decision_gain-4", "decision_gain-8")
KL = 1.0
N_CANDIDATES = 8
TRAINING = {"epochs": 1, "learning_rate": 1e-4, "beta": 0.1}
MOST_HELD_OUT = 100
MOST_WRITTEN = 16
"""Held-out prompts for which the trained model writes."""

_CLEAR_DIFFERENCE = 1.0
_SECONDS = 24 * 3600

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """What is trained: by which interpreter, which model, on how much.

    `prompts` are the labelled prompts whose pairs are trained on; as many are held out, up to
    `MOST_HELD_OUT`.
    """

    trainer: Path
    model: Path
    prompts: int
    tokens: int
    arms: Sequence[str] = ARMS

    @property
    def held_out(self) -> int:
        """Held-out prompts."""
        return min(self.prompts, MOST_HELD_OUT)


def run(folder: Path, out: Path, n_seeds: int, size: Size, say: Callable[[str], None]) -> list[str]:
    """Train every arm at every seed on the mixed pool; write `policy_lora.json` to `out`.

    Returns:
        What it found, a sentence an arm and figure.

    Raises:
        Corrupt: The folder does not hold judged pools.
        Fatal: An arm is unknown, there is no model, the trainer's interpreter lacks what it needs,
            or training failed.
    """
    cells = [_cell(arm) for arm in size.arms]
    _check(size)
    world = worlds_for(folder, n_seeds)[0]
    texts = _texts(folder)
    rows = []
    for seed in range(n_seeds):
        for cell in cells:
            row = _trained(world, seed, cell, size, texts)
            rows.append(row)
            say(_said(row))
    report = {"rows": rows, "size": {**_plain(size), **TRAINING}}
    write_report(out, "policy_lora", report)
    return sentences(rows)


def sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Mean figures of each arm over its seeds, with intervals where there are several."""
    found = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        words = [
            f"{title} {_over_seeds([row[before] for row in own])} → "
            f"{_over_seeds([row[after] for row in own])}"
            for title, before, after in (
                ("pair accuracy by likelihood", "likelihood_before", "likelihood_after"),
                (f"gold win rate at KL {KL:g} among candidates", "gold_before", "gold_after"),
            )
        ]
        by_gain, kl = (_over_seeds([r[n] for r in own]) for n in ("accuracy", "kl_written"))
        found.append(
            f"{arm}, {own[0]['pairs']} pairs, {len(own)} seeds: {'; '.join(words)}; pair accuracy "
            f"by log π/π_ref {by_gain}; KL of what it writes {kl} nats a response."
        )
    return found


def _said(row: Mapping[str, Any]) -> str:
    return f"{sentences([row])[0]} Seed {row['seed']}, {row['seconds']:.0f} s on {row['device']}."


def _over_seeds(values: Sequence[float]) -> str:
    mean, _, high = interval(values)
    return f"{mean:.3f}" if high is None else f"{mean:.3f} ± {high - mean:.3f}"


def _plain(size: Size) -> Row:
    return {
        "trainer": size.trainer.name,
        "model": size.model.name,
        "prompts": size.prompts,
        "held_out": size.held_out,
        "candidates": N_CANDIDATES,
        "tokens": size.tokens,
    }


def _cell(arm: str) -> Cell:
    strategy, _, labels = arm.rpartition("-")
    if arm not in ARMS:
        raise Fatal(f"No arm is named {arm!r}; known are {', '.join(ARMS)}.")
    return Cell(strategy, int(labels), int(labels) if strategy == TRADITIONAL else POOL_SIZE)


def _check(size: Size) -> None:
    if not (size.model / "config.json").is_file():
        raise Fatal(f"{size.model} holds no model: `make demo` puts the shipped one there.")
    modules = "import datasets, peft, torch, transformers, trl"
    try:
        done = subprocess.run(
            [size.trainer, "-c", modules],
            env=foreign_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise Fatal(f"{size.trainer} does not start ({error}): pass --trainer PYTHON.") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise Fatal(
            f"{size.trainer} cannot train ({why}): into an environment of its own, install "
            "datasets, peft, torch, transformers and trl."
        )


def _texts(folder: Path) -> dict[str, dict[str, str]]:
    """The prompt (key "") and the responses by id, of each prompt id."""
    table = pq.read_table(folder / POOL_FILE, columns=["prompt_id", "prompt", "response"])
    texts: dict[str, dict[str, str]] = {}
    for prompt_id, prompt, response in zip(*(c.to_pylist() for c in table.columns), strict=True):
        own = texts.setdefault(str(prompt_id), {"": str(prompt)})
        text = "" if response is None else str(response)
        own[content_id("response", text)] = text
    return texts


def _trained(
    world: World, seed: int, cell: Cell, size: Size, texts: Mapping[str, Mapping[str, str]]
) -> Row:
    """One arm at one seed: buy, publish, train, judge."""
    drawn = draw(world, seed)
    cell = replace(cell, pool_size=min(cell.pool_size, world.largest_pool))
    bought = buy_in_nights(drawn, cell)
    rng = np.random.default_rng(seed_from("bench", "lora", seed))
    chosen = rng.permutation(len(drawn.labelled))[: size.prompts]
    rows = [
        _pair(pool, texts[pool.prompt_id], *sides)
        for pool in (drawn.labelled[k] for k in sorted(chosen.tolist()))
        for label in bought.labels[pool.prompt_id]
        for sides in [(label.i, label.j) if label.preferred else (label.j, label.i)]
    ]
    large = [pool for pool in drawn.held_out if (~pool.ignored_n).sum() >= N_CANDIDATES]
    pools = [_candidates(pool, rng) for pool in large[: size.held_out]]
    if not pools:
        raise Fatal(f"No held-out prompt has the {N_CANDIDATES} responses to judge by.")
    judged = _train(rows, pools, seed, size, texts)
    before_r, after_r = np.array(judged["held_out"]).T
    field = Field.of(pools)
    score_pn, before_pn, after_pn = (
        np.array(np.split(r, len(pools))) for r in (after_r - before_r, before_r, after_r)
    )
    return {
        "arm": f"{cell.strategy}-{cell.labels}",
        "seed": seed,
        "pairs": len(rows),
        "accuracy": pair_accuracy(field, score_pn),
        "likelihood_before": pair_accuracy(field, before_pn),
        "likelihood_after": pair_accuracy(field, after_pn),
        "gold_before": float(field.p_win_pn.mean()),
        "gold_after": gold_at_kl(field, score_pn),
        "kl_written": float(np.mean([after - before for before, after in judged["written"]])),
        "tokens_written": float(np.mean(judged["tokens"])),
        **{name: judged[name] for name in ("losses", "seconds", "device", "versions")},
    }


def pair_accuracy(field: Field, score_pn: FloatArray) -> float:
    """How often the scores order two candidates as the gold does, where that is clear."""
    right = [
        ((score_n[:, None] > score_n) == (gap_nn > 0))[np.abs(gap_nn) > _CLEAR_DIFFERENCE]
        for score_n, gap_nn in zip(
            score_pn, field.quality_pn[:, :, None] - field.quality_pn[:, None], strict=True
        )
    ]
    return float(np.concatenate(right).mean())


def gold_at_kl(field: Field, score_pn: FloatArray) -> float:
    """Gold win rate of the policy that picks among the candidates by the scores, at the KL.

    Scores that tell nothing apart leave it uniform.
    """
    chance_pn = field.at_kl(score_pn, KL)
    if chance_pn is None:
        chance_pn = field.policy(np.zeros_like(score_pn))
    return float((chance_pn * field.p_win_pn).sum(axis=1).mean())


def _pair(pool: JudgedPool, texts: Mapping[str, str], winner: int, loser: int) -> Row:
    chosen_id, rejected_id = pool.response_ids[winner], pool.response_ids[loser]
    return {
        "prompt": [{"role": "user", "content": texts[""]}],
        "chosen": [{"role": "assistant", "content": texts[chosen_id]}],
        "rejected": [{"role": "assistant", "content": texts[rejected_id]}],
        "chosen_id": chosen_id,
        "rejected_id": rejected_id,
        "prompt_id": pool.prompt_id,
    }


def _candidates(pool: JudgedPool, rng: np.random.Generator) -> JudgedPool:
    """A few of a pool's responses that count."""
    index = rng.permutation(np.flatnonzero(~pool.ignored_n))[:N_CANDIDATES]
    names = ("features_nd", "p_win_n", "length_n", "longer_n", "blocked_n", "ignored_n")
    kept = {name: getattr(pool, name)[index] for name in names}
    return replace(pool, response_ids=tuple(pool.response_ids[k] for k in index), **kept)


def _train(
    rows: Sequence[Row],
    pools: Sequence[JudgedPool],
    seed: int,
    size: Size,
    texts: Mapping[str, Mapping[str, str]],
) -> Row:
    """What the trainer's interpreter made of the pairs."""
    with TemporaryDirectory() as scratch:
        view, job, result = (Path(scratch) / name for name in ("dpo.parquet", "job", "result"))
        pq.write_table(pa.Table.from_pylist(list(rows), schema=VIEWS["dpo"]), view)
        wanted = {
            "model": str(size.model.resolve()),
            "view": str(view),
            "held_out": [
                {
                    "prompt": [{"role": "user", "content": texts[pool.prompt_id][""]}],
                    "responses": [texts[pool.prompt_id][each] for each in pool.response_ids],
                }
                for pool in pools
            ],
            **TRAINING,
            "tokens": size.tokens,
            "samples": MOST_WRITTEN,
            "seed": seed,
            "result": str(result),
        }
        job.write_text(json.dumps(wanted))
        done = subprocess.run(
            # -P: names of modules beside the script, such as statistics, are not to be found.
            [size.trainer, "-P", policy_trainer.__file__, job],
            env=foreign_environment({"HF_HOME": str(Path(scratch) / "hf")}),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        if done.returncode:
            raise Fatal(f"Training failed in {size.trainer}: {done.stderr.strip()[-500:]}")
        return dict(json.loads(result.read_text()))
