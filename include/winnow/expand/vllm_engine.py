"""Generation with vLLM in this process.

The prefix cache is emptied before each call: within a call the n responses of a prompt share its
prefix, and nothing that was generated before changes the batches that follow, so that a call gives
the same responses in a fresh process. On a machine without CUDA the settings are those that make
vLLM quick to start and steady on a CPU; with CUDA vLLM's own defaults stand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.chat import encode, open_tokenizer
from winnow.expand.engine import Call, Draw, Drawn, GeneratedResponse, Refusal, in_turn

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


def open_vllm(settings: Expand, model: str) -> VllmEngine:
    """Load a model (folder or hub id) with the campaign's context and `engine_args`.

    Raises:
        Fatal: The model cannot be loaded so, has no chat template, or vLLM knows no such argument.
    """
    import torch
    import vllm

    tokenizer = open_tokenizer(model, settings.chat_template)
    for_machine = {} if torch.cuda.is_available() else _cpu_settings(settings.max_model_len)
    adapter = {"enable_lora": True} if settings.lora else {}
    arguments = {"seed": 0, **for_machine, **adapter, **settings.engine_args}
    try:
        with _hidden("llvmlite.binding.ffi"):
            llm = vllm.LLM(model, max_model_len=settings.max_model_len, **arguments)
    except (OSError, ValueError, TypeError) as error:
        raise Fatal(
            f"vLLM cannot load model {model} with a context of {settings.max_model_len} tokens "
            f"and {settings.engine_args or 'no engine_args'}: {error}"
        ) from error
    return VllmEngine(llm, tokenizer, vllm.__version__, settings)


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Keep a loaded module out of sight.

    On a CPU vLLM looks through every loaded module for kernels of its own, and trips over Numba's
    table of LLVM functions, which answers to any name.
    """
    loaded = sys.modules.pop(module, None)
    try:
        yield
    finally:
        if loaded is not None:
            sys.modules[module] = loaded


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
    """vLLM's `LLM` behind the engine contract. `llm` is that object, for whoever measures it."""

    name = "vllm"

    def __init__(self, llm: Any, tokenizer: Any, version: str, settings: Expand) -> None:
        self.llm, self.version = llm, version
        self._tokenizer, self._settings = tokenizer, settings

    def generate(self, draws: Sequence[Draw]) -> list[Drawn]:
        """See `Engine.generate`."""
        encoded = [encode(self._tokenizer, d, self._settings.max_model_len) for d in draws]
        admitted = [
            (ids, draw)
            for ids, draw in zip(encoded, draws, strict=True)
            if not isinstance(ids, Refusal)
        ]
        self.llm.reset_prefix_cache()
        outputs = iter(
            self.llm.generate(
                [{"prompt_token_ids": ids} for ids, _ in admitted],
                [sampling_params(draw) for _, draw in admitted],
                use_tqdm=False,
                lora_request=self._adapter(),
            )
            if admitted
            else []
        )
        return [
            each
            if isinstance(each, Refusal)
            else [_response(drawn, draw.seed) for drawn in next(outputs).outputs]
            for each, draw in zip(encoded, draws, strict=True)
        ]

    def generate_each(
        self, calls: Iterable[tuple[Call, Sequence[Draw]]]
    ) -> Iterator[tuple[Call, list[Drawn]]]:
        """See `Engine.generate_each`."""
        return in_turn(self.generate, calls)

    def _adapter(self) -> Any:
        if self._settings.lora is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest("adapter", 1, self._settings.lora)


def sampling_params(draw: Draw) -> Any:
    """What vLLM is asked for; its child i of a seeded request has the seed plus i."""
    from vllm import SamplingParams

    return SamplingParams(
        n=draw.n,
        seed=draw.seed,
        max_tokens=draw.sampling.max_tokens,
        temperature=draw.sampling.temperature,
        top_p=draw.sampling.top_p,
        stop=list(draw.sampling.stop),
        logprobs=0,  # The sampled token's log-probability, and no others.
    )


def _response(drawn: Any, first_seed: int) -> GeneratedResponse:
    return GeneratedResponse(
        text=drawn.text,
        finish_reason=drawn.finish_reason,
        n_tokens=len(drawn.token_ids),
        logprob=drawn.cumulative_logprob,
        seed=first_seed + drawn.index,
    )
