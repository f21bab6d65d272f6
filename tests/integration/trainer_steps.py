"""Two optimiser steps of each training method on the views as they are, on a tiny random model.

Model and tokenizer are made here, on the spot. Runs in an environment with datasets and TRL and
without Winnow.
"""

import math
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

STEPS = 2
FEW_STEPS = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}
"""Settings of every trainer here."""
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
# ChatML, with the tools in front as Qwen's has them.
TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function.name }} "
    "{{ call.function.arguments }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main(folder: str, out: str) -> None:
    """Print a line a method, with the losses of its steps."""
    for name, losses in trained(folder, out):
        assert len(losses) == STEPS, (name, losses)
        assert all(map(math.isfinite, losses)), (name, losses)
        print(name, *losses)


def trained(folder: str, out: str):
    """Each method's name and losses."""
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    save_model(f"{out}/model")
    yield "reward", steps(RewardTrainer, RewardConfig, folder, "reward", out)
    yield "dpo", steps(DPOTrainer, DPOConfig, folder, "dpo", out)
    yield "ipo", steps(DPOTrainer, DPOConfig, folder, "dpo", out, loss_type="ipo")
    yield (
        "simpo",
        steps(CPOTrainer, CPOConfig, folder, "dpo", out, loss_type="simpo", cpo_alpha=0.0),
    )
    yield "kto", steps(KTOTrainer, KTOConfig, folder, "kto", out)
    yield "calls", steps(DPOTrainer, DPOConfig, folder, "calls", out)
    yield "grpo", reinforced(folder, out)


def steps(trainer, config, folder: str, view: str, out: str, **settings):
    """Train on a view and evaluate on its test split; the loss of each step."""
    from datasets import load_dataset

    data = load_dataset(folder, view)
    arguments = config(
        output_dir=out,
        per_device_eval_batch_size=2,
        max_length=512,
        **FEW_STEPS,
        **settings,
    )
    run = trainer(
        model=f"{out}/model",
        args=arguments,
        train_dataset=data["train"],
        # Few prompts have calls: none of them may be for testing.
        eval_dataset=data.get("test", data["train"]),
        processing_class=byte_tokenizer(),
    )
    check_tools(data["train"], run)
    run.train()
    assert math.isfinite(run.evaluate()["eval_loss"])
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


def reinforced(folder: str, out: str):
    """Train on responses of one's own to the prompts; the loss of each step."""
    from datasets import load_dataset
    from trl import GRPOConfig, GRPOTrainer

    def length(completions, **columns):
        assert columns["reward_model"][0] == {"style": "model", "ground_truth": ""}
        return [float(len(turns[0]["content"])) for turns in completions]

    arguments = GRPOConfig(
        output_dir=out,
        num_generations=2,
        max_completion_length=4,
        **FEW_STEPS,
    )
    run = GRPOTrainer(
        model=f"{out}/model",
        reward_funcs=length,
        args=arguments,
        train_dataset=load_dataset(folder, "prompts", split="train"),
        processing_class=byte_tokenizer(),
    )
    run.train()
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


def check_tools(rows, run) -> None:
    """The tools of each prompt are in the tokens that its row became."""
    held = [name for name in ("prompt_ids", "chosen_ids") if name in run.train_dataset.column_names]
    # SimPO's trainer, which names neither, takes no tools.
    if held:
        texts = list(map(run.processing_class.decode, run.train_dataset[held[0]]))
        if "tool_calls" in rows[0]["prompt"][0]:
            assert all("assistant\n<call>rain {}<|im_end|>" in text for text in texts)
        assert ["Tools:" in text for text in texts] == [each is not None for each in rows["tools"]]
        assert any(rows["tools"])


def byte_tokenizer():
    """A token a byte, and the three that a chat needs."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate([*SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        chat_template=TEMPLATE,
    )


def save_model(path: str) -> None:
    """Put a Llama of one layer with random weights, and its tokenizer, into a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(path)
    tokenizer.save_pretrained(path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
