"""What a researcher runs: load each view of a version, and hold it against TRL's own checks.

Runs in an environment with datasets and TRL and without Winnow.
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

PREFERENCE = ["prompt", "chosen", "rejected"]


def main(folder: str) -> None:
    """Print a line a view: name, rows, and that TRL takes it for a conversation."""
    # Not at the top: the tests' own environment, which collects this file, has neither.
    from datasets import load_dataset
    from trl import is_conversational
    from trl.data_utils import unpair_preference_dataset

    for view in ("reward", "dpo", "kto", "annotations"):
        data = load_dataset(folder, view, split="train")
        row = data[0]
        kind = "conversational" if is_conversational(row) else "plain"
        if view in ("reward", "dpo"):
            assert row["prompt"][-1]["role"] == "user", row
            assert [turn["role"] for turn in row["chosen"]] == ["assistant"], row
            assert row["chosen"] != row["rejected"], row
            unpaired = unpair_preference_dataset(data.select_columns(PREFERENCE))
            assert len(unpaired) == 2 * len(data)
        print(view, len(data), kind)


if __name__ == "__main__":
    main(sys.argv[1])
