"""The contract of a text-generation engine; `engines` chooses one.

A draw asks for some responses to one prompt; its response k has the seed `seed` + k, so that every
response's seed is known and a later draw goes on where an earlier one ended. In this process the
same call gives the same responses on the same machine with the same number of threads, whatever was
generated before it; they may depend on which draws share the call, because the arithmetic of a
batch depends on its composition. A server makes no such promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from winnow.addresses import ServerAddress as ServerAddress
from winnow.errors import Fatal

Messages = Sequence[Mapping[str, str]]
Report = Callable[[Mapping[str, Any]], None]
Call = TypeVar("Call")

LOWEST_TEMPERATURE = 0.01
"""vLLM samples no colder than this."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a response is drawn: `max_tokens` at most, ended early by any of the strings `stop`.

    Raises:
        Fatal: The temperature is so low that every response to a prompt would be the same.
    """

    max_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < LOWEST_TEMPERATURE:
            raise Fatal(
                f"Temperature {self.temperature} gives the same response every time, so no pair to "
                f"label; set expand.temperature to {LOWEST_TEMPERATURE} or more."
            )


@dataclass(frozen=True, slots=True)
class Draw:
    """Asks for `n` responses to a prompt; `tools` is JSON or None; response k has `seed` + k.

    By its `prompt_id` an engine that generates nothing finds what it has.
    """

    messages: Messages
    tools: str | None
    seed: int
    n: int
    sampling: Sampling
    prompt_id: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """The row that a response was brought by, and who is said to have written it.

    One that cannot be used has the reason for quarantine, and its detail.
    """

    file: str
    line: int
    model: str | None = None
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GeneratedResponse:
    """One sampled response.

    `finish_reason` is "stop" or "length"; `n_tokens` counts the end token; `logprob` is the sum
    over the sampled tokens of the model's own log-probability (temperature 1, no top-p), in nats,
    None where a server does not tell it. One that was brought has an `origin`; its `seed` is its
    place among those to its prompt, its `n_tokens` words where its row does not tell tokens.
    """

    text: str
    finish_reason: str
    n_tokens: int
    logprob: float | None
    seed: int
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a prompt cannot be answered: a reason for quarantine, and its detail."""

    reason: str
    detail: str


Drawn = list[GeneratedResponse] | Refusal
"""What a draw gave: exactly its `n` responses in order of their seeds, or why there is none."""


class Engine(Protocol):
    """Generates responses with one model. `name` is the kind of engine, not the model."""

    name: str
    version: str

    def generate(self, draws: Sequence[Draw]) -> list[Drawn]:
        """What each draw gave, in their order.

        Raises:
            Retryable: The engine broke off or cannot be reached.
            Fatal: A person must act.
        """

    def generate_each(
        self, calls: Iterable[tuple[Call, Sequence[Draw]]]
    ) -> Iterator[tuple[Call, list[Drawn]]]:
        """`generate` for one call after another, each with what names it; read as they are asked.

        An engine that works on several calls at once yields them as they end.
        """


def in_turn(
    generate: Callable[[Sequence[Draw]], list[Drawn]],
    calls: Iterable[tuple[Call, Sequence[Draw]]],
) -> Iterator[tuple[Call, list[Drawn]]]:
    """`Engine.generate_each` of an engine that does one call at a time."""
    for call, draws in calls:
        yield call, generate(draws)
