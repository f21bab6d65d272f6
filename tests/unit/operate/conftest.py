"""The small night of the stages, for what is told of it."""

from ..stages.conftest import inbox, night, quick_gate

__all__ = ["inbox", "night", "quick_gate"]
