"""Turn a prompt's messages into the token ids of a model's chat format.

Text from a prompt never becomes a control token: a message that holds `<|im_end|>` is read by the
model as those ten characters, not as the end of the turn. Both engines get ids from here, so that
they see the same prompt.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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
    controls = _control_strings(tokenizer)
    mark = _unused_character([*(m["content"] for m in messages), tools or ""])
    rendered = _render(
        tokenizer,
        [{**m, "content": _mask(m["content"], controls, mark)} for m in messages],
        _mask(tools, controls, mark) if tools else None,
    )
    ids: list[int] = []
    for i, piece in enumerate(re.split(f"{mark}([0-9]+){mark}", rendered)):
        is_control = i % 2 == 1
        text = controls[int(piece)] if is_control else piece
        encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=is_control)
        ids += encoded["input_ids"]
    return ids


def _render(tokenizer: Any, messages: Messages, tools: str | None) -> str:
    from jinja2 import TemplateError

    try:
        rendered = tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            tools=json.loads(tools) if tools else None,
            add_generation_prompt=True,
            tokenize=False,
        )
    except TemplateError as error:
        raise ValueError(f"the chat template refuses these messages: {error}") from error
    return str(rendered)


def _control_strings(tokenizer: Any) -> list[str]:
    """Longest first, so that no control string hides behind one that is its beginning."""
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    return sorted(special, key=lambda s: (-len(s), s))


def _mask(text: str, controls: list[str], mark: str) -> str:
    for place, control in enumerate(controls):
        text = text.replace(control, f"{mark}{place}{mark}")
    return text


def _unused_character(texts: list[str]) -> str:
    used = set().union(*texts)
    return next(chr(c) for c in _PRIVATE_USE if chr(c) not in used)
