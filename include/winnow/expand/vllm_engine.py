"""Generation with vLLM in this process.

The prefix cache is emptied before each call: within a call the n responses of a prompt share its
prefix, and nothing that was generated before changes the batches that follow, so that a call gives
the same responses in a fresh process. On a machine without CUDA the settings are those that make
vLLM quick to start and steady on a CPU; with CUDA vLLM's own defaults stand.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from winnow.errors import Fatal
from winnow.expand.chat import chat_ids, open_tokenizer
from winnow.expand.engine import GeneratedResponse, Sampling, SeededPrompt

CPU_ENVIRONMENT = {
    # One process: no shared-memory stalls, and it starts in seconds instead of a minute.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    # One helper would be compiled with a C++ compiler on first use: 18 s for nothing.
    "TORCHDYNAMO_DISABLE": "1",
}


def import_vllm() -> None:
    """Import vLLM, set up for this machine.

    Raises:
        ImportError: It is not installed.
        OSError: One of its libraries does not load.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.update(CPU_ENVIRONMENT)
    import vllm  # noqa: F401


def open_vllm(model: str, max_model_len: int) -> VllmEngine:
    """Load a model (folder or hub id).

    Raises:
        Fatal: The model cannot be loaded with this context, or has no chat template.
    """
    import torch
    import vllm

    tokenizer = open_tokenizer(model)
    settings = {} if torch.cuda.is_available() else _cpu_settings(max_model_len)
    try:
        llm = vllm.LLM(model, max_model_len=max_model_len, seed=0, **settings)
    except (OSError, ValueError) as error:
        raise Fatal(
            f"vLLM cannot load model {model} with a context of {max_model_len} tokens: {error}"
        ) from error
    return VllmEngine(llm, tokenizer, vllm.__version__)


def _cpu_settings(max_model_len: int) -> dict[str, Any]:
    return {
        "dtype": "bfloat16",
        "enforce_eager": True,
        # A prompt in two chunks would rewind its seeded generator, which a CPU generator cannot.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(2048, max_model_len),
        "max_num_seqs": 256,
        "block_size": 32,
        "distributed_executor_backend": "uni",
    }


class VllmEngine:
    """vLLM's `LLM` behind the engine contract."""

    name = "vllm"

    def __init__(self, llm: Any, tokenizer: Any, version: str) -> None:
        self._llm, self._tokenizer, self.version = llm, tokenizer, version

    def n_prompt_tokens(self, prompt: SeededPrompt) -> int:
        """See `Engine.n_prompt_tokens`."""
        return len(chat_ids(self._tokenizer, prompt))

    def generate(
        self, prompts: Sequence[SeededPrompt], sampling: Sampling
    ) -> list[list[GeneratedResponse]]:
        """See `Engine.generate`."""
        self._llm.reset_prefix_cache()
        outputs = self._llm.generate(
            [{"prompt_token_ids": chat_ids(self._tokenizer, p)} for p in prompts],
            [_parameters(sampling, p.seed) for p in prompts],
            use_tqdm=False,
        )
        return [
            [_response(drawn, prompt.seed) for drawn in output.outputs]
            for prompt, output in zip(prompts, outputs, strict=True)
        ]


def _parameters(sampling: Sampling, seed: int) -> Any:
    from vllm import SamplingParams

    # vLLM gives child i of a seeded request the seed plus i (ParentRequest); logprobs=0 asks for
    # the sampled token's log-probability and no others.
    return SamplingParams(
        n=sampling.n,
        seed=seed,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        logprobs=0,
    )


def _response(drawn: Any, prompt_seed: int) -> GeneratedResponse:
    return GeneratedResponse(
        text=drawn.text,
        finish_reason=drawn.finish_reason,
        n_tokens=len(drawn.token_ids),
        logprob=drawn.cumulative_logprob,
        seed=prompt_seed + drawn.index,
    )
