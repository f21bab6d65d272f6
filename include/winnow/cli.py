"""The `winnow` command: batches without Airflow, selection on its own, and the benches.

    winnow run --campaign nightly.yaml --lake ./lake --batch 2026-11-22
    winnow doctor --lake ./lake                    (is everything there for tonight?)
    winnow status --lake ./lake                    (the last 20 batches; --all, --json)
    winnow quarantine | versions --lake ./lake
    winnow diff v12 v13 --lake ./lake
    winnow pull nightly@latest --out FOLDER --lake ./lake
    winnow lineage PAIR_ID --lake ./lake           (or a response's or an annotation's id)
    winnow rollback v12 --reason "..." --lake ./lake
    winnow gc --lake ./lake                        (--delete removes what it found)
    winnow backfill --from 2026-09-01 --to 2026-11-29 --lake ./lake     (--dry-run only tells)
    winnow reconcile --lake ./lake                 (--again KEY, --leave KEY)
    winnow drop 2026-11-22 --reason "..." --lake ./lake
    winnow late --batch 2026-11-22 --lake ./lake
    winnow plan --lake ./lake --budget 200 --gpu-usd-per-hour 2.5 --tokens-per-second 4000
    winnow select --pool responses.jsonl --out comparisons.jsonl
    winnow bench labels --pool FOLDER --seeds 20 --out FOLDER
    winnow bench speed --out FOLDER
    winnow bench expand --out FOLDER               (in the generation environment)
    winnow bench growth --pool responses.jsonl --out FOLDER
    winnow bench votes --data FOLDER --out FOLDER

Exit codes: 0 done, 1 an error (one line says which), 2 the command itself is wrong.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import winnow
from winnow.addresses import without_secrets
from winnow.campaign import load_campaign
from winnow.commands import (
    aggregation,
    batches,
    datasets,
    generation,
    operate,
    selector,
    store,
)
from winnow.commands import doctor as diagnosis
from winnow.commands.say import say
from winnow.ending import run_and_leave
from winnow.errors import WinnowError
from winnow.lake import open_lake
from winnow.lake.disk import told as told_by_disk
from winnow.select import STRATEGIES

T = TypeVar("T")

SHIPPED_CAMPAIGN = Path(winnow.__file__).parents[1] / "campaigns" / "nightly.yaml"


def command() -> NoReturn:
    """The `winnow` command: run what the command line says, and end the process with its code."""
    run_and_leave(main)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    asked = _parser().parse_args(arguments)
    try:
        if hasattr(asked, "lake") and asked.command is not diagnosis.doctor:
            asked.command(open_lake(asked.lake), load_campaign(asked.campaign), asked)
        else:
            # A command of its own may say with a number that something is wrong.
            return asked.command(asked) or 0
    except (WinnowError, OSError) as error:
        told = told_by_disk(error) if isinstance(error, OSError) else str(error)
        say(f"winnow: {told}", error=True)
        return 1
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(without_secrets(message))


def _number(text: str, kind: Callable[[str], float], least: float, most: float) -> float:
    value = kind(text)
    if not (math.isfinite(value) and least <= value <= most):
        raise argparse.ArgumentTypeError(f"{text} is not from {least:g} to {most:g}")
    return value


def _decimal(least: float, most: float) -> Callable[[str], float]:
    """The type of an argument that is a number in a range."""
    # argparse tells of other text by the name of its type.
    return _named("number", lambda text: _number(text, float, least, most))


def _whole(least: int, most: int = 10**9) -> Callable[[str], int]:
    """The type of an argument that is a whole number in a range."""
    return _named("whole number", lambda text: int(_number(text, int, least, most)))


def _sizes(text: str) -> list[int]:
    """Numbers with commas between them."""
    return sorted({_whole(1, 10**6)(size) for size in text.split(",")})


def _named(name: str, function: Callable[[str], T]) -> Callable[[str], T]:
    """A function under a name for people."""
    function.__name__ = name
    return function


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="winnow", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=winnow.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lake = _lake_options()
    for command in (batches.run, batches.status, batches.quarantine):
        sub = _command(commands, command.__name__, command, [lake])
        sub.add_argument("--batch", required=command is batches.run, help="the day, 2026-11-22")
        if command is batches.run:
            _add_run_options(sub)
        if command is batches.status:
            sub.add_argument(
                "--last", type=_whole(0), default=20, help="so many batches; the newest"
            )
            sub.add_argument("--all", action="store_true", help="every batch")
            sub.add_argument("--json", action="store_true", help="for programs")
            sub.add_argument("--vendor-url", help="the vendor's address, to ask how far it is")
    _add_operating_commands(commands, lake)
    _add_doctor_options(commands.add_parser("doctor", help=_told(diagnosis.doctor)))
    _add_dataset_commands(commands, lake)
    _add_plan_options(_command(commands, "plan", selector.plan, [lake]))
    _add_select_options(_command(commands, "select", selector.select))
    bench = commands.add_parser("bench", help="What selection is worth, and how fast it is")
    _add_benches(bench.add_subparsers(required=True, metavar="BENCH"))
    return parser


def _command(
    commands: Any, name: str, command: Callable[..., None], parents: Sequence[Any] = ()
) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = commands.add_parser(
        name, parents=list(parents), help=_told(command)
    )
    sub.set_defaults(command=command)
    return sub


def _told(command: Callable[..., object]) -> str:
    """What `--help` says of a command: its first line, up to a colon."""
    return (command.__doc__ or "").split("\n")[0].split(":")[0].rstrip(".")


def _add_doctor_options(sub: argparse.ArgumentParser) -> None:
    """Its own options for lake and campaign: it says itself what is wrong with them."""
    asked = os.environ.get
    campaign = Path(asked("WINNOW_CAMPAIGN", SHIPPED_CAMPAIGN))
    sub.set_defaults(command=diagnosis.doctor)
    sub.add_argument("--campaign", type=Path, default=campaign, help="YAML file")
    sub.add_argument("--lake", default=asked("WINNOW_LAKE"), help="folder or s3://…")
    sub.add_argument("--day", help="whose prompt files are looked for; yesterday if absent")
    sub.add_argument("--models", type=Path, default=_models(), help="prepared models")
    sub.add_argument(
        "--seconds", type=_decimal(0.1, 86_400), default=15.0, help="longest that a check may take"
    )
    sub.add_argument("--json", action="store_true", help="for programs")


def _lake_options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    campaign = Path(os.environ.get("WINNOW_CAMPAIGN", SHIPPED_CAMPAIGN))
    shared.add_argument("--campaign", type=Path, default=campaign, help="YAML file")
    lake = os.environ.get("WINNOW_LAKE")
    shared.add_argument("--lake", default=lake, required=lake is None, help="folder or s3://…")
    return shared


def _models() -> Path:
    return Path(os.environ.get("WINNOW_MODELS", "models"))


def _add_run_options(sub: argparse.ArgumentParser) -> None:
    engine = os.environ.get("WINNOW_ENGINE_PYTHON")
    sub.add_argument(
        "--engine-python",
        type=Path,
        default=engine or sys.executable,
        help="interpreter of the generation environment",
    )
    sub.add_argument("--models", type=Path, default=_models(), help="prepared models")
    sub.add_argument(
        "--server-url",
        help="address of the server where expand.engine is server; its key is read from "
        "WINNOW_SERVER_KEY",
    )
    _add_vendor_url(sub)
    sub.add_argument(
        "--approve",
        action="store_true",
        help="buy labels even above the campaign's label.approve_above_usd",
    )


def _add_vendor_url(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--vendor-url",
        default=os.environ.get("WINNOW_VENDOR_URL", "http://127.0.0.1:8790"),
        help="the vendor's address; its token is read from WINNOW_VENDOR_TOKEN",
    )


def _add_operating_commands(commands: Any, lake: argparse.ArgumentParser) -> None:
    backfill = _command(commands, "backfill", operate.backfill, [lake])
    backfill.add_argument("--from", dest="first", required=True, help="the first day, 2026-09-01")
    backfill.add_argument("--to", dest="last", required=True, help="the last day")
    backfill.add_argument("--dry-run", action="store_true", help="only say what it would do")
    backfill.add_argument("--failed", action="store_true", help="days whose first run failed too")
    backfill.add_argument(
        "--at-once", type=_whole(1, 1000), default=2, help="first stages side by side"
    )
    reconcile = _command(commands, "reconcile", operate.reconcile, [lake])
    again, leave = "try this batch again, from nought", "neither mend this batch nor tell of it"
    reconcile.add_argument("--again", action="append", default=[], metavar="KEY", help=again)
    reconcile.add_argument("--leave", action="append", default=[], metavar="KEY", help=leave)
    _add_vendor_url(reconcile)
    drop = _command(commands, "drop", batches.drop, [lake])
    drop.add_argument("key", metavar="BATCH", help="the day, 2026-11-22")
    drop.add_argument("--reason", required=True, help="for whoever looks at the batch later")
    by_hand = "its tasks were called off at the vendor by hand"
    drop.add_argument("--called-off", action="store_true", help=by_hand)
    _add_vendor_url(drop)
    late = _command(commands, "late", operate.late, [lake])
    late.add_argument("--batch", required=True, help="the day, 2026-11-22")
    _add_vendor_url(late)


def _add_dataset_commands(commands: Any, lake: argparse.ArgumentParser) -> None:
    named = "v12, NAME@v12 or NAME@latest; the campaign's dataset if no NAME"
    _command(commands, "versions", datasets.versions, [lake])
    diff = _command(commands, "diff", datasets.diff, [lake])
    diff.add_argument("before", help=named)
    diff.add_argument("after", help=named)
    diff.add_argument("--rows", type=_whole(0), default=10, help="most ids listed of each change")
    pull = _command(commands, "pull", datasets.pull, [lake])
    pull.add_argument("version", help=named)
    pull.add_argument("--out", type=Path, required=True, help="the folder it becomes")
    lineage = _command(commands, "lineage", datasets.lineage, [lake])
    lineage.add_argument("row", help="a pair_id, response_id or annotation_id")
    lineage.add_argument("--batch", help="look in this batch only")
    for sub in (diff, lineage):
        sub.add_argument("--json", action="store_true", help="for programs")
    rollback = _command(commands, "rollback", datasets.rollback, [lake])
    rollback.add_argument("version", help=named)
    rollback.add_argument("--reason", required=True, help="for the new version's manifest")
    gc = _command(commands, "gc", store.gc, [lake])
    gc.add_argument(
        "--grace-hours", type=_decimal(0, 1e5), default=48.0, help="younger things stay"
    )
    gc.add_argument("--delete", action="store_true", help="remove them; else only list them")


def _add_plan_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--budget", type=_decimal(0, 1e9), help="dollars; the campaign's label budget if absent"
    )
    sub.add_argument(
        "--prompts", type=_whole(1), help="prompts of a night; the last batch's if absent"
    )
    sub.add_argument(
        "--pool-sizes", type=_sizes, default="10,25,50,100", help="responses per prompt"
    )
    sub.add_argument(
        "--max-labels", type=_whole(1, 10**6), default=8, help="most labels per prompt"
    )
    sub.add_argument(
        "--gpu-usd-per-hour", type=_decimal(0, 1e6), required=True, help="price of one GPU"
    )
    sub.add_argument(
        "--tokens-per-second",
        type=_decimal(1e-3, 1e9),
        help="what one GPU generates; what the last batch's processes made if absent",
    )
    sub.add_argument(
        "--sizing", action="store_true", help="only the GPU hours of pool sizes and prompts"
    )


def _add_select_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--pool", type=Path, required=True, help="file, a row a response")
    sub.add_argument("--out", type=Path, required=True, help="file to write")
    sub.add_argument("--preferences", type=Path, help="file, prompt, chosen, rejected")
    sub.add_argument("--labels", type=_whole(1), default=4, help="pairs per prompt")
    sub.add_argument("--strategy", choices=sorted(STRATEGIES), default="decision_gain")
    sub.add_argument(
        "--exploration", type=_decimal(0, 1), default=0.15, help="share drawn uniformly"
    )
    sub.add_argument("--seed", type=_whole(0, 2**62), default=0)


def _add_benches(benches: Any) -> None:
    labels = _command(benches, "labels", selector.bench_labels)
    labels.add_argument("--pool", type=Path, required=True, help="folder of alpaca_pool.parquet")
    labels.add_argument("--seeds", type=_whole(1), default=20, help="paired repetitions")
    labels.add_argument("--out", type=Path, required=True, help="folder for the results")
    expand = _command(benches, "expand", generation.bench_expand)
    expand.add_argument("--prompts", type=Path, nargs="+", help="files; the shipped ones if absent")
    expand.add_argument("--models", type=Path, default=_models(), help="prepared models")
    expand.add_argument("--out", type=Path, required=True, help="folder for the results")
    expand.add_argument("--quick", action="store_true", help="a few prompts only")
    growth = _command(benches, "growth", generation.bench_growth)
    growth.add_argument(
        "--pool", type=Path, required=True, help="file, a row a response, with n_tokens and vector"
    )
    growth.add_argument(
        "--repetitions", type=_whole(1), default=5, help="orders of each prompt's draws"
    )
    growth.add_argument("--out", type=Path, required=True, help="folder for the results")
    speed = _command(benches, "speed", selector.bench_speed)
    speed.add_argument("--out", type=Path, required=True, help="folder for the results")
    speed.add_argument("--quick", action="store_true", help="a few sizes only")
    publish = _command(benches, "publish", aggregation.bench_publish)
    publish.add_argument("--annotations", type=_whole(1), default=1_000_000, help="of one batch")
    publish.add_argument("--out", type=Path, required=True, help="folder for the results")
    votes = _command(benches, "votes", aggregation.bench_votes)
    votes.add_argument(
        "--data", type=Path, required=True, help="folder of crowd_labels and human_votes .parquet"
    )
    votes.add_argument("--seeds", type=_whole(1), default=5, help="repetitions of what is drawn")
    votes.add_argument("--out", type=Path, required=True, help="folder for the results")
    votes.add_argument("--peer", type=Path, help="an interpreter that has crowd-kit")
