"""Readers as other trainers' public sources and documentation state them, on the views as they are.

    OpenRLHF       README.md "Prepare Datasets"; openrlhf/datasets/reward_dataset.py and
                   prompts_dataset.py: --data.prompt_key prompt --data.apply_chat_template
    Axolotl        docs/rlhf.qmd, "chat_template.default"; src/axolotl/prompt_strategies/dpo/
                   chat_template.py: field_messages prompt
    LLaMA-Factory  data/README.md, "Sharegpt Format" and its preference datasets;
                   src/llamafactory/data/{loader,converter}.py: dataset_dir is the version's folder

They are written anew from what those pages say, not the programs themselves. Runs in an environment
with datasets and transformers and without Winnow.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

HUMAN_SIDE, MODEL_SIDE = ("human", "observation"), ("gpt", "function_call")


def main(folder: str) -> None:
    """Print a line a trainer with the rows that it takes."""
    from trainer_steps import byte_tokenizer

    tokenizer = byte_tokenizer()
    print("openrlhf_rm", openrlhf_pairs(folder, tokenizer))
    print("openrlhf_ppo", openrlhf_prompts(folder, tokenizer))
    print("axolotl", axolotl_pairs(folder, tokenizer))
    print("llamafactory", *llamafactory_pairs(Path(folder)))


def openrlhf_pairs(folder: str, tokenizer) -> int:
    """It loads the default view, or a folder of files, and joins the lists of turns."""
    from datasets import load_dataset

    n_rows = 0
    for data in (
        load_dataset(folder)["train"],
        load_dataset(f"{folder}/data/dpo/train", split="train"),
    ):
        for row in data:
            texts = [
                tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)
                for side in ("chosen", "rejected")
            ]
            prompt = tokenizer.apply_chat_template(
                row["prompt"], tokenize=False, add_generation_prompt=True
            )
            assert all(text.startswith(prompt) and len(text) > len(prompt) for text in texts)
            assert texts[0] != texts[1]
            assert isinstance(row["margin"], float)
            n_rows += 1
    return n_rows


def openrlhf_prompts(folder: str, tokenizer) -> int:
    """For PPO a row's prompt is a string or a list of turns."""
    from datasets import load_dataset

    data = load_dataset(f"{folder}/data/prompts/train", split="train")
    for row in data:
        text = tokenizer.apply_chat_template(
            row["prompt"], tokenize=False, add_generation_prompt=True
        )
        assert text.endswith("assistant\n")
    return len(data)


def axolotl_pairs(folder: str, tokenizer) -> int:
    """The answer is a text, a turn or a list whose last turn counts; roles are of a fixed set."""
    from datasets import load_dataset

    data = load_dataset(folder, "dpo", split="train")
    for row in data:
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in row["prompt"]]
        assert {turn["role"] for turn in turns} <= {"system", "user", "assistant", "tool"}
        assert tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        for side in ("chosen", "rejected"):
            answer = row[side][-1]
            assert answer["role"] == "assistant"
            told = [{"role": "user", "content": "[[dummy]]"}, answer]
            assert answer["content"] in tokenizer.apply_chat_template(told, tokenize=False)
    return len(data)


def llamafactory_pairs(folder: Path) -> list[int]:
    """Rows of each dataset that `dataset_info.json` describes."""
    from datasets import load_dataset

    counts = []
    for told in json.loads((folder / "dataset_info.json").read_text()).values():
        names = os.listdir(folder / told["file_name"])
        assert {Path(name).suffix for name in names} == {".parquet"}
        files = [str(folder / told["file_name"] / name) for name in names]
        data = load_dataset("parquet", data_files=files, split="train")
        assert (told["formatting"], told["ranking"]) == ("sharegpt", True)
        for row in data:
            check_sharegpt(row, told["columns"])
        counts.append(len(data))
    return counts


def check_sharegpt(row: dict, columns: dict) -> None:
    """Sides alternate and the person's is last; both answers are one turn of the model."""
    turns = row[columns["messages"]]
    for place, turn in enumerate(turns):
        assert turn["from"] in (HUMAN_SIDE, MODEL_SIDE)[place % 2], turns
    assert len(turns) % 2 == 1, turns
    for side in ("chosen", "rejected"):
        assert isinstance(row[columns[side]], dict)
        assert row[columns[side]]["from"] in MODEL_SIDE
    assert isinstance(row[columns["system"]], str)
    assert row[columns["tools"]] == "" or isinstance(json.loads(row[columns["tools"]]), list)


if __name__ == "__main__":
    main(sys.argv[1])
