"""Money is kept in integer micro-dollars (1,000,000 = $1), so that costs add up to the cent."""

MICROS = 1_000_000
"""Micro-dollars in a dollar."""
