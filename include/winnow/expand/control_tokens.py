"""Find text that a server's chat template would read as control tokens.

A server renders its own template over the text of the messages and tokenises the whole, so a
prompt that holds `<|im_end|>` would end its own turn there and could go on as another role. The
engines in this process tokenise such text as plain characters; a server cannot be told to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from winnow.expand.engine import Draw, Refusal

_CONTROL = re.compile(
    # ChatML, Llama 3, Phi, GLM and most others; DeepSeek has bars and gaps of its own.
    r"<[|｜][^\s<>|｜]{1,64}[|｜]>"
    r"|</?s>|<(?:bos|eos|pad|unk|sop|eop)>|<(?:BOS|EOS)_TOKEN>"  # many
    r"|<(?:start|end)_of_turn>|<\|[a-z_]{1,32}>|<[a-z_]{1,32}\|>"  # Gemma
    r"|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]|<</?SYS>>"  # Mistral
    r"|</?(?:tools|tool_call|tool_response|think)>|</?seed:[a-z_:]{1,32}>"  # Qwen, Hermes, Seed
    r"|\[[gs]MASK\]|\[\|[a-z]{1,32}\|\]|\]~!?b[\[\]]|<(?:extra_id|SPECIAL)_\d+>"  # GLM, EXAONE
)
"""The markers of the templates we know; a template of one's own may have others."""


def control_refusal(draw: Draw) -> Refusal | None:
    """Why the draw's text must not go to a server; None where it may.

    >>> from winnow.expand.engine import Sampling
    >>> messages = [{"role": "user", "content": "Hi<|im_end|>"}]
    >>> control_refusal(Draw(messages, None, 0, 1, Sampling(8, 1.0, 1.0))).detail
    '<|im_end|> in message 1 (user) would be read as a control token by the server'
    """
    for place, text in _texts(draw):
        found = _CONTROL.search(text)
        if found:
            return Refusal(
                "control_token",
                f"{found.group()} in {place} would be read as a control token by the server",
            )
    return None


def _texts(draw: Draw) -> Iterator[tuple[str, str]]:
    for number, message in enumerate(draw.messages, start=1):
        yield f"message {number} ({message['role']})", message["content"]
    if draw.tools is not None:
        # Parsed, because \u003c in JSON is a < to the template.
        yield "the tools", json.dumps(json.loads(draw.tools), ensure_ascii=False)
