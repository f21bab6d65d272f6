"""Commands that bring what was learnt to other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from winnow.commands import options, plain_app
from winnow.commands.say import say
from winnow.stages.export import export_reward_model
from winnow.stages.select.own_reward import Share

export = plain_app(no_args_is_help=True, help="What was learnt, for other programs.")


@export.callback()
def _named() -> None:
    """So that there is a name behind `export`, though it is the only one."""


@export.command("reward-model")
def reward_model(
    lake: options.LakeOption,
    out: Annotated[Path, typer.Option(help="the folder it becomes")],
    campaign: options.CampaignOption = options.UNNAMED,
    dimension: Annotated[
        str, typer.Option(help="whose votes, where dimensions have heads of their own")
    ] = "",
    with_length: Annotated[
        bool, typer.Option("--with-length", help="pay for length itself, as far as voters do")
    ] = False,
    engine_python: options.EnginePythonOption = Path(sys.executable),
    models: options.ModelsOption = options.MODELS,
) -> None:
    """The reward of a response by itself, as a folder that Transformers and TRL load."""
    reward = export_reward_model(
        lake, campaign, out, engine_python, models, dimension, with_length=with_length
    )
    left_out = ", ".join(reward.left_out) or "nothing"
    say(
        f"Reward model of {reward.n_votes} votes ({reward.dimension}) in {out}; left out: "
        f"{left_out}."
    )
    foreseen = reward.foreseen
    if foreseen is None:
        say("Not measured: no vote is for a side.")
        return
    say(
        f"On {foreseen.n_votes} held-out votes it is right in {_told(foreseen.own)}, the whole "
        f"reward model in {_told(foreseen.full)}, the longer response in {_told(foreseen.length)}."
    )
    if not foreseen.is_shown:
        say("It was not shown to be better than a coin: do not train on it yet.")


def _told(share: Share) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
