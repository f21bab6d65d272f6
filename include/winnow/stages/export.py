"""The reward model as a folder for trainers: refitted, measured, described, and written.

Always holds: a folder is whole or absent, and says of itself what it was measured to be worth.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from winnow.campaign import Campaign
from winnow.ending import FAILED
from winnow.environment import foreign_environment
from winnow.errors import Fatal
from winnow.expand.models import is_local
from winnow.expand.reward_folder import RewardFolder
from winnow.lake import Lake
from winnow.publish.card import reward_card
from winnow.publish.versions import read_version
from winnow.stages.expand import HUB_TOKENS
from winnow.stages.select import reward_model
from winnow.stages.select.own_reward import OwnReward, own_reward


def export_reward_model(
    lake: Lake,
    campaign: Campaign,
    out: Path,
    python: Path,
    models: Path,
    dimension: str = "",
    *,
    with_length: bool = False,
) -> OwnReward:
    """Write the folder `out` by the votes behind the campaign's newest reward model.

    Args:
        lake: Where they lie.
        campaign: Whose they are.
        out: What is not there yet.
        python: Interpreter of the generation environment.
        models: Folder of prepared models.
        dimension: Of which votes; may be empty where there is one head.
        with_length: Whether what voters give to length itself is part of the reward.

    Raises:
        Fatal: There is no reward model yet, it cannot be exported, or writing failed; says why.
    """
    if out.exists():
        raise Fatal(f"{out} is there already: name a folder that is not.")
    current = reward_model.newest(lake, campaign.name)
    if current is None:
        raise Fatal(f"Campaign {campaign.name} has no reward model before its first votes.")
    version = read_version(lake, campaign.publish.dataset, current.number)
    reward = own_reward(lake, campaign, version, dimension, with_length=with_length)
    sentence_model = campaign.expand.embedding_model
    asked = RewardFolder(
        sentence_model=sentence_model,
        models=str(models),
        weight=reward.weight_c.tolist(),
        bias=reward.bias,
        card=reward_card(version, campaign, reward, current.gate_reason),
        folder=os.path.abspath(out),
    )
    variables = dict.fromkeys(HUB_TOKENS, "") if is_local(sentence_model) else {}
    done = subprocess.run(
        [str(python), "-m", "winnow.expand.reward_folder"],
        input=asked.model_dump_json(),
        env=foreign_environment(variables),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        # What networks say while they load stands before the reason.
        said = done.stderr.strip().splitlines()[-1:] if done.returncode == FAILED else []
        reason = said[0] if said else f"the process ended with status {done.returncode}."
        raise Fatal(f"Nothing is exported: {reason}")
    return reward
