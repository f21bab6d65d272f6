"""What a researcher runs: load each view of a version, and hold it against TRL's own checks.

Runs in an environment with datasets and TRL and without Winnow.
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

PREFERENCE = ["prompt", "chosen", "rejected"]
VIEWS = ["reward", "dpo", "kto", "prompts", "annotations", "talks"]


def main(folder: str) -> None:
    """Print a line a view, with its rows for training, and a line of the rows of each split."""
    # Not at the top: the tests' own environment, which collects this file, has neither.
    from datasets import get_dataset_split_names, load_dataset
    from trl import is_conversational

    for view in VIEWS:
        data = load_dataset(folder, view, split="train")
        check(view, data)
        print(view, len(data), "conversational" if is_conversational(data[0]) else "plain")
        splits = {
            split: load_dataset(folder, view, split=split)
            for split in get_dataset_split_names(folder, view)
        }
        sides = [set(data["prompt_id"]) for data in splits.values()]
        assert len(set().union(*sides)) == sum(map(len, sides)), "a prompt is on two sides"
        print(view, *(f"{split}={len(data)}" for split, data in splits.items()))


def check(view: str, data: object) -> None:
    """Hold rows of a view against TRL."""
    from trl.data_utils import extract_prompt, unpair_preference_dataset

    row = data[0]
    if view == "talks":
        row = extract_prompt(row)
        assert row["chosen"] != row["rejected"], row
        assert [turn["role"] for turn in row["chosen"]] == ["assistant"], row
    assert row["prompt"][-1]["role"] in ("user", "tool"), row
    if view in ("reward", "dpo"):
        assert [turn["role"] for turn in row["chosen"]] == ["assistant"], row
        assert row["chosen"] != row["rejected"], row
        unpaired = unpair_preference_dataset(data.select_columns(PREFERENCE))
        assert len(unpaired) == 2 * len(data)
    if view == "kto":
        assert {row["label"] for row in data} == {True, False}
        assert len(set(data["response_id"])) == len(data)
    if view == "prompts":
        assert len(set(data["prompt_id"])) == len(data)


if __name__ == "__main__":
    for version in sys.argv[1:]:
        main(version)
