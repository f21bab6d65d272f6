"""The reference of a campaign's settings, made from the settings themselves: `docs/campaign.md`.

python -m winnow.campaign_reference > docs/campaign.md
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import date
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from winnow.campaign import Campaign
from winnow.select import STRATEGIES

HEAD = """# Campaign settings

One YAML file a campaign. Every setting, with its default and its limits; what has no default must
be given. A setting that is not here, or stands twice, is an error. This page is made from the
settings by `python -m winnow.campaign_reference`, and a test holds it current.

The least campaign that runs:

```yaml
"""
LEAST = {
    "name": "nightly",
    "ingest": {"sources": ["s3://prompts/nightly/{day}"]},
    "expand": {"model": "Qwen/Qwen3-8B"},
    "label": {"vendor": "label_studio", "budget_usd": 200.0},
    "publish": {"dataset": "nightly"},
}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def campaign_reference() -> str:
    """The page, Markdown: a table a section of the campaign, in the order of the settings."""
    Campaign.model_validate(LEAST)
    example = yaml.safe_dump(LEAST, sort_keys=False)
    return f"{HEAD}{example}```\n\n" + "\n".join([*_sections(Campaign, ""), _rules()])


def _rules() -> str:
    rows = [f"| `{name}` | {_told(rule.score)} |\n" for name, rule in STRATEGIES.items()]
    head = "## The rules of `select.strategy`\n\n| rule | a pair's score |\n|---|---|\n"
    return head + "".join(rows)


def _told(named: Any) -> str:
    """The first paragraph of a docstring."""
    return _cell(" ".join((named.__doc__ or "").split("\n\n")[0].split()))


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    title = f"## `{path}`" if path else "## The campaign itself"
    rows, below = [], []
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        where = f"{path}.{name}" if path else name
        if inner is not None:
            below.append((inner, where + ("[]" if get_origin(field.annotation) is list else "")))
        if inner is None or get_origin(field.annotation) is list:
            # A limit that blocks stands below the same one that warns.
            about = _cell(field.description or ("the same; blocks" if "_block" in name else ""))
            kind = f"{_kind(field.annotation)}{_limits(field)}"
            rows.append(f"| `{name}` | {_cell(kind)} | {_cell(_default(field))} | {about} |")
    yield f"{title}\n\n{_told(model)}\n"
    yield "| setting | is | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for inner, where in below:
        yield from _sections(inner, where)


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The section that a setting holds, alone or in a list, there perhaps beside words."""
    inner = get_args(kind)[0] if get_origin(kind) is list else kind
    kinds = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _kind(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) is list:
        return f"list of {_kind(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return f"{_kind(get_args(kind)[1])} by name"
    if hasattr(kind, "__metadata__"):
        return f"{_kind(kind.__origin__)}{_limits(kind.__metadata__[0])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "settings below"
    names = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        date: "day",
    }
    return "null" if kind is type(None) else names.get(kind, "anything")


def _limits(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(each, name):g}"
        for each in field.metadata
        for name, sign in _SIGNS.items()
        if hasattr(each, name)
    ]
    return f", {' and '.join(limits)}" if limits else ""


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "empty"
    if field.default is PydanticUndefined:
        return "**must be given**"
    if field.default is None:
        return "null"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, list):
        return f"`[{', '.join(field.default)}]`"
    return f"`{field.default}`" if field.default != "" else "empty"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print(campaign_reference(), end="")
