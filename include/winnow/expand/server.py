"""Where an OpenAI-compatible server is. Its key is a secret: it never reaches lake or log."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """`url` ends before `/v1`, such as http://gpu-1:8000; `key` is empty where none is needed."""

    url: str
    key: str = field(default="", repr=False)
