"""What every section of a campaign shares: strict, frozen, and of numbers that can be counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

NAME = re.compile("[a-z0-9][a-z0-9_-]{0,62}")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Probability = Annotated[float, Field(gt=0.0, lt=1.0)]

MOST = 10**12
"""No number of a campaign is larger: what is counted and paid must fit 64 bits."""

MOST_USD = 1e9
"""No budget and no approval is for more dollars."""

Dollars = Annotated[float, Field(ge=0.0, le=MOST_USD)]
Price = Annotated[float, Field(ge=0.0, lt=1e6)]
Minutes = Annotated[float, Field(gt=0.0, le=1e7)]
Seconds = Annotated[float, Field(gt=0.0, le=7 * 24 * 3600.0)]


def setting(default: Any, description: str, **limits: Any) -> Any:
    """A setting with a default, and what it means in words, with its unit."""
    return Field(default, description=description, **limits)


class Settings(BaseModel):
    """A section: an unknown name in it is an error, and so is a number beyond counting."""

    # Strict: text and truth values are no numbers.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @field_validator("*")
    @classmethod
    def _of_a_size(cls, value: Any) -> Any:
        for number in _numbers(value):
            if not -MOST <= number <= MOST:
                raise ValueError(f"no amount; write one between -{MOST:.0e} and {MOST:.0e}")
        return value


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a setting, at any depth."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value
