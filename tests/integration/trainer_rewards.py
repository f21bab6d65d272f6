"""Rewards of talks by an exported folder, as TRL's GRPO trainer loads and asks it.

Prints a name and JSON a line. Runs in an environment with TRL and without Winnow.
"""

import json
import random
import sys

NASTY = [
    "<|pad|>",
    "\n",
    " ",
    "7 characters of response\n",
    "{{ x }}",
    "漢",
    "\U0001f600",
    "\0",
    "a",
]


def main(folder: str, talks_file: str, out: str) -> None:
    """Print the rewards of all talks in several ways, and those of a step of training."""
    import torch
    from datasets import Dataset
    from trainer_steps import FEW_STEPS, byte_tokenizer, save_model
    from transformers import AutoModelForSequenceClassification
    from trl import GRPOConfig, GRPOTrainer

    with open(talks_file, encoding="utf-8") as file:
        talks = json.load(file)
    prompts, completions = ([talk[side] for talk in talks] for side in ("prompt", "completion"))
    save_model(f"{out}/model")
    run = GRPOTrainer(
        model=f"{out}/model",
        reward_funcs=folder,
        args=GRPOConfig(
            output_dir=out,
            num_generations=2,
            max_completion_length=4,
            trust_remote_code=True,
            **FEW_STEPS,
        ),
        train_dataset=Dataset.from_list([{"prompt": prompt[-1:]} for prompt in prompts]),
        processing_class=byte_tokenizer(),
    )
    [network], [tokenizer] = run.reward_funcs, run.reward_processing_classes

    def rewards(places):
        chosen = [[side[k] for k in places] for side in (prompts, completions)]
        inputs = [{"prompt": prompt} for prompt in chosen[0]]
        return run._calculate_rewards(inputs, *chosen, [[0]] * len(inputs))[:, 0].tolist()

    every = list(range(len(talks)))
    say("together", rewards(every))
    say("alone", [rewards([k])[0] for k in every])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        say("in_bfloat16", rewards(every))
    texts = [
        tokenizer.apply_chat_template(prompt + completion, tokenize=False)
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    read = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    with torch.inference_mode():
        say("padded_left", network.train()(**read).logits[:, 0].tolist())
    # As TRL loads it where its `model_init_kwargs` ask for half precision.
    half = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, trust_remote_code=True, dtype="bfloat16"
    )
    with torch.inference_mode():
        say("loaded_in_bfloat16", half(**read).logits[:, 0].tolist())
    check_round_trip(network, tokenizer)
    for text in ("bare text", "0 characters of response"):
        try:
            network(**tokenizer([text], return_tensors="pt"))
        except ValueError as error:
            say("refused", str(error))
    run.train()
    logged = [entry["rewards/exported/mean"] for entry in run.state.log_history if "loss" in entry]
    say("trained", logged)


def check_round_trip(network, tokenizer) -> None:
    """What the network reads of any turns is their very text."""
    read_talk, luck = type(network).forward.__globals__["_talk"], random.Random(0)
    for _ in range(300):
        said = ["".join(luck.choices(NASTY, k=luck.randrange(8))) for _ in range(3)]
        roles = ("system", "user", "assistant")
        turns = [{"role": r, "content": c} for r, c in zip(roles, said, strict=True)]
        rendered = tokenizer.apply_chat_template(turns, tokenize=False)
        ids = tokenizer([rendered, "x" * 99], padding=True)["input_ids"][0]
        text = bytes(each for each in ids if each < 256).decode()
        assert read_talk(text) == ("\n".join(said[:2]), said[2]), said


def say(name: str, value) -> None:
    print(f"={name}", json.dumps(value))


if __name__ == "__main__":
    main(*sys.argv[1:])
