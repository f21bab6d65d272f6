"""A campaign as the text of a file, from which it is read again as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from winnow.campaign.reading import NUMBER
from winnow.campaign.sections import Campaign


def campaign_text(campaign: Campaign, head: Sequence[str], **instead: Any) -> str:
    """The YAML of a campaign: comment lines `head`, then every setting, some of them `instead`."""
    settings = campaign.model_dump(mode="json") | instead
    text = yaml.dump(settings, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=98)
    return "".join(f"# {line}\n" for line in head) + text


class _Plain(yaml.SafeDumper):
    """Puts into quotes what the reader of campaigns would take for a number."""


_Plain.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+0123456789"))
