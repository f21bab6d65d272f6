"""A chat completion over the wire: what is asked, and what an answer says.

An answer counts only when it is whole: as many choices as were asked for, numbered from 0, each
with its end and its tokens. Anything else is a `Fault`, and the request is made again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
from pydantic import BaseModel, Field, ValidationError

from winnow.chat_server import Fault, Misshapen, error_of, server_words
from winnow.errors import Fatal
from winnow.expand.engine import Draw, GeneratedResponse, Refusal, ServerAddress
from winnow.ingest.turns import call_text
from winnow.ingest.values import Unreadable, read_json, tidy

ONE_PER_REQUEST = "set expand.server.responses_per_request: 1"

_ABOUT_CONTEXT = re.compile(
    r"context[ _-]?(length|window|size)|maximum context|max(imum)?[ _]model[ _]len"
    r"|prompt is too long|too many (input |prompt )?tokens",
    re.IGNORECASE,
)
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value", "unknown_parameter")


_AS_IN_PROCESS = {
    # What a request leaves open `vllm serve` takes from the model's generation_config.json.
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    # The model sees the tools, and its calls stay as it wrote them; vLLM refuses to read them
    # unless it was started with a parser for them.
    "tool_choice": "none",
}
"""What vLLM is told besides, so that it samples as the engine in this process does."""

Answer = list[GeneratedResponse] | Refusal
"""What one request gave."""


class TooFewChoices(Fault):
    """The server answered a request for several responses with fewer."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for `n` responses of a draw; the first one has seed `seed`."""

    draw: Draw
    seed: int
    n: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by its name on a server, and the context that a campaign gives it, in tokens."""

    name: str
    max_model_len: int
    is_vllm: bool


def request_body(ask: Ask, model: ServedModel) -> dict[str, Any]:
    """The JSON of POST /v1/chat/completions; vLLM gives choice i the seed plus i."""
    sampling = ask.draw.sampling
    body: dict[str, Any] = {
        "model": model.name,
        "messages": [dict(message) for message in ask.draw.messages],
        "n": ask.n,
        "seed": ask.seed,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "logprobs": True,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if ask.draw.tools is not None:
        body["tools"] = json.loads(ask.draw.tools)
    return {**body, **_AS_IN_PROCESS} if model.is_vllm else body


def responses_of(content: bytes, ask: Ask, model: ServedModel) -> list[GeneratedResponse] | Refusal:
    """What a successful answer holds, in order of the seeds.

    A prompt that leaves less room than `max_tokens` is refused, as in the other engines; a server
    would cut its responses short without a word.

    Raises:
        Fault: It is not whole.
        Fatal: It does not tell how many tokens each response has.
    """
    try:
        answer = _read(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"]))
        fault = f"misshapen at {where}" if where else "not JSON"
        raise Misshapen(f"its answer is {fault}") from None
    choices = sorted(answer.choices, key=lambda choice: choice.index)
    if len(choices) < ask.n:
        raise TooFewChoices(f"it gave {len(choices)} of {ask.n} choices")
    if [choice.index for choice in choices] != list(range(ask.n)):
        raise Misshapen(f"it numbered its {len(choices)} choices wrongly, {ask.n} were asked for")
    if answer.usage is not None:
        room = model.max_model_len - ask.draw.sampling.max_tokens
        if answer.usage.prompt_tokens > room:
            return Refusal(
                "prompt_too_long",
                f"{answer.usage.prompt_tokens} tokens; {room} fit beside "
                f"{ask.draw.sampling.max_tokens} of the response in a context of "
                f"{model.max_model_len}",
            )
    counts = zip(choices, _token_counts(choices, answer.usage), strict=True)
    return [
        GeneratedResponse(
            text=_text(choice),
            finish_reason="length" if choice.finish_reason == "length" else "stop",
            n_tokens=n_tokens,
            logprob=None if choice.tokens is None else sum(t.logprob for t in choice.tokens),
            seed=ask.seed + i,
        )
        for i, (choice, n_tokens) in enumerate(counts)
    ]


def refusal_of(response: httpx.Response, address: ServerAddress) -> Refusal:
    """What HTTP 400, 413 or 422 says about the prompt.

    Raises:
        Fatal: It is about a parameter that the server does not know: so is every request.
    """
    said, code = server_words(response, address), error_of(response).get("code")
    if code in _UNSUPPORTED:
        raise Fatal(f"The server at {address.url} does not take what Winnow asks for: {said}")
    if code == "context_length_exceeded" or _ABOUT_CONTEXT.search(said):
        return Refusal("prompt_too_long", said)
    return Refusal("server_refused", f"HTTP {response.status_code}: {said}")


class _Token(BaseModel):
    logprob: Annotated[float, Field(allow_inf_nan=False)]


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Function(BaseModel):
    name: str
    arguments: str


class _ToolCall(BaseModel):
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(BaseModel):
    index: int
    message: _Message
    finish_reason: Literal["stop", "length", "tool_calls", "function_call", "content_filter"]
    logprobs: _Logprobs | None = None

    @property
    def tokens(self) -> list[_Token] | None:
        return self.logprobs.content if self.logprobs is not None else None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Answer(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


def _read(content: bytes) -> _Answer:
    """An answer in its shape; half of a surrogate pair, which no text can hold, becomes U+FFFD."""
    try:
        return _Answer.model_validate_json(content)
    except ValidationError:
        mended = _HALF_ESCAPES.sub(lambda m: b"\\ufffd" if len(m[0]) == 6 else m[0], content)
        if mended == content:
            raise
        return _Answer.model_validate_json(mended)


_HALF_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _token_counts(choices: Sequence[_Choice], usage: _Usage | None) -> list[int]:
    """Tokens of each choice: its log-probabilities counted, else what is left of the sum."""
    counts = [None if choice.tokens is None else len(choice.tokens) for choice in choices]
    unknown = counts.count(None)
    if unknown > 1:
        raise Fatal(
            f"The server tells no log-probabilities, so the tokens of {unknown} responses in one "
            f"answer cannot be counts apart; {ONE_PER_REQUEST}."
        )
    if unknown and usage is None:
        raise Fault("it tells neither log-probabilities nor usage")
    rest = usage.completion_tokens - sum(n or 0 for n in counts) if usage is not None else 0
    return [rest if n is None else n for n in counts]


def _text(choice: _Choice) -> str:
    """The response as one text; a tool call without its id, which is random.

    What a filter cut off is not a response of the model, so it is empty.
    """
    if choice.finish_reason == "content_filter":
        return ""
    message = choice.message
    calls = [_call_text(call.function) for call in message.tool_calls or ()]
    return "\n".join([text for text in (message.content, *calls) if text])


def _call_text(function: _Function) -> str:
    """A call as a line of JSON; arguments that are none stay the text that the model wrote."""
    try:
        arguments = read_json(function.arguments)
        tidy(arguments, "arguments")
    except Unreadable:
        arguments = function.arguments
    return call_text(function.name, arguments)
