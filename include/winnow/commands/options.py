"""Options that several commands share, with their limits, their defaults and where they come from.

A value out of its limits, NaN and infinity are refused here, before anything is opened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from winnow.campaign import Campaign
from winnow.commands.chosen import the_campaign
from winnow.lake import Lake, open_lake

UNNAMED: Any = ""
"""The campaign of a command that names none (`winnow.commands.chosen`)."""


def decimal(least: float, most: float, **said: Any) -> Any:
    """An option that is a number in a range."""
    return typer.Option(parser=_in_range(float, least, most), metavar="NUMBER", **said)


def whole_number(least: int, most: int = 10**9, **said: Any) -> Any:
    """An option that is a whole number in a range."""
    return typer.Option(parser=_in_range(int, least, most), metavar="NUMBER", **said)


def one_of(names: Iterable[str], **said: Any) -> Any:
    """An option that is one of some words."""
    choices = sorted(names)

    def read(text: Any) -> Any:
        if text not in choices:
            raise typer.BadParameter(f"{text} is none of {', '.join(choices)}")
        return text

    return typer.Option(parser=read, metavar="|".join(choices), **said)


def sizes(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    read = _in_range(int, 1, 10**6)
    return sorted({read(size) for size in str(text).split(",")})


def _in_range(kind: Callable[[Any], Any], least: float, most: float) -> Callable[[Any], Any]:
    def read(text: Any) -> Any:
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            raise typer.BadParameter(f"{text} is no {_NAMES[kind]}") from None
        if not (math.isfinite(value) and least <= value <= most):
            raise typer.BadParameter(f"{text} is not from {least:g} to {most:g}")
        return value

    return read


_NAMES: dict[Any, str] = {int: "whole number", float: "number"}

LakeOption = Annotated[
    Lake,
    typer.Option(
        "--lake", parser=open_lake, envvar="WINNOW_LAKE", metavar="LAKE", help="folder or s3://…"
    ),
]
EnginePythonOption = Annotated[
    Path,
    typer.Option(
        "--engine-python",
        envvar="WINNOW_ENGINE_PYTHON",
        help="interpreter of the generation environment",
    ),
]
CampaignOption = Annotated[
    Campaign,
    typer.Option(
        "--campaign",
        parser=the_campaign,
        metavar="NAME|FILE",
        help="a name in the folder WINNOW_CAMPAIGNS, or a YAML file",
    ),
]
CampaignsOption = Annotated[
    str,
    typer.Option(
        "--campaign", metavar="NAME|FILE", help="this one only, which may have no file any more"
    ),
]
BatchOption = Annotated[str, typer.Option("--batch", help="the day, 2026-11-22")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]
ModelsOption = Annotated[
    Path, typer.Option("--models", envvar="WINNOW_MODELS", help="prepared models")
]
OutOption = Annotated[Path, typer.Option("--out", help="folder for the results")]
VendorUrlOption = Annotated[
    str,
    typer.Option(
        "--vendor-url",
        envvar="WINNOW_VENDOR_URL",
        help="the vendor's address; its token is read from WINNOW_VENDOR_TOKEN",
    ),
]
VENDOR_URL = "http://127.0.0.1:8790"
MODELS = Path("models")
