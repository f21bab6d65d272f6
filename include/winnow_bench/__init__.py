"""Measurements of Winnow itself: how fast it selects, and what its choices are worth."""
