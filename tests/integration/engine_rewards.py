"""A reward model's folder is written, and its rewards are reckoned by Winnow itself: JSON.

Runs in the generation environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from winnow.expand.embedders import SentenceEmbedder
from winnow.expand.models import prepare_model
from winnow.expand.reward_folder import RewardFolder, own_rewards, write_folder


def main(asked_file: str, texts_file: str) -> None:
    """Write what is asked for, and print the rewards of responses to the texts of prompts."""
    asked = RewardFolder.model_validate_json(Path(asked_file).read_text(encoding="utf-8"))
    prompts, responses = json.loads(Path(texts_file).read_text(encoding="utf-8"))
    write_folder(asked)
    embed = SentenceEmbedder(prepare_model(asked.sentence_model, Path(asked.models)))
    print(json.dumps(own_rewards(embed, asked, prompts, responses).tolist()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
