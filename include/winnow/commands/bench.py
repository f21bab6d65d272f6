"""`winnow bench`: what selection is worth, how fast it is, what a large batch takes.

A bench is imported when it is asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import winnow
from winnow.commands import plain_app
from winnow.commands.options import MODELS, ModelsOption, OutOption, whole_number
from winnow.commands.say import say, say_text

SHIPPED_PROMPTS = Path(winnow.__file__).parents[1] / "campaigns" / "nightly" / "prompts"
SHIPPED_MODEL = Path(".winnow") / "models" / "SmolLM2-135M-Instruct"
PolicyKind = Literal["linear", "lora"]
QuickOption = Annotated[bool, typer.Option("--quick", help="a few cases only")]

bench = plain_app(
    no_args_is_help=True, help="What selection is worth, how fast it is, what a large batch takes"
)


@bench.command(help="What each strategy's labels are worth, on judged pools")
def labels(
    pool: Annotated[
        Path,
        typer.Option(help="folder of alpaca_pool.parquet, or a file of scored pools as for select"),
    ],
    out: OutOption,
    seeds: Annotated[int, whole_number(1, help="paired repetitions")] = 20,
) -> None:
    """Writes labels.parquet, .json and .html."""
    from winnow_bench import labels as measured

    for sentence in measured.run(pool, out, seeds, say):
        say(sentence)
    for limit in measured.LIMITS:
        say(f"Cannot show: {limit}")
    say(f"Written: {out / 'labels.html'}, labels.json, labels.parquet")


@bench.command(help="What AI judges beside people are worth, and what bad ones cost")
def sources(
    pool: Annotated[
        Path, typer.Option(help="folder of alpaca_pool, or human_votes, human_pairs, judge_votes")
    ],
    out: OutOption,
    seeds: Annotated[int, whole_number(1, help="paired repetitions")] = 20,
) -> None:
    """Writes sources.json."""
    from winnow_bench import sources as measured

    for sentence in measured.run(pool, out, seeds, say):
        say(sentence)
    say(f"Written: {out / 'sources.json'}")


@bench.command(help="How often the gate errs, how soon it finds a bad model, what it costs")
def gate(
    out: OutOption,
    campaigns: Annotated[int, whole_number(1, help="simulated campaigns a cell")] = 200,
    seeds: Annotated[int, whole_number(2, help="paired repetitions of what it costs")] = 20,
    pool: Annotated[
        Path | None, typer.Option(help="folder of alpaca_pool.parquet; absent: planted pools")
    ] = None,
) -> None:
    """Writes gate.json and .html."""
    from winnow_bench import gate as measured

    measured.run(out, campaigns, seeds, pool, say_text)
    say_text(f"Written: {out / 'gate.html'}, gate.json")


@bench.command(help="Whether a policy trained on each strategy's labels gets better")
def policy(
    pool: Annotated[Path, typer.Option(help="folder of alpaca_pool.parquet")],
    out: OutOption,
    policy: Annotated[PolicyKind, typer.Option(help="what is trained")] = "linear",
    seeds: Annotated[int, whole_number(1, help="paired repetitions")] = 20,
    trainer: Annotated[
        Path, typer.Option(help="lora: an interpreter that has TRL and PEFT")
    ] = Path(sys.executable),
    model: Annotated[Path, typer.Option(help="lora: folder of the model")] = SHIPPED_MODEL,
    arm: Annotated[
        list[str] | None, typer.Option(help="lora: such as random-8, again for another")
    ] = None,
    prompts: Annotated[int, whole_number(1, help="lora: whose pairs are trained on")] = 200,
    tokens: Annotated[int, whole_number(1, help="lora: longest response")] = 512,
) -> None:
    """Writes policy.parquet, .json, .html and .md; policy_lora.json for lora."""
    if policy == "lora":
        from winnow_bench import policy_lora

        size = policy_lora.Size(trainer, model, prompts, tokens, arm or policy_lora.ARMS)
        for sentence in policy_lora.run(pool, out, seeds, size, say):
            say(sentence)
        say(f"Written: {out / 'policy_lora.json'}")
        return
    from winnow_bench import policy as measured

    sentences, table = measured.run(pool, out, seeds, say)
    for line in (*table, "", *sentences, *(f"Cannot show: {each}" for each in measured.LIMITS)):
        say(line)
    say(f"Written: {out / 'policy.html'}, policy.md, policy.json, policy.parquet")


@bench.command(help="How fast pairs are chosen, beside the floor of the matrix products")
def speed(out: OutOption, quick: QuickOption = False) -> None:
    """Writes speed.json."""
    from winnow_bench import speed as measured

    measured.run(out, quick=quick)


@bench.command(help="The expand stage beside bare vLLM: tokens per second and memory")
def expand(
    out: OutOption,
    prompts: Annotated[
        list[Path] | None,
        typer.Option(help="a file, again for another; the shipped ones if absent"),
    ] = None,
    models: ModelsOption = MODELS,
    quick: QuickOption = False,
) -> None:
    """Writes expand.json; runs in the generation environment."""
    from winnow_bench import expand as measured

    files = prompts or sorted(SHIPPED_PROMPTS.glob("*.jsonl"))
    measured.run(files, models, out, say_text, quick=quick)


@bench.command(help="What adaptive pools save at equal gain, replayed on pools drawn in full")
def growth(
    pool: Annotated[Path, typer.Option(help="file, a row a response, with n_tokens and vector")],
    out: OutOption,
    repetitions: Annotated[int, whole_number(1, help="orders of each prompt's draws")] = 5,
) -> None:
    """Writes growth.json."""
    from winnow_bench import growth as measured

    measured.run(pool, out, repetitions, say_text)


@bench.command(help="Aggregations of votes, their accuracy and time beside crowd-kit's")
def votes(
    data: Annotated[Path, typer.Option(help="folder of crowd_labels and human_votes .parquet")],
    out: OutOption,
    seeds: Annotated[int, whole_number(1, help="repetitions of what is drawn")] = 5,
    peer: Annotated[Path | None, typer.Option(help="an interpreter that has crowd-kit")] = None,
) -> None:
    """Writes votes.json and .html."""
    from winnow_bench import votes as measured

    measured.run(data, out, seeds, peer, say_text)
    say_text(f"Written: {out / 'votes.html'}, votes.json")


@bench.command(help="A large batch aggregated, validated and published, beside plain DuckDB")
def publish(
    out: OutOption, annotations: Annotated[int, whole_number(1, help="of one batch")] = 1_000_000
) -> None:
    """Writes publish.json."""
    from winnow_bench import publish as measured

    measured.run(annotations, out, say_text)


@bench.command(help="Nights made up, through every real stage but generation: time, memory, bytes")
def night(
    out: OutOption,
    prompts: Annotated[
        list[int] | None, whole_number(1, help="of a night, again for another; 2000 if absent")
    ] = None,
    pool: Annotated[int, whole_number(2, 1000, help="responses a prompt")] = 100,
    nights: Annotated[
        int | None, whole_number(1, help="so many nights in one lake, one after another")
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="these alone, such as ingest,gather,select")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="folder that keeps what was made, to go on from")
    ] = None,
    brought: Annotated[
        bool, typer.Option("--brought", help="pools that come with the prompts, nothing left out")
    ] = False,
) -> None:
    """Writes night.json."""
    from winnow_bench import night as one
    from winnow_bench import nights as many

    sizes = prompts or [2000]
    if nights is None:
        steps = one.named(stages)
        one.run(sizes, pool, out, say_text, steps=steps, kept=keep, brought=brought)
    else:
        many.run(nights, sizes[0], pool, out, say_text, kept=keep, brought=brought)
    say_text(f"Written: {out / 'night.json'}")
