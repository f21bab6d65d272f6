"""Runs in an interpreter with TRL and PEFT and without Winnow: python -P policy_trainer.py JOB.

Trains a model with DPO and LoRA on the pairs of a view `dpo`, then says how likely the model finds
each held-out response before and after, and what it writes itself afterwards. The job names
`model`, `view` (Parquet), `held_out` (a prompt with its responses each), `tokens` (the longest
response), `epochs`, `learning_rate`, `beta`, `seed`, `samples` (prompts to write for) and `result`,
the file to write.

Responses are cut at `tokens` tokens alike in training and in judging; log-likelihoods are sums over
a response's tokens, in nats.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

_AT_ONCE = 2
"""Pairs, or texts to judge, in one forward pass: memory is theirs times the vocabulary."""
_STEP = 8
"""Pairs of one step of the optimiser."""
_LONGEST_PROMPT = 256
"""Tokens of a prompt, its end."""


def main(job: dict[str, Any]) -> None:
    """Train, judge, write the result."""
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    began = time.monotonic()
    model, losses = _trained(job, tokenizer)
    seconds, model = time.monotonic() - began, model.eval()
    asked = [
        (_prompt_ids(tokenizer, each["prompt"]), _ids(tokenizer, text)[: job["tokens"]])
        for each in job["held_out"]
        for text in each["responses"]
    ]
    written = _written(job, tokenizer, model)
    result = {
        "versions": {name: version(name) for name in ("trl", "peft", "torch")},
        "device": str(model.device),
        "losses": losses,
        "seconds": seconds,
        "held_out": _before_and_after(model, asked, tokenizer.pad_token_id),
        "written": _before_and_after(model, written, tokenizer.pad_token_id),
        "tokens": [len(response) for _, response in written],
    }
    Path(job["result"]).write_text(json.dumps(result))


def _trained(job: dict[str, Any], tokenizer: Any) -> tuple[Any, list[float]]:
    """The model with its adapter, and the losses along the way."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    rows = load_dataset("parquet", data_files=job["view"], split="train")
    rows = rows.select_columns(["prompt", "chosen", "rejected"])

    def cut(row: dict[str, Any]) -> dict[str, Any]:
        asked = row["prompt"][-1]["content"]
        ids = _ids(tokenizer, asked)[-_LONGEST_PROMPT:]
        short = {"prompt": [{"role": "user", "content": tokenizer.decode(ids)}]}
        for side in ("chosen", "rejected"):
            ids = _ids(tokenizer, row[side][0]["content"])[: job["tokens"]]
            short[side] = [{"role": "assistant", "content": tokenizer.decode(ids)}]
        return short

    on_gpu = torch.cuda.is_available()
    settings = DPOConfig(
        output_dir=f"{job['result']}.run",
        per_device_train_batch_size=_AT_ONCE,
        gradient_accumulation_steps=_STEP // _AT_ONCE,
        num_train_epochs=job["epochs"],
        learning_rate=job["learning_rate"],
        beta=job["beta"],
        max_length=None,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=not on_gpu,
        bf16=on_gpu,
        gradient_checkpointing=on_gpu,
        model_init_kwargs={"dtype": "bfloat16" if on_gpu else "float32"},
        disable_tqdm=True,
        seed=job["seed"],
    )
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = DPOTrainer(
        model=job["model"],
        args=settings,
        train_dataset=rows.map(cut),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer.model, losses


def _written(job: dict[str, Any], tokenizer: Any, model: Any) -> list[tuple[list[int], list[int]]]:
    """What the trained model writes for the first held-out prompts, one response each."""
    import torch

    texts = []
    for each in job["held_out"][: job["samples"]]:
        prompt = _prompt_ids(tokenizer, each["prompt"])
        ids = torch.tensor([prompt], device=model.device)
        with torch.no_grad():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                max_new_tokens=job["tokens"],
                pad_token_id=tokenizer.pad_token_id,
            )
        texts.append((prompt, out[0, len(prompt) :].tolist()))
    return texts


def _before_and_after(
    model: Any, texts: list[tuple[list[int], list[int]]], pad: int
) -> list[list[float]]:
    """Log-likelihood of each response without the adapter and with it."""
    import torch

    pairs = []
    for start in range(0, len(texts), _AT_ONCE):
        batch = texts[start : start + _AT_ONCE]
        with torch.no_grad():
            with model.disable_adapter():
                before = _likelihoods(model, batch, pad)
            after = _likelihoods(model, batch, pad)
        pairs += [[one, other] for one, other in zip(before, after, strict=True)]
    return pairs


def _likelihoods(model: Any, batch: list[tuple[list[int], list[int]]], pad: int) -> list[float]:
    import torch

    whole = [prompt + response for prompt, response in batch]
    longest = max(map(len, whole))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in whole], device=model.device)
    there = torch.tensor(
        [[1] * len(row) + [0] * (longest - len(row)) for row in whole], device=model.device
    )
    logits = model(input_ids=ids, attention_mask=there).logits[:, :-1].float()
    chosen = logits.gather(-1, ids[:, 1:, None])[..., 0]
    chance = chosen - torch.logsumexp(logits, dim=-1)
    return [
        float(row[len(prompt) - 1 : len(prompt) + len(response) - 1].sum())
        for row, (prompt, response) in zip(chance, batch, strict=True)
    ]


def _prompt_ids(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    ids = _ids(tokenizer, messages[-1]["content"])[-_LONGEST_PROMPT:]
    messages = [{"role": "user", "content": tokenizer.decode(ids)}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return _ids(tokenizer, text)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
