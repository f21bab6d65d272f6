"""Turn a prompt's messages into the token ids of a model's chat format.

Text from a prompt never becomes a control token: a message that holds `<|im_end|>` is read by the
model as those ten characters, not as the end of the turn. Both engines get ids from here, so that
they see the same prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from winnow.controls import CONTROL
from winnow.errors import Fatal
from winnow.expand.engine import Draw, Messages, Refusal

_PRIVATE_USE = range(0xE000, 0xF900)


def open_tokenizer(model: str, chat_template: str | None = None) -> Any:
    """The tokenizer of a model with a chat template, its own or that of a file.

    Raises:
        Fatal: There is no tokenizer or no such file, or there is no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise Fatal(
            f"Model {model} has no tokenizer that loads ({error}); check expand.model."
        ) from error
    if chat_template is not None:
        try:
            tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Fatal(f"expand.chat_template {chat_template} cannot be read: {error}") from error
    if not tokenizer.chat_template:
        raise Fatal(
            f"Model {model} has no chat template, so it is a base model; choose an instruct model "
            "or name a template's file as expand.chat_template."
        )
    return tokenizer


def encode(tokenizer: Any, draw: Draw, max_model_len: int) -> list[int] | Refusal:
    """Token ids of the draw's prompt, or why the model cannot answer it."""
    try:
        ids = chat_ids(tokenizer, draw.messages, draw.tools)
    except ValueError as error:
        return Refusal("chat_template_refused", str(error))
    room = max_model_len - draw.sampling.max_tokens
    if len(ids) > room:
        return Refusal(
            "prompt_too_long",
            f"{len(ids)} tokens; {room} fit beside {draw.sampling.max_tokens} of the response "
            f"in a context of {max_model_len}",
        )
    return ids


def chat_ids(tokenizer: Any, messages: Messages, tools: str | None) -> list[int]:
    """Token ids of the prompt in chat format, ending where the response begins.

    Control strings in the messages are masked while the template is rendered and tokenised apart
    from it, as plain text.

    Raises:
        ValueError: The chat template refuses these messages.
    """
    return _Masked(tokenizer, [*(m["content"] for m in messages), tools or ""]).ids(
        messages, tools, asks=True
    )


def answered_ids(tokenizer: Any, messages: Messages, tools: str | None, response: str) -> list[int]:
    """Token ids of a prompt with a response, as a whole; raises as `chat_ids`."""
    whole = [*messages, {"role": "assistant", "content": response}]
    return _Masked(tokenizer, [*(m["content"] for m in whole), tools or ""]).ids(
        whole, tools, asks=False
    )


def answered_text(tokenizer: Any, messages: Messages) -> str:
    """Turns that end with a response, in chat format; raises as `chat_ids`."""
    return _render(tokenizer, messages, None, asks=False)


def one_turn(messages: Messages) -> list[dict[str, str]]:
    """All turns as one of the user: many chat templates refuse a system prompt, or tools."""
    return [{"role": "user", "content": "\n\n".join(turn["content"] for turn in messages)}]


def frame_ids(tokenizer: Any, messages: Messages, tools: str | None) -> tuple[list[int], list[int]]:
    """Token ids before a response to a prompt, and behind it; raises as `chat_ids`."""
    masked = _Masked(tokenizer, [*(m["content"] for m in messages), tools or ""])
    slot = 2 * masked.mark
    rendered = masked.render([*messages, {"role": "assistant", "content": slot}], tools, asks=False)
    before, _, behind = rendered.partition(slot)
    return masked.encode(before), masked.encode(behind)


class _Masked:
    """Renders texts whose control strings are masked, and encodes what was rendered."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        self._tokenizer, self._controls = tokenizer, _control_strings(tokenizer)
        self.mark = _unused_character(texts)

    def ids(self, messages: Messages, tools: str | None, *, asks: bool) -> list[int]:
        return self.encode(self.render(messages, tools, asks=asks))

    def render(self, messages: Messages, tools: str | None, *, asks: bool) -> str:
        hidden = [{**m, "content": self._mask(m["content"])} for m in messages]
        return _render(self._tokenizer, hidden, self._mask(tools) if tools else None, asks=asks)

    def encode(self, rendered: str) -> list[int]:
        ids: list[int] = []
        for i, piece in enumerate(re.split(f"{self.mark}([0-9]+){self.mark}", rendered)):
            is_control = i % 2 == 1
            text = self._controls[int(piece)] if is_control else piece
            # The template has put what special tokens there are: no second BOS.
            encoded = self._tokenizer(
                text, add_special_tokens=False, split_special_tokens=is_control
            )
            ids += encoded["input_ids"]
        return ids

    def _mask(self, text: str) -> str:
        for place, control in enumerate(self._controls):
            text = text.replace(control, f"{self.mark}{place}{self.mark}")
        return text


def _render(tokenizer: Any, messages: Messages, tools: str | None, *, asks: bool) -> str:
    from jinja2 import TemplateError

    try:
        rendered = tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            tools=json.loads(tools) if tools else None,
            add_generation_prompt=asks,
            tokenize=False,
        )
    except TemplateError as error:
        raise ValueError(f"the chat template refuses these messages: {error}") from error
    return str(rendered)


def _control_strings(tokenizer: Any) -> list[str]:
    """Longest first, so that no control string hides behind one that is its beginning."""
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    return sorted(special, key=lambda s: (-len(s), s))


def _unused_character(texts: list[str]) -> str:
    used = set().union(*texts)
    return next(chr(c) for c in _PRIVATE_USE if chr(c) not in used)


def control_refusal(draw: Draw) -> Refusal | None:
    """Why the draw's text must not go to a server; None where it may.

    >>> from winnow.expand.engine import Sampling
    >>> messages = [{"role": "user", "content": "Hi<|im_end|>"}]
    >>> control_refusal(Draw(messages, None, 0, 1, Sampling(8, 1.0, 1.0))).detail
    '<|im_end|> in message 1 (user) would be read as a control token by the server'
    """
    for place, text in _texts(draw):
        marker = CONTROL.search(text)
        if marker:
            return Refusal(
                "control_token",
                f"{marker.group()} in {place} would be read as a control token by the server",
            )
    return None


def _texts(draw: Draw) -> Iterator[tuple[str, str]]:
    for number, message in enumerate(draw.messages, start=1):
        yield f"message {number} ({message['role']})", message["content"]
    if draw.tools is not None:
        # Parsed, because \u003c in JSON is a < to the template.
        yield "the tools", json.dumps(json.loads(draw.tools), ensure_ascii=False)
