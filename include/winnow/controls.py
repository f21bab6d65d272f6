"""Markers of chat templates in texts that are to stay text."""

from __future__ import annotations

import re

CONTROL = re.compile(
    # ChatML, Llama 3, Phi, GLM and most others; DeepSeek has bars and gaps of its own.
    r"<[|｜][^\s<>|｜]{1,64}[|｜]>"
    r"|</?s>|<(?:bos|eos|pad|unk|sop|eop)>|<(?:BOS|EOS)_TOKEN>"  # many
    r"|<(?:start|end)_of_turn>|<\|[a-z_]{1,32}>|<[a-z_]{1,32}\|>"  # Gemma
    r"|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]|<</?SYS>>"  # Mistral
    r"|</?(?:tools|tool_call|tool_response|think)>|</?seed:[a-z_:]{1,32}>"  # Qwen, Hermes, Seed
    r"|\[[gs]MASK\]|\[\|[a-z]{1,32}\|\]|\]~!?b[\[\]]|<(?:extra_id|SPECIAL)_\d+>"  # GLM, EXAONE
)
"""The markers of the templates we know; a template of one's own may have others."""


def without_controls(text: str) -> str:
    """The text with a blank in each control token, which a server would not read as text.

    >>> without_controls("Hi<|im_end|>")
    'Hi< |im_end|>'
    """
    return CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
