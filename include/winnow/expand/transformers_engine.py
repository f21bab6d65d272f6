"""Generation with plain transformers, for machines where vLLM cannot be installed.

One prompt at a time: its n responses are one batch without padding, so that they depend on this
prompt alone. Slower than vLLM by a multiple; the same contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.chat import encode, open_tokenizer
from winnow.expand.engine import (
    Call,
    Draw,
    Drawn,
    GeneratedResponse,
    Refusal,
    Sampling,
    in_turn,
)


def open_transformers(settings: Expand, model: str) -> TransformersEngine:
    """Load a model (folder or hub id).

    Raises:
        Fatal: The model cannot be loaded, has no chat template or a shorter context, or the
            campaign asks for what only vLLM can do.
    """
    import torch
    import transformers

    if settings.engine_args or settings.lora:
        raise Fatal(
            "expand.engine_args and expand.lora are vLLM's, and the engine is transformers: "
            "install vLLM here or remove them."
        )
    max_model_len = settings.max_model_len
    tokenizer = open_tokenizer(model, settings.chat_template)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        network = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    except (OSError, ValueError) as error:
        raise Fatal(f"transformers cannot load model {model}: {error}") from error
    longest = getattr(network.config, "max_position_embeddings", max_model_len)
    if max_model_len > longest:
        raise Fatal(
            f"Model {model} has a context of {longest} tokens; lower expand.max_model_len "
            f"from {max_model_len}."
        )
    network = network.to(device).eval()
    return TransformersEngine(network, tokenizer, transformers.__version__, max_model_len)


class TransformersEngine:
    """A causal language model of transformers behind the engine contract."""

    name = "transformers"

    def __init__(self, network: Any, tokenizer: Any, version: str, max_model_len: int) -> None:
        self._network, self._tokenizer, self.version = network, tokenizer, version
        self._max_model_len = max_model_len

    def generate(self, draws: Sequence[Draw]) -> list[Drawn]:
        """See `Engine.generate`."""
        return [self._drawn(draw) for draw in draws]

    def generate_each(
        self, calls: Iterable[tuple[Call, Sequence[Draw]]]
    ) -> Iterator[tuple[Call, list[Drawn]]]:
        """See `Engine.generate_each`."""
        return in_turn(self.generate, calls)

    def _drawn(self, asked: Draw) -> Drawn:
        import torch

        encoded = encode(self._tokenizer, asked, self._max_model_len)
        if isinstance(encoded, Refusal):
            return encoded
        ids = torch.tensor([encoded], device=self._network.device).expand(asked.n, -1)
        draw = _SeededDraw([asked.seed + i for i in range(asked.n)], asked.sampling)
        with torch.inference_mode():
            tokens = self._network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=self._generation_config(asked.sampling),
                logits_processor=[draw],
                tokenizer=self._tokenizer,
            )[:, ids.shape[1] :]
        return [self._response(tokens[i].tolist(), draw, i) for i in range(asked.n)]

    def _generation_config(self, sampling: Sampling) -> Any:
        """Greedy for transformers, because `_SeededDraw` leaves one token standing."""
        from transformers import GenerationConfig

        ends = self._end_tokens()
        return GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=ends[0],
            stop_strings=list(sampling.stop) or None,
        )

    def _end_tokens(self) -> list[int]:
        ends = self._network.generation_config.eos_token_id
        if ends is None:
            ends = self._tokenizer.eos_token_id
        return ends if isinstance(ends, list) else [ends]

    def _response(self, tokens: list[int], draw: _SeededDraw, place: int) -> GeneratedResponse:
        ends = set(self._end_tokens())
        n_tokens = next((i + 1 for i, t in enumerate(tokens) if t in ends), len(tokens))
        text = self._tokenizer.decode(tokens[:n_tokens], skip_special_tokens=True)
        cut = min((at for stop in draw.sampling.stop if (at := text.find(stop)) >= 0), default=None)
        stopped = tokens[n_tokens - 1] in ends or cut is not None
        return GeneratedResponse(
            text=text[:cut],
            finish_reason="stop" if stopped else "length",
            n_tokens=n_tokens,
            logprob=sum(float(step[place]) for step in draw.logprobs_n[:n_tokens]),
            seed=draw.seeds[place],
        )


class _SeededDraw:
    """A logits processor that draws each row's next token with that row's own generator.

    transformers samples a whole batch from one generator; this gives every response its own seed.
    `logprobs_n` holds one tensor of n log-probabilities a step.
    """

    def __init__(self, seeds: list[int], sampling: Sampling) -> None:
        import torch

        self.seeds = seeds
        self.logprobs_n: list[Any] = []
        self.sampling = sampling
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        logprobs_nv = torch.log_softmax(scores.float(), dim=-1)
        chosen_n = self._choose(logprobs_nv.cpu()).to(scores.device)
        self.logprobs_n.append(logprobs_nv.gather(1, chosen_n[:, None])[:, 0].cpu())
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen_n[:, None], 0.0)

    def _choose(self, logprobs_nv: Any) -> Any:
        import torch

        kept_nv = _nucleus(logprobs_nv / self.sampling.temperature, self.sampling.top_p)
        drawn = [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(kept_nv, self._generators, strict=True)
        ]
        return torch.cat(drawn)


def _nucleus(scores_nv: Any, top_p: float) -> Any:
    """Probabilities of the smallest set of tokens that holds `top_p`, zero elsewhere."""
    import torch

    sorted_nv, order_nv = torch.softmax(scores_nv, dim=-1).sort(dim=-1, descending=True)
    before_nv = sorted_nv.cumsum(dim=-1) - sorted_nv
    sorted_nv[before_nv >= top_p] = 0.0
    return torch.zeros_like(sorted_nv).scatter_(1, order_nv, sorted_nv)
