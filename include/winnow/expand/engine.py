"""The contract of a text-generation engine, and the choice of one.

Response i of a prompt is drawn with the prompt's seed plus i, so that every response's seed is
known. The same call gives the same responses on the same machine with the same number of threads,
whatever was generated before it; the responses may depend on which prompts share the call, because
the arithmetic of a batch depends on its composition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from winnow.errors import Fatal
from winnow.expand.arithmetic import settle_arithmetic

Messages = Sequence[Mapping[str, str]]
Report = Callable[[Mapping[str, Any]], None]

LOWEST_TEMPERATURE = 0.01
"""vLLM samples no colder than this."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How responses are drawn: `n` a prompt, each of `max_tokens` at most.

    Raises:
        Fatal: The temperature is so low that every response to a prompt would be the same.
    """

    n: int
    max_tokens: int
    temperature: float
    top_p: float

    def __post_init__(self) -> None:
        if self.temperature < LOWEST_TEMPERATURE:
            raise Fatal(
                f"Temperature {self.temperature} gives the same response every time, so no pair to "
                f"label; set expand.temperature to {LOWEST_TEMPERATURE} or more."
            )


@dataclass(frozen=True, slots=True)
class SeededPrompt:
    """A prompt as an engine gets it: `tools` is JSON or None; response i draws with `seed` + i."""

    messages: Messages
    tools: str | None
    seed: int


@dataclass(frozen=True, slots=True)
class GeneratedResponse:
    """One sampled response.

    `finish_reason` is "stop" or "length"; `n_tokens` counts the end token; `logprob` is the sum
    over the sampled tokens of the model's own log-probability (temperature 1, no top-p), in nats.
    """

    text: str
    finish_reason: str
    n_tokens: int
    logprob: float
    seed: int


class Engine(Protocol):
    """Generates responses with one model. `name` is the kind of engine, not the model."""

    name: str
    version: str

    def n_prompt_tokens(self, prompt: SeededPrompt) -> int:
        """Tokens of the prompt in the model's chat format.

        Raises:
            ValueError: The model's chat template refuses these messages.
        """

    def generate(
        self, prompts: Sequence[SeededPrompt], sampling: Sampling
    ) -> list[list[GeneratedResponse]]:
        """`sampling.n` responses to each prompt, in the prompts' order.

        Every prompt must fit the context together with `sampling.max_tokens`.
        """


def open_engine(kind: str, model: str, max_model_len: int, report: Report) -> Engine:
    """Load a model; `auto` takes vLLM where it can be imported, else transformers, and says why.

    Args:
        kind: "auto", "vllm" or "transformers".
        model: A folder or a hub id.
        max_model_len: Context in tokens, prompt and response together.
        report: Gets one "engine" event with the choice and its reason.

    Raises:
        Fatal: The engine is not installed, or the model cannot be loaded or has no chat template.
    """
    from winnow.expand.transformers_engine import open_transformers
    from winnow.expand.vllm_engine import import_vllm, open_vllm

    settle_arithmetic()
    why = f"the campaign asks for {kind}"
    if kind in ("auto", "vllm"):
        try:
            import_vllm()
        except (ImportError, OSError) as error:
            if kind == "vllm":
                raise Fatal(
                    f"vLLM cannot be imported here ({error}); install it in this environment or "
                    "set expand.engine to auto or transformers."
                ) from error
            why = f"vLLM cannot be imported here ({error}); transformers is slower"
        else:
            why = "vLLM is installed" if kind == "auto" else why
            kind = "vllm"
    opened = (open_vllm if kind == "vllm" else open_transformers)(model, max_model_len)
    report({"event": "engine", "engine": opened.name, "version": opened.version, "why": why})
    return opened
