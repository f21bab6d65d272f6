"""Winnow: expand a pool of responses per prompt, then select the few pairs worth a human label."""

__version__ = "0.5.0"
