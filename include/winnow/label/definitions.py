"""What an annotator is told of the tools that a prompt lets the assistant call."""

from __future__ import annotations

import json
from typing import Any

TOOLS = "tools"
"""Whose words the definitions are shown as, before the turns of the prompt."""


def told_tools(tools: str | None) -> str:
    """Definitions of tools, from the JSON list that a prompt has, one below the other.

    >>> told_tools('[{"type": "function", "function": {"name": "rain", "description": "Now?"}}]')
    'rain: Now?'
    """
    listed = json.loads(tools) if tools else []
    return "\n\n".join(map(_told, listed))


def _told(tool: Any) -> str:
    about = tool.get("function", tool) if isinstance(tool, dict) else tool
    if not (isinstance(about, dict) and isinstance(about.get("name"), str)):
        return json.dumps(about, ensure_ascii=False)
    named = dict(about)
    name, description = named.pop("name"), named.pop("description", None)
    head = f"{name}: {description}" if isinstance(description, str) and description else name
    return "\n".join([head, json.dumps(named, ensure_ascii=False)] if named else [head])
